"""Writes dist/mincemeat.py, the one file, and its SHA-256 beside it: ``python tools/onefile.py``.

Decides: where it goes. What is in it is up to mincemeat/onefile/building.py, whatever version of the package is
installed: it is made of this repository's sources.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(directory: Path = ROOT / "dist") -> Path:
    """Write it into ``directory``, whole or not at all; its path."""
    sys.path.insert(0, str(ROOT / "src"))
    from mincemeat.limits import VERSION
    from mincemeat.onefile.building import build

    content = build()
    digest = hashlib.sha256(content).hexdigest()
    path = directory / "mincemeat.py"
    directory.mkdir(exist_ok=True)
    for target, data in ((path, content), (directory / "mincemeat.py.sha256", f"{digest}  mincemeat.py\n".encode())):
        temporary = target.with_name(f"{target.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(target)
    path.chmod(0o755)
    lines = content.count(b"\n")
    print(f"mincemeat {VERSION}, {len(content):,} bytes, {lines:,} lines: {path}")
    print(f"{digest}  mincemeat.py")
    return path


if __name__ == "__main__":
    main()
