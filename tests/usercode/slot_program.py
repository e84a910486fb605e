"""A slot reduced to what matters here: load code, call the functions, pickle what they give. Run as a script."""

from __future__ import annotations

import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

from mincemeat.usercode import load


def mapfn(directory: Path) -> None:
    """Called like the users' functions on purpose: their names must not reach the slot's own globals."""
    for path in sorted(directory.glob("*.code")):
        path.with_suffix(".values").write_bytes(pickle.dumps(work(path.read_bytes())))


def work(code: bytes) -> dict[str, Any]:
    before = set(sys.modules)
    pairs, reduced, error = [], None, ""
    try:
        functions = load(code)
        pairs = list((functions.mapfn or nothing)("key", 3))
        reduced = functions.reducefn("key", [1, 2, 3]) if functions.reducefn else None
        pickle.dumps((pairs, reduced))
    except Exception:  # noqa: BLE001 - reported as text
        pairs, reduced, error = [], None, traceback.format_exc()
    return {"pairs": pairs, "reduced": reduced, "error": error, "modules": sorted(set(sys.modules) - before)}


def nothing(key: object, value: object) -> list[Any]:
    return []


def relay(directory: Path) -> None:
    for path in sorted(directory.glob("*.code")):
        load(path.read_bytes())
        values = pickle.loads(path.with_suffix(".values").read_bytes())
        path.with_suffix(".relayed").write_bytes(pickle.dumps(values))


if __name__ == "__main__":
    {"work": mapfn, "relay": relay}[sys.argv[1]](Path(sys.argv[2]))
