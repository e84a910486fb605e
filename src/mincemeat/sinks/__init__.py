"""Sinks: they store the results of a job, whole or not at all.

Users plug in here: a subclass of ``Sink`` may be given wherever a sink may. ``base.py`` is the contract. What a job
wrote to files is read again with ``open_results``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mincemeat.sinks.base import Sink, sink_for_path

if TYPE_CHECKING:
    from mincemeat.sinks.results import Results, open_results

__all__ = ["Results", "Sink", "open_results", "sink_for_path"]


def __getattr__(name: str) -> Any:
    # When they are asked for: a slot that writes a part imports this package, and reads no results.
    if name in ("Results", "open_results"):
        from mincemeat.sinks import results

        return getattr(results, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
