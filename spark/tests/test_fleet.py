"""The driver on a cluster of two executor processes: the report is that of `synscope analyze`, whatever dies meanwhile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

ROOT = Path(os.environ.get("SYNSCOPE_ROOT", Path(__file__).resolve().parents[2]))
SYNSCOPE = os.environ.get("SYNSCOPE", str(ROOT / "target/debug/synscope"))
TESTDATA = ROOT / "testdata"

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")

from pyspark import SparkConf, SparkContext  # noqa: E402
from pyspark.serializers import pack_long  # noqa: E402

from synscope_fleet import job, plan  # noqa: E402
from synscope_fleet.__main__ import main  # noqa: E402

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
    options = ["--synscope", SYNSCOPE, "--point", f"web 1={client}", "--point", f"lb={server}"]
    code, _ = spread(tmp_path, *options)
    assert code == 0
    for name, capture in [("web_1", client), ("lb", server)]:
        same(json.loads((tmp_path / f"fleet.{name}.json").read_text()), analyzed(capture))


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


def test_messages_go_to_the_tasks_that_they_are_meant_for(cluster):
    for tasks in (1, 7, 300):
        numbers = range(0, 2 * tasks, 3)
        made = cluster.parallelize(numbers, 3).mapPartitions(
            lambda some, tasks=tasks: (part for n in some for part in (pack_long(n % tasks), b"%d" % n))
        )
        placed = job.shuffled(made, tasks).mapPartitionsWithIndex(lambda task, some: [(task, int(n)) for n in some])
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
        options = ["--synscope", SYNSCOPE, "--range-size", "20000"]
        bucket = "s3a://someone:secret@captures"
        missing = f"{bucket}/no-such-file.pcap{settings}"
        code, report = spread(tmp_path, *options, "--point", f"edge={bucket}/edge/{settings}", "--point", f"edge={missing}")
    finally:
        server.stop()
    assert code == 3
    assert "secret" not in json.dumps(report)
    assert [c["path"] for c in report["captures"]][:3] == [f"s3a://captures/edge/{n:03}.pcap" for n in range(3)]
    assert any("s3a://captures/no-such-file.pcap" in warning for warning in report["warnings"])
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


def test_what_cannot_be_meant_is_refused(capsys):
    assert main(["--point", "nothing", "--synscope", SYNSCOPE]) == 2
    assert "expected NAME=PATH" in capsys.readouterr().err
    assert main(["capture.pcap", "--synscope", SYNSCOPE]) == 2
    assert "which point is this?" in capsys.readouterr().err
