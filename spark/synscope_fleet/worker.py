"""One stage of synscope over Arrow batches: a process, its streams, and what it says when it fails."""

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyarrow import fs

from .plan import WHOLE, opened

VERSION = 1
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
ROWS = "version int, point string, shard int, kind int, time long, capture int, begin long, piece int, body binary"


class WorkerError(Exception):
    """A worker failed; the message says at what."""


def piped(command: list[str], batches: Iterable[pa.RecordBatch], schema: pa.Schema, about: str) -> Iterator[pa.RecordBatch]:
    """What `command` makes of `batches`. `about` names what it works on."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
        failed: list[BaseException] = []

        def feed() -> None:
            try:
                with process.stdin as to, pa.ipc.new_stream(to, schema) as stream:
                    for batch in batches:
                        stream.write_batch(batch)
            except BrokenPipeError:
                pass  # the worker has ended: its exit code says why
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that Spark watches
                failed.append(error)
                process.kill()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        broken = None
        try:
            with pa.ipc.open_stream(process.stdout) as stream:
                yield from stream
        except pa.ArrowInvalid as error:
            broken = error
        finally:
            if process.poll() is None and broken is None and feeder.is_alive():
                process.kill()  # nobody wants the rest
            process.stdout.close()
            code = process.wait()
            feeder.join()
        if failed:
            raise failed[0]
        if code != 0 or broken:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise WorkerError(f"{about}: the worker {how}. {said or broken or ''}")


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


def decoder(binary: str, options: list[str], slots: dict[tuple[str, int], int]) -> Callable:
    """`worker decode` for `mapInArrow`: ranges in, rows out. Each range has a process of its own, so that one which makes
    it crash is known by name."""

    def run(ranges: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in ranges:
            for row in batch.to_pylist():
                about = f"{row['path']} from byte {row['begin']}"
                for made in piped([binary, "worker", "decode", *options], chunks(row), INPUT, about):
                    yield with_slots(made, slots)

    return run


def stage(binary: str, name: str, options: list[str], slots: dict[tuple[str, int], int]) -> Callable:
    """Any later stage for `mapInArrow`: rows in, rows out."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        first = next(batches, None)
        if first is None:
            return

        def all_batches() -> Iterator[pa.RecordBatch]:
            yield first
            yield from batches

        about = f"{name} of point {first['point'][0].as_py() if first.num_rows else '?'}"
        for made in piped([binary, "worker", name, *options], all_batches(), first.schema, about):
            yield with_slots(made, slots)

    return run


def with_slots(batch: pa.RecordBatch, slots: dict[tuple[str, int], int]) -> pa.RecordBatch:
    """Adds which task each row falls to."""
    keys = zip(batch["point"].to_pylist(), batch["shard"].to_pylist())
    return batch.append_column("slot", pa.array([slots[key] for key in keys], pa.int32()))
