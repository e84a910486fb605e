"""Sources: they cut a datasource into splits, in the caller's process, and open a split again in a slot.

Users plug in here: a subclass of ``Source`` may be given wherever a datasource may. ``base.py`` is the contract.
"""

from __future__ import annotations

from mincemeat.sources.base import Source, SplitInfo, SplitUnreadable, as_source, open_split

__all__ = ["Source", "SplitInfo", "SplitUnreadable", "as_source", "open_split"]
