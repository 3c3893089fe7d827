#!/usr/bin/env python3
"""Compares what two builds of synscope find, prose left out: `compare_reports.py OLD NEW CAPTURE...`.

A change of the inside must not change findings, certainties, severities, evidence packets, incidents, inferred settings or
exit codes. Wording may change. Folders are searched for captures. Exit code 1 and a list when something differs.
"""
import json
import pathlib
import subprocess
import sys

# Text for people, and ids and fields that are new on one side only.
PROSE = {"summary_text", "text", "why", "why_less_likely", "reason", "cause", "next_steps", "how", "from", "basis"}
SUFFIXES = {".pcap", ".pcapng", ".cap", ".gz", ".zst", ".lz4", ".xz", ".pcap-ns"}


def bare(value, key=None):
    """The value without prose; a finding's `summary` is prose, the report's is numbers."""
    if isinstance(value, dict):
        return {k: bare(v, k) for k, v in value.items() if k not in PROSE and not (k == "summary" and isinstance(v, str))}
    if isinstance(value, list):
        return [len(value)] if key in {"warnings", "alternatives", "excluded"} else [bare(v) for v in value]
    return value


def run(binary, capture):
    done = subprocess.run([binary, "analyze", "--format", "json", capture], capture_output=True)
    try:
        return done.returncode, bare(json.loads(done.stdout))
    except ValueError:
        return done.returncode, done.stdout.decode(errors="replace")[:200]


def shared(new, old):
    """`new` with only what `old` has as well: fields may be added."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {k: shared(v, old[k]) for k, v in new.items() if k in old}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [shared(n, o) for n, o in zip(new, old)]
    return new


def differences(old, new, path=""):
    if isinstance(old, dict) and isinstance(new, dict):
        for k in old.keys() | new.keys():
            yield from differences(old.get(k), new.get(k), f"{path}.{k}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, (a, b) in enumerate(zip(old, new)):
            yield from differences(a, b, f"{path}[{n}]")
    elif old != new:
        yield f"{path}: {str(old)[:160]} -> {str(new)[:160]}"


def captures(paths):
    for path in map(pathlib.Path, paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (str(f) for f in files if f.is_file() and (f.suffix in SUFFIXES or not path.is_dir()))


def main():
    old, new, *paths = sys.argv[1:]
    compared = wrong = 0
    for capture in captures(paths):
        compared += 1
        (old_code, old_report), (new_code, new_report) = run(old, capture), run(new, capture)
        found = list(differences(old_report, shared(new_report, old_report)))
        if old_code != new_code:
            found.insert(0, f"exit code {old_code} -> {new_code}")
        if found:
            wrong += 1
            print(f"{capture}:", *found[:12], sep="\n  ")
    print(f"{compared} captures compared, {wrong} differ")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
