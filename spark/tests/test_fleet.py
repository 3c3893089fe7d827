"""The driver on a cluster of two executor processes: the report is that of `synscope analyze`, whatever dies meanwhile."""

import gzip
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest
from pyarrow import fs

ROOT = Path(os.environ.get("SYNSCOPE_ROOT", Path(__file__).resolve().parents[2]))
SYNSCOPE = os.environ.get("SYNSCOPE", str(ROOT / "target/debug/synscope"))
TESTDATA = ROOT / "testdata"

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")

from pyspark import SparkConf, SparkContext  # noqa: E402
from pyspark.serializers import pack_long  # noqa: E402

from synscope_fleet import job, plan  # noqa: E402
from synscope_fleet.__main__ import advise, main  # noqa: E402

MASTER = os.environ.get("SYNSCOPE_SPARK_MASTER", "local-cluster[2,1,1024]")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    settings = {
        "spark.executor.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # A task that is slow is run a second time beside the first one.
        "spark.speculation": "true",
        "spark.speculation.interval": "100ms",
        "spark.speculation.quantile": "0.5",
        "spark.speculation.multiplier": "1.1",
    }
    context = SparkContext.getOrCreate(SparkConf().setMaster(MASTER).setAll(settings.items()))
    context.setLogLevel("ERROR")
    yield context
    context.stop()


def wrapper(folder: Path, script: str) -> str:
    """A program that does something before it becomes synscope. `once NAME` is true the first time only."""
    path = folder / "synscope"
    once = f'once() {{ mkdir "{folder}/$1" 2>/dev/null; }}\n'
    path.write_text(f'#!/bin/bash\n{once}{script}\nexec "{SYNSCOPE}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def analyzed(*captures: Path) -> dict:
    command = [SYNSCOPE, "analyze", "--quiet", "--no-pair", "--format", "json", *map(str, captures)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout)


def spread(folder: Path, *options: str) -> tuple[int, dict]:
    report = folder / "fleet.json"
    code = main(["--master", MASTER, "--quiet", "--partitions", "4", "--report", f"json={report}", *options])
    return code, json.loads(report.read_text()) if report.exists() else {}


def same(found: dict, expected: dict) -> None:
    """Byte for byte, but for how the user asked: one capture is asked of `analyze` without --no-pair in the Rust tests."""
    for report in (found, expected):
        report["options"].pop("pair")
    assert json.dumps(found) == json.dumps(expected)


def some_captures() -> list[Path]:
    found = sorted(TESTDATA.glob("accept-queue-overflow/*/*.pcap"))
    assert len(found) >= 5
    return found


def linked(folder: Path, captures: list[Path]) -> list[Path]:
    folder.mkdir()
    for number, capture in enumerate(captures):
        (folder / f"{number:03}.pcap").symlink_to(capture)
    return sorted(folder.iterdir())


def test_a_folder_of_captures_is_one_stream(tmp_path):
    captures = linked(tmp_path / "edge", some_captures())
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, "--point", f"edge={tmp_path / 'edge'}")
    assert code == 0
    same(report, analyzed(*captures))


