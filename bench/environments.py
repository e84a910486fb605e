"""Decides in which environment a contender runs, and installs it: a virtual environment for each set of requirements.

Nothing is installed where the caller's own packages are. Knows nothing of workloads and measuring.

    CACHE/envs/<name>-<hash of requirements and interpreter>/       .complete inside once the installation succeeded
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
_COMPLETE = ".complete"


class Unavailable(Exception):
    """A contender cannot run here; the message is the reason, in a line."""


class Environment(NamedTuple):
    """An interpreter, the variables of its processes, and its packages, such as ``("dask 2026.8.0",)``."""

    python: Path
    variables: dict[str, str]
    versions: tuple[str, ...] = ()


def default_cache() -> Path:
    """Where environments and data are kept: ``$XDG_CACHE_HOME/mincemeat-bench``, or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mincemeat-bench"


def here() -> Environment:
    """The interpreter that runs the bench, with whatever is installed in it."""
    return Environment(Path(sys.executable), dict(os.environ))


def prepare(cache: Path, name: str, requirements: tuple[str, ...]) -> Environment:
    """The environment of one contender; the first call installs it, which takes minutes for the large ones.

    ``"."`` among the requirements is this repository, installed so that its working tree is what is measured.
    Raises: Unavailable with the last line of what pip said. A failed installation is tried again the next time; to
    upgrade an environment, delete its directory.
    """
    seed = json.dumps([requirements, sys.version, str(REPOSITORY) if "." in requirements else ""])
    directory = cache / "envs" / f"{name}-{hashlib.sha256(seed.encode()).hexdigest()[:8]}"
    python = directory / "bin" / "python"
    if not (directory / _COMPLETE).exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        if requirements:
            print(f"installing {name} into {directory}", file=sys.stderr, flush=True)
        _call([sys.executable, "-m", "venv", *([] if requirements else ["--without-pip"]), str(directory)])
        if requirements:
            wanted = [word for entry in requirements for word in (["-e", str(REPOSITORY)] if entry == "." else [entry])]
            _call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
        (directory / _COMPLETE).touch()
    # PYTHONPATH and its like would have all contenders import the same things.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return Environment(python, variables, _versions(python, requirements))


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Unavailable(f"could not be installed: {said[-1] if said else f'exit code {done.returncode}'}")


def _versions(python: Path, requirements: tuple[str, ...]) -> tuple[str, ...]:
    names = ["mincemeat" if entry == "." else entry.partition("[")[0].partition("==")[0] for entry in requirements]
    if not names:
        return ()
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    done = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"was installed, but {done.stderr.strip().splitlines()[-1]}")
    found = done.stdout.split()
    if "." in requirements:
        found[requirements.index(".")] += _commit()
    return tuple(f"{name} {version}" for name, version in zip(names, found, strict=True))


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git: an unpacked release
        return ""
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def describe_python() -> str:
    """The interpreter that every contender written in Python runs on."""
    return f"{platform.python_implementation()} {platform.python_version()}"
