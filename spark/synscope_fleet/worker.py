"""One stage of synscope: a process, its Arrow streams, and what it says when it fails.

Between stages the messages of such a stream are moved as they are: all rows of one have the same point, shard and kind.
"""

import gc
import io
import os
import subprocess
import sys
import tempfile
import threading
import zipimport
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyarrow import fs
from pyspark.serializers import pack_long

from .plan import WHOLE, opened

VERSION = 2
HEAD = 64 << 10  # bytes of a file's beginning that go with each range
CHUNK = 4 << 20  # bytes of one row
BEYOND = 1 << 20  # bytes behind a range: room for its last record

INPUT = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in [
            ("version", pa.int32()),
            ("point", pa.string()),
            ("capture", pa.int32()),
            ("path", pa.string()),
            ("size", pa.int64()),
            ("begin", pa.int64()),
            ("until", pa.int64()),
            ("chunk", pa.int32()),
            ("head", pa.binary()),
            ("bytes", pa.binary()),
            ("error", pa.string()),
            ("file", pa.string()),
        ]
    ]
)
ROWS = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in [
            ("version", pa.int32()),
            ("point", pa.string()),
            ("shard", pa.int32()),
            ("kind", pa.int32()),
            ("time", pa.int64()),
            ("capture", pa.int32()),
            ("begin", pa.int64()),
            ("piece", pa.int32()),
            ("body", pa.binary()),
        ]
    ]
)
END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream
OUTLINE, SEGMENTS, READING, EVENTS, TABLE = 0, 1, 2, 3, 6  # kinds of rows
HANDSHAKES, CLOCKS = 7, 9  # where points are joined
Tasks = dict[tuple[str, int], int]  # which task the rows of a point and shard go to


class WorkerError(Exception):
    """A worker failed; the message says at what."""


class Worker:
    """A stage that runs. `about` names what it works on. `given` are bytes that it reads as the file named last."""

    def __init__(self, command: list[str], schema: pa.Schema, about: str, key: str = "", given: bytes = b""):
        self.about, self.complaints, self.failed = about, tempfile.TemporaryFile(), None
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.flush()
            self.process = subprocess.Popen(
                [*command, f"/dev/fd/{file.fileno()}"] if given else command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.complaints,
                bufsize=0,
                env=with_key(key),
                pass_fds=[file.fileno()] if given else [],
            )
        self.write(schema.serialize())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()  # nobody wants the rest
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.complaints.close()

    def write(self, message: bytes | pa.Buffer) -> None:
        """Hands it a message. Where it has ended, its exit code will say why."""
        rest = memoryview(message)
        try:
            while rest:
                rest = rest[self.process.stdin.write(rest) :]
        except BrokenPipeError:
            pass

    def end(self) -> None:
        """There is nothing more to come."""
        self.write(END)
        self.process.stdin.close()

    def feed(self, batches: Iterable[pa.RecordBatch]) -> threading.Thread:
        """Hands it all of these while its results are read."""

        def run() -> None:
            try:
                for batch in batches:
                    self.write(batch.serialize())
                self.end()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that Spark watches
                self.failed = error
                self.process.kill()

        feeder = threading.Thread(target=run, daemon=True)
        feeder.start()
        return feeder

    def results(self) -> Iterator[pa.Message]:
        """What it makes, message by message."""
        broken = None
        try:
            # A pipe gives less than it is asked for, and Arrow wants all of it.
            yield from pa.ipc.MessageReader.open_stream(io.BufferedReader(self.process.stdout, 1 << 18))
        except (pa.ArrowInvalid, OSError) as error:
            broken = error
            self.process.kill()
        code = self.process.wait()
        if self.failed:
            raise self.failed
        if code != 0 or broken:
            self.complaints.seek(0)
            said = self.complaints.read().decode(errors="replace").strip()
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise WorkerError(f"{self.about}: the worker {how}. {said or broken or ''}")


def with_key(key: str) -> dict[str, str]:
    """The environment of a worker that knows the key of --redact: arguments can be read by every user of a host."""
    return {**os.environ, "SYNSCOPE_REDACT_KEY": key} if key else dict(os.environ)


def of_rows(message: pa.Message | bytes) -> tuple[str, int, int]:
    """Point, shard and kind of the rows of a message."""
    first = pa.ipc.read_record_batch(message, ROWS)
    return tuple(first[name][0].as_py() for name in ("point", "shard", "kind"))