def test_a_file_is_cut_into_ranges(tmp_path, monkeypatch):
    # Named from where the driver runs: executors run elsewhere.
    monkeypatch.chdir(TESTDATA)
    capture = max(TESTDATA.rglob("*.pcap"), key=lambda path: path.stat().st_size).relative_to(TESTDATA)
    size = str(capture.stat().st_size // 5)
    options = ["--synscope", SYNSCOPE, "--range-size", size, "--point", f"edge={capture}"]
    code, report = spread(tmp_path, *options)
    assert code == 0
    same(report, analyzed(capture))


def test_an_executor_and_a_worker_that_are_killed_change_nothing(tmp_path):
    captures = linked(tmp_path / "edge", some_captures())
    # The executor is the Java process above the Python processes above this one.
    program = wrapper(
        tmp_path,
        """if [[ $2 == decode ]] && once worker; then kill -9 $$; fi
if [[ $2 == track ]] && once executor; then
    pid=$PPID
    while [[ $(cat /proc/$pid/comm) != java ]]; do pid=$(awk '{print $4}' /proc/$pid/stat); done
    kill -9 $pid
fi
if [[ $2 == decode ]] && once slow; then sleep 5; fi""",
    )
    code, report = spread(tmp_path, "--synscope", program, "--point", f"edge={tmp_path / 'edge'}")
    assert code == 0
    assert all((tmp_path / name).exists() for name in ("worker", "executor", "slow"))
    same(report, analyzed(*captures))


def test_a_file_that_cannot_be_read_is_named_and_nothing_else_is_lost(tmp_path):
    good = some_captures()[0]
    code, report = spread(
        tmp_path, "--synscope", SYNSCOPE, "--point", f"edge={good}", "--point", f"edge={tmp_path}/missing.pcap"
    )
    assert code == 3
    assert any("missing.pcap" in warning and "no such file" in warning for warning in report["warnings"])
    assert report["summary"]["findings"] == analyzed(good)["summary"]["findings"]


def test_a_file_at_which_the_worker_always_crashes_is_left_out_and_named(tmp_path):
    captures = linked(tmp_path / "edge", some_captures()[:3])
    # The path stands in the stream; the rest of it is passed on.
    program = wrapper(
        tmp_path,
        f"""if [[ $2 == decode ]]; then
    cat >"{tmp_path}/stream.$$"
    if grep -q 001.pcap "{tmp_path}/stream.$$" && ! grep -q "was left out" "{tmp_path}/stream.$$"; then kill -9 $$; fi
    exec "{SYNSCOPE}" "$@" <"{tmp_path}/stream.$$"
fi""",
    )
    code, report = spread(tmp_path, "--synscope", program, "--point", f"edge={tmp_path / 'edge'}")
    assert code == 3
    assert any("001.pcap" in warning and "signal 9" in warning for warning in report["warnings"])
    assert report["summary"]["packets"] == analyzed(captures[0], captures[2])["summary"]["packets"]


def test_each_point_has_a_report_of_its_own(tmp_path):
    client, server = (TESTDATA / "accept-queue-overflow/linux-4.9" / f"{side}.pcap" for side in ("client", "server"))
    options = ["--synscope", SYNSCOPE, "--separate", "--point", f"web 1={client}", "--point", f"lb={server}"]
    code, _ = spread(tmp_path, *options)
    assert code == 0
    for name, capture in [("web_1", client), ("lb", server)]:
        same(json.loads((tmp_path / f"fleet.{name}.json").read_text()), analyzed(capture))


POINTS = ["client1", "client2", "lb", "web1", "web2"]


def lab(folder: Path, clocks: dict[str, tuple[int, float]]) -> list[str]:
    """The recorded lab of five namespaces, its points as files that can be cut. `clocks` are so many nanoseconds ahead and gain so
    much in each second."""
    options = []
    for name in POINTS:
        ahead, drift = clocks.get(name, (0, 0))
        packed = gzip.decompress((TESTDATA / f"balancer/{name}.pcap.gz").read_bytes())
        magic = int.from_bytes(packed[:4], "little")
        assert magic in (0xA1B2C3D4, 0xA1B23C4D)
        unit = 1000 if magic == 0xA1B2C3D4 else 1
        made, at, begin = [(0xA1B23C4D).to_bytes(4, "little") + packed[4:24]], 24, None
        while at < len(packed):
            seconds, part, captured, length = struct.unpack_from("<4I", packed, at)
            time = seconds * 10**9 + part * unit
            begin = begin or time
            time += ahead + int((time - begin) * drift)
            body = packed[at + 16 : at + 16 + captured]
            made.append(struct.pack("<4I", time // 10**9, time % 10**9, captured, length) + body)
            at += 16 + captured
        path = folder / f"{name}.pcap"
        path.write_bytes(b"".join(made))
        options += ["--point", f"{name}={path}"]
    return options


def joined(*options: str) -> dict:
    """What `analyze` says of points."""
    command = [SYNSCOPE, "analyze", "--quiet", "--format", "json", *options]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def check_lab(report: dict) -> None:
    """The planted faults, each at its place, and nothing else."""
    told = set()
    for finding in report["findings"]:
        port, route = int(finding["client"].rpartition(":")[2]), finding["route"]
        lost, reached = route.get("lost_between"), route.get("reached")
        if port in range(40_001, 40_005) or port in range(40_011, 40_014):
            assert (finding["kind"], lost) == ("handshake-loss", ["client1", "lb"]), finding
        elif port in range(41_001, 41_005):
            assert (finding["kind"], lost, reached) == ("accept-queue-overflow", None, "web1"), finding
        elif port in range(42_001, 42_007):
            assert finding["kind"] in ("syn-drop-accept-queue", "accept-queue-overflow"), finding
            assert (lost, reached) == (None, "web2"), finding
        else:
            assert port in (43_001, 43_002), f"nothing happened to it: {finding}"
            assert (finding["kind"], lost) == ("path-mtu-blackhole", ["web2", "lb"]), finding
        told.add(port)
    due = {*range(40_001, 40_005), *range(40_011, 40_014), *range(41_001, 41_005), 43_001, 43_002}
    assert due <= told and len(told & set(range(42_001, 42_007))) >= 3
    assert report["summary"]["failed_unexplained"] == 0


@pytest.mark.parametrize("partitions", ["1", "2", "7", "64"])
def test_points_are_joined(tmp_path, partitions):
    points = lab(tmp_path, {})
    cut = ["--range-size", "40000"] if partitions != "1" else []
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *points, *cut, "--partitions", partitions)
    assert code == 0
    check_lab(report)
    assert json.dumps(report) == json.dumps(joined(*points))


def test_points_whose_clocks_drift_are_joined(tmp_path):
    clocks = {"client1": (5 * 10**9, 8e-5), "client2": (0, -6e-5), "lb": (-2 * 10**9, 0), "web1": (86_400 * 10**9, 1e-4)}
    points = lab(tmp_path, clocks)
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *points)
    assert code == 0
    check_lab(report)
    assert json.dumps(report) == json.dumps(joined(*points))
    times = sorted(finding["first"] for finding in report["findings"])
    only = ["--since", times[2], "--until", times[-3], "--port", "80"]
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *points, *only)
    assert code == 0
    assert json.dumps(report) == json.dumps(joined(*points, *only))


