"""mincemeat: MapReduce on Python.

``run`` carries a job out on this machine; ``Server`` and ``Client`` carry it out on every machine that knows the
password. ``reducers`` has ready-made reducers.
``text``, ``lines``, ``files``, ``csv``, ``jsonl`` and ``parquet`` make a datasource of files.
"""

from mincemeat import reducers  # noqa: F401 - a public module
from mincemeat.api import Client, Server, run
from mincemeat.cli import run_client
from mincemeat.errors import (
    AuthenticationError,
    BlockCorrupt,
    ConnectionFailed,
    EngineUnavailable,
    InvalidEmission,
    InvalidJob,
    JobFailed,
    JoinRefused,
    MincemeatError,
    PortInUse,
    ProtocolError,
    SandboxIncomplete,
    SpillSpaceExhausted,
)
from mincemeat.limits import DEFAULT_PORT, VERSION
from mincemeat.shuffle.batches import Pairs
from mincemeat.sources.tables import csv, jsonl, parquet
from mincemeat.sources.text import files, lines, text

__version__ = VERSION

__all__ = [
    "DEFAULT_PORT",
    "VERSION",
    "AuthenticationError",
    "BlockCorrupt",
    "Client",
    "ConnectionFailed",
    "EngineUnavailable",
    "InvalidEmission",
    "InvalidJob",
    "JobFailed",
    "JoinRefused",
    "MincemeatError",
    "Pairs",
    "PortInUse",
    "ProtocolError",
    "SandboxIncomplete",
    "Server",
    "SpillSpaceExhausted",
    "csv",
    "files",
    "jsonl",
    "lines",
    "parquet",
    "run",
    "run_client",
    "text",
]
