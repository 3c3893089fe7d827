"""The stages of an analysis on Spark: decode, shuffle by point and shard, track, shuffle, merge, assemble."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import SparkSession

import synscope_fleet

from . import plan, worker

SHARDS = 16
TABLE = 6  # the kind of rows that are files of a table
UNUSABLE, DAMAGED = 2, 3  # exit codes of synscope
RANGES = "point string, capture int, path string, place string, size long, begin long, until long, error string"
ORDER = ["point", "shard", "kind", "time", "capture", "begin", "piece"]
WRONG_GUESS = re.compile(r"(?:^|\s)synscope: (.+): the range at byte \d+ was read from a wrong place")
CRASHED = re.compile(r"WorkerError: (.+) from byte \d+: (the worker .+)")


def session(master: str | None) -> SparkSession:
    """A session whose batches of large rows stay small."""
    builder = SparkSession.builder.appName("synscope-fleet")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "16")
    builder = builder.config("spark.sql.adaptive.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    # Spark moves few large rows: to compile its code again and again for speed costs more than it brings.
    for side in ("driver", "executor"):
        builder = builder.config(f"spark.{side}.defaultJavaOptions", "-XX:TieredStopAtLevel=1")
    builder = builder.config("spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled", "true")
    spark = (builder.master(master) if master else builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    # Executors need no installation of this package.
    for module in (synscope_fleet, plan, worker):
        cloudpickle.register_pickle_by_value(module)
    return spark


def murmur3(number: int) -> int:
    """Spark's hash of an int column."""
    mask = 0xFFFFFFFF
    mixed = number * 0xCC9E2D51 & mask
    mixed = (mixed << 15 | mixed >> 17) & mask
    state = 42 ^ mixed * 0x1B873593 & mask
    state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    state ^= 4
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def salts(tasks: int) -> list[int]:
    """For each task a number that Spark's hash sends there: so every task gets as many keys as any other."""
    found: dict[int, int] = {}
    number = 0
    while len(found) < tasks:
        found.setdefault(murmur3(number) % tasks, number)
        number += 1
    return [found[task] for task in range(tasks)]


class Progress:
    """Tells on standard error how far the stages are, while that is a terminal, and how long each took."""

    def __init__(self, spark: SparkSession, quiet: bool):
        self.tracker, self.done = spark.sparkContext.statusTracker(), threading.Event()
        self.quiet, self.begun = quiet, time.monotonic()
        self.stages: dict[int, str] = {}
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.done.wait(0.5):
            for stage in self.tracker.getActiveStageIds():
                if info := self.tracker.getStageInfo(stage):
                    line = f"stage {stage}: {info.numCompletedTasks} of {info.numTasks} tasks"
                    self.stages[stage] = line + (f", {info.numFailedTasks} failed" if info.numFailedTasks else "")
                    if sys.stderr.isatty() and not self.quiet:
                        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def close(self, captures: list[plan.Capture]) -> None:
        self.done.set()
        self.thread.join()
        if not self.quiet:
            end = "\r\033[K" if sys.stderr.isatty() else ""
            size, points = sum(c.size for c in captures), len({c.point for c in captures})
            took = time.monotonic() - self.begun
            print(f"{end}{len(captures)} captures, {points} points, {size:,} bytes in {took:.1f} s", file=sys.stderr)


def rows(spark: SparkSession, captures: list[plan.Capture], settings, whole: set[str], lost: dict[str, str]):
    """The rows for `assemble`, as a data frame."""
    tasks = settings.partitions
    salt = salts(tasks)
    points = sorted({capture.point for capture in captures})
    places = [(point, shard) for point in points for shard in range(-1, SHARDS)]
    slots = {place: salt[number % tasks] for number, place in enumerate(places)}
    ranges = [
        (c.point, c.number, c.path, plan.anywhere(c.path), c.size, begin, until, lost.get(c.path, c.error))
        for c in captures
        for begin, until in c.ranges(settings.range_size, c.path in whole or c.path in lost)
    ]
    schema = worker.ROWS + ", slot int"
    cut = spark.createDataFrame(spark.sparkContext.parallelize(ranges, len(ranges)), RANGES)
    decoded = cut.mapInArrow(worker.decoder(settings.executor_synscope, settings.options, slots), schema)

    def next_stage(name: str, made, *more: str):
        sorted_rows = made.repartition(tasks, "slot").sortWithinPartitions(*ORDER).drop("slot")
        return sorted_rows.mapInArrow(worker.stage(settings.executor_synscope, name, [*settings.options, *more], slots), schema)

    tables = ["--tables"] if settings.tables else []
    return next_stage("merge", next_stage("track", decoded, *tables)).drop("slot")