def test_executors_and_workers_that_are_killed_change_no_joined_report(tmp_path):
    program = wrapper(
        tmp_path,
        """for stage in decode sketch track trace; do
    if [[ $2 == "$stage" ]] && once "$stage"; then kill -9 $$; fi
done
if [[ $2 == trace ]] && once executor; then
    pid=$PPID
    while [[ $(cat /proc/$pid/comm) != java ]]; do pid=$(awk '{print $4}' /proc/$pid/stat); done
    kill -9 $pid
fi
if [[ $2 == trace ]] && once slow; then sleep 3; fi""",
    )
    points = lab(tmp_path, {})
    code, report = spread(tmp_path, "--synscope", program, *points, "--range-size", "60000")
    assert code == 0
    assert all((tmp_path / name).exists() for name in ("decode", "sketch", "track", "trace", "executor", "slow"))
    assert json.dumps(report) == json.dumps(joined(*points))


def test_a_point_that_cannot_be_read_is_named_in_the_joined_report(tmp_path, capfd):
    points = lab(tmp_path, {})
    dead = tmp_path / "dead.pcap"
    dead.write_bytes(b"this is no capture")
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *points, "--point", f"dead={dead}")
    assert code == 3
    check_lab(report)
    assert any("dead.pcap" in warning for warning in report["warnings"])
    nothing = ["--point", f"one={dead}", "--point", f"two={tmp_path}/missing.pcap"]
    assert spread(tmp_path / "none", "--synscope", SYNSCOPE, *nothing) == (2, {})
    said = capfd.readouterr().err
    assert "dead.pcap" in said and "missing.pcap" in said


