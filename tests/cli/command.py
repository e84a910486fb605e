"""The command line as a real process, for tests that need one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mincemeat

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLES = REPOSITORY / "examples"


def environment() -> dict[str, str]:
    """This process's, so that a child finds the same mincemeat, and no password of whoever runs the tests."""
    package_parent = str(Path(mincemeat.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if name not in ("MINCEMEAT_PASSWORD", "COLUMNS")}
    return {**kept, "PYTHONPATH": path, "PYTHONUTF8": "1"}


def start(
    *words: str | Path, cwd: Path | None = None, stdin: int = subprocess.DEVNULL, temporary: Path | None = None
) -> subprocess.Popen[str]:
    """``python -m mincemeat WORDS`` with pipes for its output; ``temporary`` is where its temporary files go."""
    return subprocess.Popen(
        [sys.executable, "-m", "mincemeat", *map(str, words)],
        cwd=cwd,
        env=environment() | ({} if temporary is None else {"TMPDIR": str(temporary)}),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background of a shell ignores Ctrl-C, and children inherit that.
        preexec_fn=None if sys.platform == "win32" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def call(*words: str | Path, cwd: Path | None = None, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``python -m mincemeat WORDS``."""
    process = start(*words, cwd=cwd, stdin=subprocess.PIPE)
    output, errors = process.communicate(stdin, timeout=60)
    return process.returncode, output, errors