def spool(made, folder: str, tables: str | None) -> dict[str, str]:
    """Writes all rows into files, one for each point: the rows of many points may not fit into memory. Tables of
    connections go where they were asked for."""
    types = [field.split() for field in worker.ROWS.split(", ")]
    kinds = {"int": pa.int32(), "long": pa.int64(), "string": pa.string(), "binary": pa.binary()}
    schema = pa.schema([pa.field(name, kinds[kind], nullable=False) for name, kind in types])
    streams: dict[str, pa.RecordBatchStreamWriter] = {}
    paths: dict[str, str] = {}
    for row in made.toLocalIterator():
        if row.kind == TABLE:
            put(tables, f"connections-{usual(row.point)}-{row.shard:02}.parquet", row.body)
            continue
        if row.point not in streams:
            paths[row.point] = os.path.join(folder, f"{len(paths)}.arrows")
            streams[row.point] = pa.ipc.new_stream(paths[row.point], schema)
        columns = [pa.array([bytes(v) if isinstance(v, bytearray) else v], f.type) for v, f in zip(row, schema)]
        streams[row.point].write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    for stream in streams.values():
        stream.close()
    return paths


def put(folder: str, name: str, content: bytes) -> None:
    """Writes a file into a folder of any file system."""
    system, place = plan.opened(folder)
    system.create_dir(place, recursive=True)
    with system.open_output_stream(f"{place.rstrip('/')}/{name}") as file:
        file.write(content)


def usual(point: str) -> str:
    """The name of a point as names of files have it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", point)


def named(report: str, point: str, points: int) -> str:
    """FORMAT=FILE with the point before the file's extension, where there are several points."""
    stem, extension = os.path.splitext(report)
    return report if points == 1 else f"{stem}.{usual(point)}{extension}"


def assemble(paths: dict[str, str], folder: str, settings) -> int:
    """Gives the rows of each point to `worker assemble`, which writes its reports. The exit code of them all."""
    codes = []
    for point, path in sorted(paths.items()):
        reports = [part for report in settings.report for part in ("--report", named(report, point, len(paths)))]
        if settings.tables:
            reports += ["--report", f"parquet={folder}"]
        command = [settings.synscope, "worker", "assemble", "--quiet", *settings.options, *reports, "-"]
        if len(paths) > 1 and not reports:
            print(f"\n{point}:", flush=True)
        with open(path, "rb") as file:
            codes.append(subprocess.run(command, stdin=file, check=False).returncode)
        os.unlink(path)
        findings = os.path.join(folder, f"findings-{usual(point)}.parquet")
        if os.path.exists(findings):
            with open(findings, "rb") as file:
                put(settings.tables, os.path.basename(findings), file.read())
    if not codes or min(codes) == UNUSABLE == max(codes):
        return UNUSABLE
    # A point of which nothing could be read is damage of the whole.
    return DAMAGED if DAMAGED in codes or UNUSABLE in codes else max(codes)


def run(spark: SparkSession, captures: list[plan.Capture], settings) -> int:
    """Analyzes `captures` and writes the reports. The exit code, as that of `synscope analyze`."""
    whole: set[str] = set()
    lost: dict[str, str] = {}
    progress = Progress(spark, settings.quiet)
    try:
        while True:
            try:
                with tempfile.TemporaryDirectory(prefix="synscope-fleet-") as folder:
                    made = rows(spark, captures, settings, whole, lost)
                    return assemble(spool(made, folder, settings.tables), folder, settings)
            except Exception as error:  # what a task raised comes as one of several types of Spark
                text = str(error)
                if (guess := WRONG_GUESS.search(text)) and guess.group(1) not in whole:
                    whole.add(guess.group(1))
                elif (crash := CRASHED.search(text)) and crash.group(1) not in lost:
                    lost[crash.group(1)] = f"{crash.group(2)} It was left out"
                else:
                    raise
    finally:
        progress.close(captures)

