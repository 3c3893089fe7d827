"""Starts Spark's Python workers on one machine: with what all of them need loaded once, before they are forked.

Spark puts its own library, in a zip file, before the one that is installed. Modules out of a zip file are compiled at each start.
"""

import gc
import importlib.machinery
import sys


def prefer_installed() -> None:
    """Leaves the zip file of pyspark out, where the package is installed, too."""
    folders = [path for path in sys.path if not path.endswith((".zip", ".jar"))]
    if importlib.machinery.PathFinder.find_spec("pyspark", folders) and importlib.machinery.PathFinder.find_spec("py4j", folders):
        sys.path[:] = folders


if __name__ == "__main__":
    prefer_installed()
    from pyspark import daemon

    from synscope_fleet import worker  # noqa: F401 - and pyarrow with it

    gc.freeze()
    daemon.manager()
