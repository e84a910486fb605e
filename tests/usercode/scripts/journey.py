"""What a caller does with packed functions: two fresh slots carry them out, and the values come back."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincemeat.model import UserFunctions
from mincemeat.usercode import pack


@dataclass
class Claim:
    """Functions of the script, and what must hold in the script's process of what came back."""

    functions: UserFunctions
    check: Callable[[Arrival], object]


@dataclass
class Arrival:
    """What one job brought home: the values, having passed through two slots, or the traceback from the first slot."""

    pairs: list[tuple[Any, Any]]
    reduced: Any
    error: str
    modules: list[str]


def run(claims: dict[str, Claim], slot_program: Path, report: Path) -> None:
    """Send all claims through two slots and write ``{claim: "" or what went wrong}`` as JSON."""
    outcome: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for claim_name, claim in claims.items():
            try:
                (directory / f"{claim_name}.code").write_bytes(pack(claim.functions))
            except Exception:  # noqa: BLE001 - reported as text
                outcome[claim_name] = traceback.format_exc()
        for step in ("work", "relay"):
            # In a directory of its own: nothing beside the script is importable there.
            command = [sys.executable, str(slot_program), step, str(directory)]
            subprocess.run(command, cwd=directory, check=True)
        for claim_name, claim in claims.items():
            if claim_name not in outcome:
                outcome[claim_name] = _check(claim, (directory / f"{claim_name}.relayed").read_bytes())
    report.write_text(json.dumps(outcome))


def _check(claim: Claim, relayed: bytes) -> str:
    try:
        arrival = Arrival(**pickle.loads(relayed))
        verdict = claim.check(arrival)
    except Exception:  # noqa: BLE001 - reported as text
        return traceback.format_exc()
    return "" if verdict else f"the check said {verdict!r} of {arrival}"