def test_tables_of_joined_points_go_together(tmp_path):
    tables = tmp_path / "tables"
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *lab(tmp_path, {}), "--report", f"parquet={tables}")
    assert code == 0
    db = duckdb.connect()
    found = db.execute(
        f"""select f.id, c."id.orig_p" from '{tables}/findings*.parquet' f
        join '{tables}/connections-*.parquet' c using (point, uid)"""
    ).fetchall()
    assert len(found) == len(report["findings"])
    points = db.execute(f"select distinct point from '{tables}/connections-*.parquet' order by 1").fetchall()
    assert [point for (point,) in points] == POINTS


def test_tables_are_read_by_duckdb(tmp_path):
    capture = TESTDATA / "accept-queue-overflow/linux-4.9/server.pcap"
    tables = tmp_path / "tables"
    options = ["--report", f"parquet={tables}", "--synscope", SYNSCOPE, "--point", f"web 1={capture}"]
    code, report = spread(tmp_path, *options)
    assert code == 0
    db = duckdb.connect()
    db.execute(f"create view connections as from '{tables}/connections-*.parquet'")
    db.execute(f"create view findings as from '{tables}/findings-*.parquet'")
    outcomes = dict(db.execute("select outcome, count(*) from connections group by outcome").fetchall())
    assert outcomes == report["summary"]["outcomes"]
    assert sum(outcomes.values()) == report["summary"]["connections"]
    found = db.execute(
        """select f.id, c."id.orig_h" || ':' || c."id.orig_p", c.point from findings f join connections c using (point, uid)"""
    ).fetchall()
    assert found
    clients = {finding["id"]: finding["client"] for finding in report["findings"]}
    assert all(clients[name] == client and point == "web 1" for name, client, point in found)
    kinds = dict(db.execute("select kind, count(*) from findings group by kind").fetchall())
    about_listeners = sum(1 for finding in report["findings"] if finding["client"] is None)
    assert sum(kinds.values()) + about_listeners == len(report["findings"])


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("hdfs://namenode:8020/captures/web1/", "hdfs://namenode:8020/captures/web1/a/1.pcap"),
        ("hdfs:///captures/web1", "hdfs:///captures/web1/a/1.pcap"),
        ("gs://bucket/captures/web1?project_id=p", "gs://bucket/captures/web1/a/1.pcap"),
        ("s3a://key:secret@bucket/captures/web1/?region=eu-west-1", "s3a://bucket/captures/web1/a/1.pcap"),
    ],
)
def test_names_of_files_begin_as_the_uri_does(tmp_path, monkeypatch, uri, name):
    place = "captures/web1" if "bucket" not in uri else "bucket/captures/web1"
    (tmp_path / place / "a").mkdir(parents=True)
    (tmp_path / place / "a/1.pcap").write_bytes(bytes.fromhex("d4c3b2a1"))
    (tmp_path / place / "notes.txt").write_bytes(b"")
    asked = []

    def system_of(uri):
        # What pyarrow makes of it, but on this disk.
        asked.append(uri)
        path = uri.partition("?")[0].partition("://")[2]
        path = path.partition("@")[2] if "@" in path else path
        path = path.partition("/")[2] if uri.startswith("hdfs") else path
        return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), path.rstrip("/")

    monkeypatch.setattr(plan, "system_of", system_of)
    [capture] = plan.captures([("web1", uri)])
    assert (capture.path, capture.size, capture.error) == (name, 4, "")
    assert plan.is_plain(capture.place)
    settings = uri.partition("?")[2]
    assert all(settings in one for one in asked)
    assert uri.startswith("gs") == all("retry_limit_seconds=" in one for one in asked)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("gs://", "names no bucket"),
        ("s3://?region=eu-west-1", "names no bucket"),
        ("s3://bucket/k?regoin=eu-west-1", "regoin"),
        ("hdfs://namenode:port/captures", "Cannot parse URI"),
        ("nosuch://bucket/captures", "Unrecognized filesystem type"),
        ("/nowhere/captures", "no such file or folder"),
    ],
)
def test_what_cannot_be_listed_is_a_capture_that_says_why(uri, why):
    [capture] = plan.captures([("web1", uri)])
    assert why in capture.error and capture.path == uri.partition("?")[0]


