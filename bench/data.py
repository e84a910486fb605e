"""Makes the data of the workloads in the cache: the same bytes for the same origin, size and seed.

Text comes from one of two origins, named in every table: ``linux``, the kernel's sources from Debian's package
linux-source, or ``stdlib``, the sources of the standard library of the Python that runs this. The documents of an
origin are shuffled with the seed. When they are used up they come again, each time with another permutation of the
alphabet, so that a larger amount has more distinct words, as it would have in more text.

Text is normalised: valid UTF-8, no white space but blanks, tabs and newlines. So no contender has another idea of what
a word is, whichever regular expressions it has.
"""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SEED = 20041206  # the MapReduce paper, OSDI 2004
_SUFFIXES = {".c", ".h", ".S", ".rst", ".txt", ".dts", ".dtsi", ".py", ".sh", ".yaml"}
_WHITE_SPACE = {n: " " for n in range(sys.maxunicode + 1) if chr(n).isspace() and chr(n) not in " \t\n"} | {0: " "}
_FILES_PER_DIRECTORY = 100
_W4_RECORDS_AT_ONCE = 100_000


class Origin:
    """Where text comes from. ``name`` goes into file names and tables; ``root`` is a directory full of source text."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def documents(self) -> Iterator[str]:
        """Texts without end, in a fixed shuffled order."""
        paths: list[Path] = []
        for directory, directories, names in os.walk(self.root):
            directories[:] = [name for name in directories if name != "site-packages"]  # not the same everywhere
            paths += [Path(directory, name) for name in names if os.path.splitext(name)[1] in _SUFFIXES]
        paths = sorted(path for path in paths if path.is_file())
        if not paths:
            raise SystemExit(f"there is no source text in {self.root}")
        chance = random.Random(SEED)
        chance.shuffle(paths)
        alphabet: dict[int, int] = {}
        while True:
            for path in paths:
                text = path.read_text("utf-8", "replace").translate(_WHITE_SPACE)
                yield text.translate(alphabet) if alphabet else text
            letters = list(string.ascii_lowercase)
            chance.shuffle(letters)
            alphabet = str.maketrans(string.ascii_lowercase, "".join(letters))


def find_origin(cache: Path, wanted: str, sources: Path | None) -> Origin:
    """The origin called ``wanted``: "linux", "stdlib", or "auto" for linux if it can be had, else stdlib.

    ``sources``: a directory where linux-source is unpacked already. Else the package is downloaded by apt-get, once,
    and unpacked in the cache, which takes 140 MB of network and 1.5 GB of disk.
    """
    if wanted != "stdlib":
        if sources is not None:
            return Origin("linux", sources)
        try:
            return Origin("linux", _linux_source(cache / "linux-source"))
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or error
            if wanted == "linux":
                raise SystemExit(f"linux-source cannot be had: {said}") from error
            print(f"linux-source cannot be had, the standard library instead: {said}", file=sys.stderr)
    return Origin("stdlib", Path(sysconfig.get_path("stdlib")))


def _linux_source(directory: Path) -> Path:
    if directory.exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        print("downloading linux-source", file=sys.stderr, flush=True)
        found = _output(["apt-cache", "depends", "linux-source"], scratch)
        package = next((word for word in found.split() if word.startswith("linux-source-")), None)
        if package is None:
            raise OSError("apt-cache knows no package linux-source")
        _output(["apt-get", "download", package], scratch)
        (deb,) = Path(scratch).glob("*.deb")
        _output(["dpkg-deb", "--extract", str(deb), "package"], scratch)
        (archive,) = Path(scratch, "package", "usr", "src").glob("linux-source-*.tar.*")
        print(f"unpacking {archive.name}", file=sys.stderr, flush=True)
        with tarfile.open(archive) as members:
            members.extractall(Path(scratch, "sources"), filter="data")
        Path(scratch, "sources").rename(directory)
    return directory


def _output(command: list[str], directory: str) -> str:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


# -- the inputs ------------------------------------------------------------------------------------------


def _once(path: Path, make: Callable[[Path], None]) -> Path:
    """``path``, made by ``make`` under another name if it is not there yet, so that it is whole or absent."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"making {path}", file=sys.stderr, flush=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        try:
            make(unfinished)
            unfinished.rename(path)
        finally:
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            else:
                unfinished.unlink(missing_ok=True)
    return path


def text_file(cache: Path, origin: Origin, size_bytes: int) -> Path:
    """W1: one file of text, of ``size_bytes`` and at most the rest of a document more."""

    def make(path: Path) -> None:
        size = 0
        with open(path, "wb") as file:
            for document in origin.documents():
                size += file.write(document.encode())
                if size >= size_bytes:
                    return

    return _once(cache / "data" / f"w1-{origin.name}-{size_bytes}.txt", make)


def directory_of_files(cache: Path, origin: Origin, count: int) -> Path:
    """W2: ``count`` text files, a hundred to a directory: ``00000/00000042.txt``."""

    def make(path: Path) -> None:
        for number, document in zip(range(count), origin.documents(), strict=False):
            directory = path / f"{number // _FILES_PER_DIRECTORY:05}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{number:08}.txt").write_bytes(document.encode())

    return _once(cache / "data" / f"w2-{origin.name}-{count}", make)


def records_file(cache: Path, count: int) -> Path:
    """W4: ``count`` lines of 100 bytes, in the manner of gensort -a: ten random characters, the number, a filler."""
    printable = bytes(33 + n % 94 for n in range(256))

    def make(path: Path) -> None:
        chance = random.Random(SEED)
        with open(path, "wb") as file:
            for first in range(0, count, _W4_RECORDS_AT_ONCE):
                last = min(count, first + _W4_RECORDS_AT_ONCE)
                keys = chance.randbytes(10 * (last - first)).translate(printable)
                file.write(
                    b"".join(
                        b"%b  %032x  %b\n" % (keys[10 * n : 10 * n + 10], first + n, b"ABCDEFGHIJKLM" * 4 + b"N")
                        for n in range(last - first)
                    )
                )

    return _once(cache / "data" / f"w4-{count}.txt", make)


def four_lines(cache: Path) -> Path:
    """W5."""

    def make(path: Path) -> None:
        path.write_text(
            "Humpty Dumpty sat on a wall\nHumpty Dumpty had a great fall\n"
            "All the King's horses and all the King's men\nCouldn't put Humpty together again\n",
            "utf-8",
        )

    return _once(cache / "data" / "w5.txt", make)
