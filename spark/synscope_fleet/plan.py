"""Which captures there are, at which point each was taken, and in which ranges it is read."""

import json
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyarrow import fs

WHOLE = 2**63 - 1
# What a file in a folder is called if it is a capture; a file that is named itself may have any name.
NAMED = re.compile(r"\.p?cap[^/]*$")
MOST = 65_535  # captures of a report: a packet's number has 16 bits for them
# How files begin that are not compressed: pcap in both byte orders, pcapng.
PLAIN = {bytes.fromhex(m) for m in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a")}

SMALLEST_RANGE, LARGEST_RANGE = 64 << 20, 1 << 30  # bytes
TOGETHER = 32  # files or folders that are asked for at a time
PATIENCE = 60  # seconds that a Google bucket is asked again; without a limit that is a quarter of an hour
OF_HADOOP = (
    "hdfs:// needs libhdfs, on the driver and on all executors: set JAVA_HOME, HADOOP_HOME and CLASSPATH (hadoop classpath --glob)"
)
# How a recording of `synscope snapshot --follow` begins.
RECORDING = b'{"schema":"synscope.recording/'


class PlanError(Exception):
    """There is nothing to analyze as it was asked for."""


@dataclass(frozen=True)
class Capture:
    """One file."""

    point: str
    number: int  # its place among the files of its report: those of its point, or of all points that are joined
    place: str  # where it is read: a path or a URI
    size: int
    error: str  # why it cannot be read, or nothing

    @property
    def path(self) -> str:
        """Its name in the report: a URI without keys and settings."""
        return re.sub(r"^([a-z][a-z0-9+]*://)(?:[^/@]*@)?([^?]*).*", r"\1\2", self.place, flags=re.DOTALL)


def range_size(captures: list[Capture], cores: int) -> int:
    """The bytes of a range, unless the user says them: four tasks for each core, of a size that is worth a task."""
    return min(max(-(-sum(c.size for c in captures) // (4 * cores)), SMALLEST_RANGE), LARGEST_RANGE)


def cut(captures: list[Capture], size: int, whole: set[str]) -> list[tuple[Capture, int, int]]:
    """All ranges, from and until. A compressed file cannot be cut, and those of `whole` are not to be."""
    large = [c for c in captures if not c.error and c.size > size and c.path not in whole]
    plain = dict(zip(large, at_once(lambda c: is_plain(c.place), large)))
    found = []
    for capture in captures:
        starts = range(0, capture.size, size) if plain.get(capture) else range(1)
        found += [(capture, begin, until) for begin, until in zip(starts, [*starts[1:], WHOLE])]
    return found


def at_once(ask: Callable, things: Iterable) -> list:
    """What `ask` says of each: some at a time, for buckets take their time to answer."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(ask, things))


def anywhere(path: str) -> str:
    """A path as it holds in any folder: executors have other ones."""
    return path if re.match(r"^[a-z][a-z0-9+]*://", path) else os.path.abspath(path)


def opened(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a path or URI, and the path there."""
    scheme = re.match(r"^([a-z][a-z0-9+]*)://", path)
    if not scheme:
        return fs.LocalFileSystem(), path
    scheme, path = scheme.group(1), re.sub("^s3a://", "s3://", path)  # as Hadoop calls it
    if scheme in ("s3", "s3a", "gs", "gcs") and not re.match(r"^[a-z0-9]+://(?:[^/@?]*@)?[^/?]", path):
        raise OSError("the URI names no bucket")
    if scheme in ("gs", "gcs") and "retry_limit_seconds=" not in path:
        path += f"{'&' if '?' in path else '?'}retry_limit_seconds={PATIENCE}"
    try:
        return system_of(path)
    except OSError as error:
        if scheme in ("hdfs", "viewfs"):
            raise OSError(f"{error}. {OF_HADOOP}") from error
        raise


def system_of(uri: str) -> tuple[fs.FileSystem, str]:
    return fs.FileSystem.from_uri(uri)


def is_plain(path: str) -> bool:
    system, place = opened(path)
    try:
        with system.open_input_stream(place, compression=None) as file:
            return file.read(4) in PLAIN
    except OSError:
        return False


def files_below(path: str) -> list[tuple[str, int, str]]:
    """The files that `path` names, with their sizes: itself, or all below it. Their names begin as it does."""
    try:
        system, place = opened(path)
        info = system.get_file_info(place)
        if info.type == fs.FileType.File:
            return [(path, info.size, "")]
        if info.type == fs.FileType.NotFound:
            return [(path, 0, "no such file or folder")]
        below = system.get_file_info(fs.FileSelector(place, recursive=True))
    except Exception as error:  # whatever a file system says belongs into the report
        return [(path, 0, str(error))]
    found = [file for file in below if file.type == fs.FileType.File and NAMED.search(file.path)]
    # Settings of a URI stay at its end.
    stem, question, settings = path.partition("?") if "://" in path else (path, "", "")
    stem, root = stem.rstrip("/"), info.path.rstrip("/")
    return sorted((stem + file.path[len(root) :] + question + settings, file.size, "") for file in found)


def captures(points: list[tuple[str, str]], joined: bool = False) -> list[Capture]:
    """All captures of (point, path) pairs, in the order of the points' names, then of their own. They are numbered within each
    point, or, where points are joined, across all of them."""
    by_point: dict[str, list[tuple[str, int, str]]] = {}
    for (point, _), files in zip(points, at_once(lambda named: files_below(named[1]), points)):
        by_point.setdefault(point, []).extend(files)
    found = []
    for point in sorted(by_point):
        files = sorted(set(by_point[point]))
        begin = len(found) if joined else 0
        if begin + len(files) > MOST:
            raise PlanError(f"point {point}: {begin + len(files)} captures are too many at once, at most {MOST} can be")
        found += [Capture(point, number, *file) for number, file in enumerate(files, begin)]
    if not found:
        raise PlanError("there is no capture below the paths that were named")
    return found


def points_of_paths(regex: str, paths: list[str]) -> list[tuple[str, str]]:
    """Each file below `paths` with its point: the group `point` of `regex`, or its first group."""
    pattern = re.compile(regex)
    found = []
    for root in paths:
        for path, _, error in files_below(root):
            match = pattern.search(path)
            if error:
                raise PlanError(f"{path}: {error}")
            if not match or not match.groups():
                raise PlanError(f"{path}: --point-from-path {regex} finds no point in this name")
            found.append((match.groupdict().get("point") or match.group(1), path))
    return found


def points_of_manifest(path: str) -> list[tuple[str, str]]:
    """A JSON object: each point's name with a path or a list of paths."""
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    if not isinstance(manifest, dict):
        raise PlanError(f"{path}: expected a JSON object of points and their paths")
    listed = {point: [paths] if isinstance(paths, str) else paths for point, paths in manifest.items()}
    return [(point, path) for point, paths in listed.items() for path in paths]


def check_hosts(names: list[str]) -> None:
    """Refuses recordings of the kernel's verdicts: they are joined with packets on one machine only."""
    for name in names:
        if not os.path.isfile(name):
            continue
        with open(name, "rb") as file:
            if file.read(len(RECORDING)) == RECORDING:
                raise PlanError(
                    f"{name} is a recording of 'synscope snapshot --follow', which a fleet cannot join with packets. Give it to "
                    "'synscope analyze' with the captures of that host"
                )