def test_hadoop_says_what_it_needs(monkeypatch):
    def system_of(_):
        raise OSError("Prior attempt to load libhdfs failed")

    monkeypatch.setattr(plan, "system_of", system_of)
    [capture] = plan.captures([("web1", "hdfs://namenode/captures")])
    assert "JAVA_HOME" in capture.error


def test_points_come_from_names_and_manifests(tmp_path):
    for name in ["a/web1.pcap", "b/web2.pcap", "b/notes.txt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = plan.points_of_paths(r"/(?P<point>web\d)\.", [str(tmp_path)])
    assert [point for point, _ in found] == ["web1", "web2"]
    with pytest.raises(plan.PlanError, match="finds no point"):
        plan.points_of_paths(r"/(lb)", [str(tmp_path)])
    (tmp_path / "fleet.json").write_text(json.dumps({"web": [str(tmp_path / "a")], "db": str(tmp_path / "b")}))
    assert [(c.point, c.number) for c in plan.captures(plan.points_of_manifest(str(tmp_path / "fleet.json")))] == [
        ("db", 0),
        ("web", 0),
    ]


def test_files_are_cut_into_ranges_that_are_worth_a_task(tmp_path, monkeypatch):
    mib, gib = 1 << 20, 1 << 30
    captures = [plan.Capture("edge", n, f"s3://bucket/{n}.pcap", size, "") for n, size in enumerate([4 * gib, mib, 3 * gib])]
    assert plan.range_size(captures, 4) == (7 * gib + mib) // 16
    assert plan.range_size(captures, 64) == plan.range_size(captures[1:2], 1) == 64 * mib
    assert plan.range_size(captures * 1000, 64) == gib
    # Buckets are asked for some files at once: these wait for one another.
    both = threading.Barrier(2, timeout=10)

    def is_plain(place):
        both.wait()
        return place.endswith("0.pcap")

    monkeypatch.setattr(plan, "is_plain", is_plain)
    ranges = plan.cut(captures, gib, set())
    assert [(c.number, begin, until) for c, begin, until in ranges] == [
        (0, 0, gib), (0, gib, 2 * gib), (0, 2 * gib, 3 * gib), (0, 3 * gib, plan.WHOLE), (1, 0, plan.WHOLE), (2, 0, plan.WHOLE)
    ]  # fmt: skip
    assert len(plan.cut(captures, gib, {c.path for c in captures})) == 3


def test_the_driver_gets_large_results_in_more_pieces():
    gib = 1 << 30
    assert job.last_tasks(4, 17, gib // 10) == job.last_tasks(4, 17, 2 * gib) == 4
    assert job.last_tasks(4, 17, 4 * gib) == 8
    assert job.last_tasks(4, 17, 1000 * gib) == 17
    assert job.last_tasks(64, 34, 1000 * gib) == 64


@pytest.mark.parametrize("shuffled", [job.shuffled, job.handed_over, job.pickled])
def test_messages_go_to_the_tasks_that_they_are_meant_for(cluster, shuffled):
    for tasks in (1, 7, 30):
        numbers = range(0, 2 * tasks, 3)
        made = cluster.parallelize(numbers, 3).mapPartitions(
            lambda some, tasks=tasks: (part for n in some for part in (pack_long(n % tasks), b"%d" % n))
        )
        placed = shuffled(made, tasks).mapPartitionsWithIndex(lambda task, some: [(task, int(n)) for n in some])
        assert sorted(placed.collect()) == sorted((n % tasks, n) for n in numbers)


def test_a_bucket_is_read_as_a_folder(tmp_path, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **access)
        s3.create_bucket(Bucket="captures")
        captures = some_captures()[:3]
        for number, capture in enumerate(captures):
            s3.upload_file(str(capture), "captures", f"edge/{number:03}.pcap")
        settings = f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
        check_bucket(tmp_path, captures, "s3a://someone:secret@captures", settings)
    finally:
        server.stop()


def test_a_google_bucket_is_read_as_a_folder(tmp_path):
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="captures")
    server.start()
    try:
        settings = f"?scheme=http&endpoint_override=127.0.0.1:{port}&project_id=p&retry_limit_seconds=20"
        bucket, captures = "gs://anonymous@captures", some_captures()[:3]
        for number, capture in enumerate(captures):
            system, place = plan.opened(f"{bucket}/edge/{number:03}.pcap{settings}")
            with system.open_output_stream(place) as file:
                file.write(capture.read_bytes())
        check_bucket(tmp_path, captures, bucket, settings)
    finally:
        server.stop()


def check_bucket(folder: Path, captures: list[Path], bucket: str, settings: str) -> None:
    """The report on a bucket's folder `edge`, which holds these captures, and on a file that is not there."""
    options = ["--synscope", SYNSCOPE, "--range-size", "20000"]
    missing = f"{bucket}/no-such-file.pcap{settings}"
    code, report = spread(folder, *options, "--point", f"edge={bucket}/edge/{settings}", "--point", f"edge={missing}")
    assert code == 3
    assert "secret" not in json.dumps(report) and "anonymous" not in json.dumps(report)
    name = re.sub("//.*@", "//", bucket)
    assert [c["path"] for c in report["captures"]][:3] == [f"{name}/edge/{n:03}.pcap" for n in range(3)]
    assert any(f"{name}/no-such-file.pcap" in warning for warning in report["warnings"])
    expected = analyzed(*captures)
    assert report["summary"] == expected["summary"]
    assert [f["summary"] for f in report["findings"]] == [f["summary"] for f in expected["findings"]]


def test_a_redacted_report_is_that_of_analyze(tmp_path):
    capture, key = TESTDATA / "accept-queue-overflow/linux-4.9/server.pcap", tmp_path / "key"
    redact = ["--redact", "--redact-key-file", str(key)]
    code, report = spread(tmp_path, "--synscope", SYNSCOPE, *redact, "--point", f"edge={capture}")
    assert code == 0
    command = [SYNSCOPE, "analyze", "--quiet", "--no-pair", "--format", "json", *redact, str(capture)]
    same(report, json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    assert report["options"]["redact"]


def test_a_stage_that_always_crashes_is_told_with_its_point(tmp_path, capsys):
    program = wrapper(tmp_path, "if [[ $2 == track ]]; then kill -9 $$; fi")
    code, report = spread(tmp_path, "--synscope", program, "--point", f"edge={some_captures()[0]}")
    assert (code, report) == (2, {})
    assert "track of point edge: the worker was ended by signal 9" in capsys.readouterr().err


def test_a_recording_of_the_kernels_verdicts_is_refused(tmp_path, capsys):
    recording = tmp_path / "kernel.jsonl"
    recording.write_text('{"schema":"synscope.recording/1","kernel":""}\n')
    for option in (["--host", str(recording)], [f"--host={recording}"]):
        assert main(["--point", f"edge={some_captures()[0]}", "--synscope", SYNSCOPE, *option]) == 2
        assert "kernel.jsonl is a recording of 'synscope snapshot --follow'" in capsys.readouterr().err


def test_many_points_that_share_little_memory_are_told(capsys):
    advise(16)
    assert capsys.readouterr().err == ""
    advise(200)
    said = capsys.readouterr().err
    assert "200 points share the memory limit of 1 GiB, 5 MiB each" in said and "--memory-limit 13GiB" in said


def test_what_cannot_be_meant_is_refused(capsys):
    assert main(["--point", "nothing", "--synscope", SYNSCOPE]) == 2
    assert "expected NAME=PATH" in capsys.readouterr().err
    assert main(["capture.pcap", "--synscope", SYNSCOPE]) == 2
    assert "which point is this?" in capsys.readouterr().err
