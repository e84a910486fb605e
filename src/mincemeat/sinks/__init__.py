"""Sinks: they store the results of a job, whole or not at all.

Users plug in here: a subclass of ``Sink`` may be given wherever a sink may. ``base.py`` is the contract.
"""

from __future__ import annotations

from mincemeat.sinks.base import Sink, sink_for_path

__all__ = ["Sink", "sink_for_path"]
