"""Who runs: for each contender its script, what must be installed for it, and why it cannot run where it cannot.

A contender takes part in a workload if ``bench/<workload>/by_<script>.py`` exists: a complete program that reads
``argv[1]``, writes ``argv[2]``, and uses ``argv[3]`` workers.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bench.environments import Environment, Unavailable, prepare

_BENCH = Path(__file__).resolve().parent
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Contender(NamedTuple):
    """One line of a table.

    ``requirements``: what pip installs for it; without any it needs a bare interpreter. ``program``: what must be on
    the PATH. ``settings``: environment variables of its script. ``only``: the workloads it is meant for, by default
    all that have its script. ``missing``: workload to the reason why it is not there, where a reader would ask.
    """

    name: str
    script: str
    requirements: tuple[str, ...] = ()
    program: str = ""
    settings: Mapping[str, str] = _NOTHING
    only: tuple[str, ...] = ()
    missing: Mapping[str, str] = _NOTHING

    def path(self, workload: str) -> Path:
        """Its script for ``workload``, which may not exist."""
        return _BENCH / workload.lower() / f"by_{self.script}.py"

    def is_in(self, workload: str) -> bool:
        """Whether it has to be named in the table of ``workload``, be it with the reason why it does not run."""
        is_meant = not self.only or workload in self.only
        return is_meant and (workload in self.missing or self.path(workload).exists())

    def install(self, workload: str, cache: Path) -> Environment:
        """Its environment, installed if need be. Raises: Unavailable."""
        if workload in self.missing:
            raise Unavailable(self.missing[workload])
        if self.program and shutil.which(self.program) is None:
            raise Unavailable(f"needs {self.program}, which is not on the PATH")
        return prepare(cache, self.script if self.requirements else "python", self.requirements)

    def command(self, workload: str, environment: Environment, source: str, output: str, workers: int) -> list[str]:
        return [str(environment.python), str(self.path(workload)), source, output, str(workers)]


_PYTHON_2 = "the mincemeat.py on PyPI (0.1.4) is for Python 2; no port of it to Python 3 is there"
_ALL = ("W1", "W2", "W3", "W4", "W5")

# In the order in which a round runs them; ratios are to one of them.
CONTENDERS = (
    Contender("mincemeat", "mincemeat", (".",)),
    Contender("mincemeat-counter", "mincemeat_counter", (".",)),
    Contender("mincemeat-journal", "mincemeat", (".",), settings={"JOURNAL": "1"}, only=("W1",)),
    Contender("mincemeat-split1", "mincemeat", (".",), settings={"SPLIT": "1"}, only=("W3",)),
    Contender("mincemeat-cluster", "mincemeat", (".",), settings={"CLUSTER": "1"}),
    Contender(
        "mincemeat-cluster-journal", "mincemeat", (".",), settings={"CLUSTER": "1", "JOURNAL": "1"}, only=("W1",)
    ),
    Contender("mincemeat-cluster-split1", "mincemeat", (".",), settings={"CLUSTER": "1", "SPLIT": "1"}, only=("W3",)),
    Contender("pool", "pool"),
    Contender("pool-counter", "pool_counter"),
    Contender("serial", "serial"),
    Contender("joblib", "joblib", ("joblib",)),
    Contender("polars", "polars", ("polars",)),
    Contender("duckdb", "duckdb", ("duckdb",)),
    Contender("gnu-sort", "gnu_sort", program="sort"),
    Contender("dask", "dask", ("dask[distributed]",)),
    Contender("ray", "ray", ("ray",)),
    Contender("pyspark", "pyspark", ("pyspark",), program="java"),
    Contender("mincemeat.py", "original", missing=dict.fromkeys(_ALL, _PYTHON_2)),
)


def choose(workload: str, names: str | None) -> list[Contender]:
    """The contenders of ``workload``, or those of them in the comma-separated ``names``.

    Raises: ValueError for a name that is not one of them.
    """
    there = {contender.name: contender for contender in CONTENDERS if contender.is_in(workload)}
    if names is None:
        return list(there.values())
    wanted = names.split(",")
    if unknown := [name for name in wanted if name not in there]:
        raise ValueError(f"{workload} has no contender {unknown[0]!r}; there are {', '.join(there)}")
    return [there[name] for name in wanted]