def addressed(messages: Iterable[pa.Message], tasks: Tasks | None) -> Iterator[bytes | pa.Buffer]:
    """Messages of rows, each behind the number of the task that it goes to; without numbers where there are no `tasks`."""
    for message in messages:
        if message.type == "record batch":
            if tasks:
                yield pack_long(tasks[of_rows(message)[:2]])
            yield message.serialize()


def chunks(row: dict) -> Iterator[pa.RecordBatch]:
    """The rows of a range for `worker decode`."""

    def batch(number: int, head: bytes, data: bytes, error: str, file: str = "") -> pa.RecordBatch:
        values = [VERSION, row["point"], row["capture"], row["path"], row["size"], row["begin"], row["until"]]
        columns = [pa.array([value], field.type) for value, field in zip([*values, number, head, data, error, file], INPUT)]
        return pa.RecordBatch.from_arrays(columns, schema=INPUT)

    number, head = 0, b""
    try:
        if row["error"]:
            raise OSError(row["error"])
        system, place = opened(row["place"])
        if isinstance(system, fs.LocalFileSystem):
            # The worker reads it itself: that saves three copies of every byte.
            yield batch(0, b"", b"", "", place)
            return
        with system.open_input_file(place) as file:
            head = file.read(HEAD)
            file.seek(row["begin"])
            end = row["size"] if row["until"] == WHOLE else min(row["size"], row["until"] + BEYOND)
            left = end - row["begin"]
            while left > 0 and (data := file.read(min(CHUNK, left))):
                yield batch(number, b"" if number else head, data, "")
                number, left = number + 1, left - len(data)
        if number == 0:
            yield batch(0, head, b"", "")
    except (OSError, pa.ArrowException) as error:
        yield batch(number, b"" if number else head, b"", str(error) or type(error).__name__)


def of_run(messages: bytes, kind: int) -> bytes:
    """The rows of one kind of a stream, as a stream."""
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(messages))
    rows = [m for m in reader if m.type == "record batch" and of_rows(m)[2] == kind]
    return b"".join([ROWS.serialize(), *(row.serialize() for row in rows), END])


def forget_zip_files() -> None:
    """Spark has Python look for new modules before each task. Up to version 3.11 Python then reads the tables of all zip files
    on its path again: 0.1 s for Spark's own library. One that is forgotten is not read; its modules are found as before."""
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[path]
    # Objects made so far live as long as this process: the collector that runs after each task need not look at them.
    gc.freeze()


def decoder(binary: str, options: list[str], tasks: Tasks, key: str, clocks: bytes = b"") -> Callable:
    """`worker decode`: ranges in, rows out. Each range has a process of its own, so that one which makes it crash is known
    by name. Where the clocks of the points are known, it gets them."""
    command = [binary, "worker", "decode", *options, *(["--of-run"] if clocks else [])]

    def run(ranges: Iterator[dict]) -> Iterator[bytes | pa.Buffer]:
        forget_zip_files()
        for row in ranges:
            about = f"{row['path']} from byte {row['begin']}"
            with Worker(command, INPUT, about, key, clocks) as worker:
                feeder = worker.feed(chunks(row))
                yield from addressed(worker.results(), tasks)
                feeder.join()

    return run


def stage(
    command: list[str],
    kinds: set[int],
    tasks: Tasks | None,
    left_out: set[int] | None = None,
    key: str = "",
    given: bytes = b"",
) -> Callable:
    """A later stage: rows in, rows out. The worker gets rows of these `kinds`, and all of them before it makes anything; other
    rows are handed on unless they are `left_out`."""

    def run(messages: Iterator[bytes]) -> Iterator[bytes | pa.Buffer]:
        forget_zip_files()
        worker = None
        try:
            for message in messages:
                point, shard, kind = of_rows(pa.py_buffer(message))
                if kind in kinds:
                    worker = worker or Worker(command, ROWS, f"{command[2]} of point {point}", key, given)
                    worker.write(message)
                    continue
                if left_out and kind in left_out:
                    continue
                if tasks:
                    yield pack_long(tasks[point, shard])
                yield message
            if worker:
                worker.end()
                yield from addressed(worker.results(), tasks)
        finally:
            if worker:
                worker.__exit__()

    return run
