"""The stages of an analysis on Spark: decode, shuffle by point and shard, track, shuffle, merge, assemble."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark import RDD, SparkContext
from pyspark.serializers import NoOpSerializer

from . import plan, worker

SHARDS = 16
PER_LAST_TASK = 512 << 20  # bytes of captures
TIMES = ("--since", "--until")  # options of synscope about the times of packets
UNUSABLE, DAMAGED = 2, 3  # exit codes of synscope
WRONG_GUESS = re.compile(r"(?:^|\s)synscope: (.+): the range at byte \d+ was read from a wrong place")
FAILED = re.compile(r"WorkerError: (.+?)(?:\n|$)")
CRASHED = re.compile(r"WorkerError: (.+) from byte \d+: (the worker .+)")


class Progress:
    """Tells on standard error how far the stages are, while that is a terminal, and how long each took."""

    def __init__(self, spark: SparkContext, quiet: bool):
        self.tracker, self.done = spark.statusTracker(), threading.Event()
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


def shuffled(made: RDD, tasks: int) -> RDD:
    """The messages of `made`, each in the task whose number comes before it."""
    try:
        return handed_over(made, tasks)
    except (AttributeError, TypeError, Py4JError):  # another pyspark may not have what that needs
        return pickled(made, tasks)


def pickled(made: RDD, tasks: int) -> RDD:
    """The same with what pyspark offers to everybody."""

    def pairs(messages: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        messages = iter(messages)
        return ((int.from_bytes(task, "big"), bytes(message)) for task, message in zip(messages, messages))

    made._bypass_serializer = False
    return made.mapPartitions(pairs).partitionBy(tasks, lambda task: task).values()


def handed_over(made: RDD, tasks: int) -> RDD:
    """As `RDD.partitionBy` does it, but that gathers up to a thousand records before it hands any on, and pickles them. These
    have up to a megabyte each."""
    made._bypass_serializer = True
    jvm = made.ctx._jvm
    pairs = jvm.PairwiseRDD(made._jrdd.rdd()).asJavaPairRDD()
    moved = jvm.PythonRDD.valueOfPair(pairs.partitionBy(jvm.PythonPartitioner(tasks, 0)))
    return RDD(moved, made.ctx, NoOpSerializer())


def last_tasks(count: int, places: int, size: int) -> int:
    """How many tasks hand their results to the driver. Java holds all that a task hands over, twice, so there are more where
    much is to be expected: a third of the captures' bytes in a flood."""
    return max(count, min(places, size // PER_LAST_TASK))


class Run:
    """The stages of one attempt. Points are joined unless there is one, or each is to have a report of its own."""

    def __init__(self, spark: SparkContext, captures: list[plan.Capture], settings, whole: set[str], lost: dict[str, str]):
        self.spark, self.settings, self.count = spark, settings, settings.partitions
        self.program = [settings.executor_synscope, "worker"]
        self.redact = ["--redact"] if settings.key else []
        points = sorted({capture.point for capture in captures})
        places = [(point, shard) for point in points for shard in range(-1, SHARDS)]
        self.tasks = {place: number % self.count for number, place in enumerate(places)}
        self.last_count = last_tasks(self.count, len(places), sum(capture.size for capture in captures))
        self.last_tasks = {place: number % self.last_count for number, place in enumerate(places)}
        # Handshakes of points that are joined go to tasks of their own: these alone run before the clocks are known.
        openings = [(point, SHARDS + shard) for point in points for shard in range(SHARDS)]
        self.opening_tasks = {place: self.count + number % self.count for number, place in enumerate(openings)}
        size = settings.range_size or plan.range_size(captures, spark.defaultParallelism)
        ranges = [
            {
                "point": c.point,
                "capture": c.number,
                "path": c.path,
                "place": plan.anywhere(c.place),
                "size": c.size,
                "begin": begin,
                "until": until,
                "error": lost.get(c.path, c.error),
            }
            for c, begin, until in plan.cut(captures, size, whole | lost.keys())
        ]
        self.cut = spark.parallelize(ranges, len(ranges))

    def decoded(self, joined: bool = False, clocks: bytes = b"") -> RDD:
        """The segments of all captures, in the tasks of their points and shards."""
        options = [*self.settings.options, *self.redact, *(["--joined"] if joined else [])]
        openings = self.opening_tasks if joined and not clocks else {}
        tasks = {**self.tasks, **openings}
        decode = worker.decoder(self.settings.executor_synscope, options, tasks, self.settings.key, clocks)
        return shuffled(self.cut.mapPartitions(decode), self.count * (2 if openings else 1))

    def tracked(self, decoded: RDD, clocks: bytes = b"") -> RDD:
        """What the points show by themselves, as messages of an Arrow stream."""
        options = [*(["--tables"] if self.settings.tables else []), *self.settings.options]
        joined = [*self.redact, "--of-run"] if clocks else []
        track = worker.stage(
            [*self.program, "track", *options, *joined],
            {worker.OUTLINE, worker.SEGMENTS},
            self.last_tasks,
            {worker.HANDSHAKES},
            self.settings.key if clocks else "",
            clocks,
        )
        merge = worker.stage([*self.program, "merge", *self.settings.options], {worker.EVENTS}, None)
        merged = shuffled(decoded.mapPartitions(track), self.last_count).mapPartitions(merge)
        merged._bypass_serializer = True
        return merged

    def sketched(self, decoded: RDD, path: str) -> None:
        """Writes the sketches of all points into a file."""
        everything_else = {worker.OUTLINE, worker.SEGMENTS, worker.READING}
        sketch = worker.stage([*self.program, "sketch"], {worker.HANDSHAKES}, None, everything_else)
        made = decoded.mapPartitions(sketch)
        with open(path, "wb") as file:
            file.write(worker.ROWS.serialize())
            # As many at a time as there are cores: so many sketches fit into memory.
            for begin in range(self.count, 2 * self.count, width := self.spark.defaultParallelism):
                some = list(range(begin, min(begin + width, 2 * self.count)))
                for message in self.spark.runJob(made, lambda messages: map(bytes, messages), some):
                    file.write(message)
            file.write(worker.END)

    def traced(self, decoded: RDD, request: bytes, path: str) -> None:
        """Writes the packets that are asked for into a file."""
        everything_else = {worker.READING, worker.HANDSHAKES}
        trace = worker.stage(
            [*self.program, "trace"],
            {worker.OUTLINE, worker.SEGMENTS},
            self.tasks,
            everything_else,
            given=request,
        )
        # Moved once more, for all tasks to run at once.
        found = shuffled(decoded.mapPartitions(trace), self.count)
        with open(path, "wb") as file:
            file.write(worker.ROWS.serialize())
            for message in found.toLocalIterator(prefetchPartitions=True):
                file.write(message)
            file.write(worker.END)

    def separate(self, folder: str) -> int:
        """A report for each point."""
        paths = spool(self.tracked(self.decoded()), folder, self.settings.tables)
        return assemble(paths, folder, self.settings)

    def joined(self, folder: str) -> int:
        """One report on all points."""
        settings = self.settings

        def file(name: str) -> str:
            return os.path.join(folder, name)

        def here(stage: str, options: list[str], source: str) -> tuple[int, bytes]:
            with open(source, "rb") as rows:
                command = [settings.synscope, "worker", stage, *options]
                done = subprocess.run(command, stdin=rows, stdout=subprocess.PIPE, check=False, env=worker.with_key(settings.key))
            return done.returncode, done.stdout

        decoded = self.decoded(joined=True)
        self.sketched(decoded, file("sketches"))
        code, solved = here("solve", [], file("sketches"))
        if code:
            return code  # synscope has said why
        with open(file("points"), "wb") as points:
            points.write(solved)
        clocks = worker.of_run(solved, worker.CLOCKS)
        if any(option.startswith(TIMES) for option in settings.options):
            # Which packets are wanted for their times is known only now.
            decoded = self.decoded(joined=True, clocks=clocks)
        [rows] = spool(self.tracked(decoded, clocks), folder, settings.tables, together=True).values()
        options = [*settings.options, *self.redact, "--of-run", file("points")]
        code, request = here("request", options, rows)
        if code:
            return code
        found = []
        if any(message.type == "record batch" for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(request))):
            self.traced(decoded, request, file("traced"))
            found = ["--traced", file("traced")]
        return assemble({"": rows}, folder, settings, ["--of-run", file("points"), *found])


def spool(made: RDD, folder: str, tables: str | None, together: bool = False) -> dict[str, str]:
    """Writes all rows into files, one for each point or for all `together`: the rows of many points may not fit into memory.
    Tables of connections go where they were asked for."""
    files: dict[str, IO[bytes]] = {}
    paths: dict[str, str] = {}
    for message in made.toLocalIterator(prefetchPartitions=True):
        point, shard, kind = worker.of_rows(pa.py_buffer(message))
        if kind == worker.TABLE:
            for body in pa.ipc.read_record_batch(pa.py_buffer(message), worker.ROWS)["body"].to_pylist():
                put(tables, f"connections-{usual(point)}-{shard:02}.parquet", body)
            continue
        name = "" if together else point
        if name not in files:
            paths[name] = os.path.join(folder, f"{len(paths)}.arrows")
            files[name] = open(paths[name], "wb")  # noqa: SIM115 - closed below
            files[name].write(worker.ROWS.serialize())
        files[name].write(message)
    for file in files.values():
        file.write(worker.END)
        file.close()
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


def assemble(paths: dict[str, str], folder: str, settings, more: list[str] | None = None) -> int:
    """Gives the rows of each point to `worker assemble`, which writes its reports. The exit code of them all. `more` are its
    options where points are joined: then they have one report, and no name."""
    codes = []
    redact = ["--redact"] if settings.key else []
    for point, path in sorted(paths.items()):
        reports = [part for report in settings.report for part in ("--report", named(report, point, len(paths)))]
        if settings.tables:
            reports += ["--report", f"parquet={folder}"]
        options = ["--quiet", *settings.options, *redact, *reports, *(more or [])]
        command = [settings.synscope, "worker", "assemble", *options, "-"]
        if len(paths) > 1 and not reports:
            print(f"\n{point}:", flush=True)
        with open(path, "rb") as file:
            codes.append(subprocess.run(command, stdin=file, check=False, env=worker.with_key(settings.key)).returncode)
        os.unlink(path)
        findings = os.path.join(folder, f"findings-{usual(point)}.parquet" if point else "findings.parquet")
        if os.path.exists(findings):
            with open(findings, "rb") as file:
                put(settings.tables, os.path.basename(findings), file.read())
    if not codes or min(codes) == UNUSABLE == max(codes):
        return UNUSABLE
    # A point of which nothing could be read is damage of the whole.
    return DAMAGED if DAMAGED in codes or UNUSABLE in codes else max(codes)


def run(spark: SparkContext, captures: list[plan.Capture], settings) -> int:
    """Analyzes `captures` and writes the reports. The exit code, as that of `synscope analyze`."""
    whole: set[str] = set()
    lost: dict[str, str] = {}
    progress = Progress(spark, settings.quiet)
    try:
        while True:
            try:
                with tempfile.TemporaryDirectory(prefix="synscope-fleet-") as folder:
                    attempt = Run(spark, captures, settings, whole, lost)
                    return attempt.joined(folder) if settings.joined else attempt.separate(folder)
            except Exception as error:  # what a task raised comes as one of several types of Spark
                text = str(error)
                if (guess := WRONG_GUESS.search(text)) and guess.group(1) not in whole:
                    whole.add(guess.group(1))
                elif (crash := CRASHED.search(text)) and crash.group(1) not in lost:
                    lost[crash.group(1)] = f"{crash.group(2)} It was left out"
                elif failed := FAILED.search(text):
                    raise plan.PlanError(failed.group(1)) from error
                else:
                    raise
    finally:
        progress.close(captures)

