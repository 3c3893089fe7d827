"""Starts Spark, cheaply where it runs on one machine.

To find and check Spark's classes is half of what a short run costs. Java can keep them in a file, once for each host, which later
runs map into memory. Java checks whether the file fits its version and all libraries; where it does not, it reads these.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyspark
from pyspark import SparkConf, SparkContext, cloudpickle
from pyspark.serializers import pack_long

import synscope_fleet

from . import job, plan, worker

# To compile Spark's code again and again for speed costs more than it brings, and so does a collector with many threads.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A file that does not fit is no news.
QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"
PATIENCE = 120  # seconds that Java may take to write the file


@contextmanager
def context(master: str | None, classes: str = "") -> Iterator[SparkContext]:
    """Spark, with settings for few large records. It stops at the end unless it ran before. `classes` are options of Java in place
    of those that use the file of classes."""
    conf = SparkConf().setAppName("synscope-fleet").set("spark.ui.showConsoleProgress", "false")
    java = JAVA
    if (master or "").startswith("local"):
        # Its web server costs a second of CPU; the terminal shows the progress.
        conf.setIfMissing("spark.ui.enabled", "false")
        # Here it is also all executors.
        conf.setIfMissing("spark.driver.memory", "2g")
        # What the stages hand on goes over no wire.
        conf.setIfMissing("spark.shuffle.compress", "false")
        conf.setIfMissing("spark.python.daemon.module", "synscope_fleet.daemon")
        os.environ.setdefault("SPARK_LAUNCHER_OPTS", JAVA)
        if not classes and os.path.exists(kept := class_file()):
            classes = f"-XX:SharedArchiveFile={kept}"
        java = f"{JAVA} {QUIET} {classes}"
    for side in ("driver", "executor"):
        conf.set(f"spark.{side}.defaultJavaOptions", java)
    ran_before = SparkContext._active_spark_context is not None
    spark = SparkContext.getOrCreate(conf.setMaster(master) if master else conf)
    try:
        spark.setLogLevel("ERROR")
        # Executors need no installation of this package.
        for module in (synscope_fleet, plan, worker):
            cloudpickle.register_pickle_by_value(module)
        yield spark
    finally:
        if not ran_before:
            spark.stop()


def class_file() -> str:
    """The file of this Java and this Spark."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin/java") if home else shutil.which("java") or "java"
    parts = [os.path.realpath(java), os.path.dirname(pyspark.__file__), pyspark.__version__]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(folder, "synscope", f"spark-{name}.jsa")


def prepare() -> int:
    """Writes the file: Java does so at the end of a run that does what all runs do. The exit code."""
    path = class_file()
    made = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with context("local[2]", f"-XX:ArchiveClassesAtExit={made}") as spark:
            numbers = spark.parallelize(range(4), 4)
            moved = job.shuffled(numbers.mapPartitions(lambda some: (m for n in some for m in (pack_long(n % 2), b"%d" % n))), 2)
            assert sorted(moved.toLocalIterator(prefetchPartitions=True)) == [b"0", b"1", b"2", b"3"]
        java = SparkContext._gateway.proc
        java.stdin.close()
        java.wait(PATIENCE)
        os.replace(made, path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise plan.PlanError(f"{path} was not written: {error}") from error
    print(f"{path}: later runs on this host start with it", file=sys.stderr)
    return 0
