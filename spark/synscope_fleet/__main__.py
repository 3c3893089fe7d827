"""The command line: `synscope-fleet --report html=fleet.html --point web1=s3://bucket/web1/ --point lb=...`."""

import argparse
import os
import re
import shutil
import subprocess
import sys

from . import job, plan, start

ENOUGH = 64  # MiB of memory for a point
# Options of synscope whose value may be the next word.
WITH_VALUE = ("since", "until", "port", "half-close-after", "memory-limit", "threads")


def arguments(given: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="synscope-fleet",
        description="Analyzes captures of many hosts on Apache Spark. Options that are not listed here go to synscope: "
        "--since, --until, --port, --memory-limit and others of 'synscope analyze'.",
    )
    parser.add_argument("--point", action="append", default=[], metavar="NAME=PATH", help="captures of a point; repeatable")
    parser.add_argument("--manifest", metavar="FILE", help="a JSON object of points and their paths")
    parser.add_argument("--point-from-path", metavar="REGEX", help="finds the point in the name of each file of PATH")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="with --point-from-path")
    parser.add_argument("--report", action="append", default=[], metavar="FORMAT=FILE", help="as of synscope analyze")
    parser.add_argument("--host", action="append", default=[], metavar="SNAPSHOT", help="as of synscope analyze")
    parser.add_argument("--master", help="Spark master [default: as spark-submit says, else local[*]]")
    parser.add_argument("--synscope", metavar="PROGRAM", help="synscope built with the feature fleet [default: in PATH]")
    parser.add_argument("--executor-synscope", metavar="PROGRAM", help="the same on the executors [default: the same path]")
    parser.add_argument("--partitions", type=int, metavar="N", help="tasks after a shuffle [default: 2 for each core, 17 for each point at most]")
    parser.add_argument("--range-size", type=int, metavar="BYTES", help="files that are not compressed are read in ranges of this [default: 4 for each core, of 64 MiB to 1 GiB]")
    parser.add_argument("--redact", action="store_true", help="as of synscope analyze")
    parser.add_argument("--redact-key-file", metavar="FILE", help="as of synscope analyze")
    parser.add_argument("--separate", action="store_true", help="a report for each point, in place of one that joins them")
    for name in WITH_VALUE:
        parser.add_argument(f"--{name}", action="append", default=[], metavar="VALUE", help="as of synscope analyze")
    parser.add_argument("--prepare", action="store_true", help="once for each host: keeps Spark's classes in a file, for a cheaper start")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")
    return parser.parse_known_args(given)


def points(args: argparse.Namespace) -> list[tuple[str, str]]:
    found = []
    for point in args.point:
        name, equals, path = point.partition("=")
        if not (name and equals and path):
            raise plan.PlanError(f"--point {point}: expected NAME=PATH")
        found.append((name, path))
    if args.manifest:
        found += plan.points_of_manifest(args.manifest)
    if args.point_from_path:
        found += plan.points_of_paths(args.point_from_path, args.paths)
    elif args.paths:
        raise plan.PlanError(f"{args.paths[0]}: which point is this? Write --point NAME={args.paths[0]}")
    return found


def key(args: argparse.Namespace) -> str:
    """The key of --redact, which all workers must have; nothing without it."""
    if not args.redact:
        return ""
    named = ["--redact-key-file", args.redact_key_file] if args.redact_key_file else []
    done = subprocess.run([args.synscope, "worker", "key", "--redact", *named], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise plan.PlanError("there is no key for --redact")  # synscope has said why
    return done.stdout.strip()


def advise(points: int) -> None:
    """Says so where the memory limit that synscope has by itself leaves little for each point."""
    if (share := 1024 // points) < ENOUGH:
        print(
            f"synscope-fleet: {points} points share the memory limit of 1 GiB, {share} MiB each. Where they have much traffic give "
            f"--memory-limit {-(-points * ENOUGH // 1024)}GiB",
            file=sys.stderr,
        )


def main(given: list[str] | None = None) -> int:
    args, args.options = arguments(given)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        if args.prepare:
            return start.prepare()
        plan.check_hosts(args.host)
        args.options += [f"--host={host}" for host in args.host]
        for name in WITH_VALUE:
            args.options += [f"--{name}={value}" for value in getattr(args, name.replace("-", "_"))]
        wanted = points(args)
        args.joined = len({point for point, _ in wanted}) > 1 and not args.separate
        captures = plan.captures(wanted, args.joined)
        if args.joined and not args.memory_limit and not args.quiet:
            advise(len({capture.point for capture in captures}))
        args.synscope = args.synscope or shutil.which("synscope")
        if not args.synscope:
            raise plan.PlanError("synscope is not in PATH. Name it: --synscope /opt/synscope/bin/synscope")
        args.synscope = os.path.abspath(args.synscope)
        tables = [report for report in args.report if report.startswith("parquet=")]
        args.tables = tables[-1].removeprefix("parquet=") if tables else None
        args.report = [report for report in args.report if report not in tables]
        args.executor_synscope = args.executor_synscope or args.synscope
        args.key = key(args)
        with start.context(args.master or (None if "SPARK_ENV_LOADED" in os.environ else "local[*]")) as spark:
            if args.partitions is None:
                places = len({capture.point for capture in captures}) * (job.SHARDS + 1)
                args.partitions = min(2 * spark.defaultParallelism, places)
            return job.run(spark, captures, args)
    except (plan.PlanError, re.error) as error:
        print(f"synscope-fleet: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
