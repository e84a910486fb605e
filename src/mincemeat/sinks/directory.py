"""Results as a directory of part files and a manifest that is written last.

Decides: the names in it, and how a second job replaces what is there:

    part-00000-5d3c0f1a.tsv     the first part of the job 5d3c0f1a (a random name)
    manifest.json               format, order, and of each part its name, bytes, results and CRC-32
    .mincemeat-5d3c0f1a/        parts of a job that has not committed, locked while its process lives

A commit syncs the parts, renames them into the directory, syncs that, renames the manifest, syncs the directory again,
and then removes the parts of the manifest that it replaced. So who reads a manifest finds a whole result. Commits of
several jobs wait for each other. What a killed job left is removed by the next commit, names of ours only.
Knows nothing of what is in a part.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from typing import Final, NamedTuple

from mincemeat.errors import BlockCorrupt, InvalidJob, MincemeatError
from mincemeat.locks import Lock
from mincemeat.sinks.formats import Format, Stretch
from mincemeat.sinks.parts import BY_ORDER, FORMATS, PartFacts
from mincemeat.sinks.target import naming_full_disk, refusal, settle, sync, sync_directory

MANIFEST: Final = "manifest.json"
_VERSION: Final = 1
_PART: Final = re.compile(r"part-\d{5,}-(?P<job>[0-9a-f]{8})\.[a-z]+")
_PRIVATE: Final = re.compile(r"\.mincemeat-(?P<job>[0-9a-f]{8})")


class Manifest(NamedTuple):
    """What is in a directory of results. ``partitions``: how many the job had, None if keys are not found by them."""

    format: str
    partitions: int | None
    parts: list[tuple[str, PartFacts]]

    def to_json(self) -> str:
        described = [{"name": name, **facts._asdict()} for name, facts in self.parts]
        is_sorted = bool(self.parts) and all(facts.dealt == BY_ORDER for _, facts in self.parts)
        fields = {
            "mincemeat": _VERSION,
            "format": self.format,
            "order": "sorted" if is_sorted else "unsorted",
            "partitions": self.partitions,
            "results": sum(facts.results for _, facts in self.parts),
            "parts": described,
        }
        return json.dumps(fields, indent=1) + "\n"

    def stretches(self, directory: str, fmt: Format) -> list[Stretch]:
        return [fmt.whole(os.path.join(directory, name), facts) for name, facts in self.parts]

    @classmethod
    def read(cls, directory: str) -> Manifest | None:
        """The manifest in ``directory``; None if there is none, or something else of that name.

        Raises: BlockCorrupt for one of a newer version, or of ours and damaged.
        """
        path = os.path.join(directory, MANIFEST)
        try:
            with open(path, encoding="utf-8") as file:
                fields = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(fields, dict) or "mincemeat" not in fields:
            return None
        try:
            if fields["mincemeat"] != _VERSION:
                raise ValueError(f"version {fields['mincemeat']!r}, and {_VERSION} is known here")
            manifest = cls(
                fields["format"],
                fields["partitions"],
                [(part["name"], PartFacts.from_json(part)) for part in fields["parts"]],
            )
            # Threat: a manifest from elsewhere that names files of yours, which would be read, or removed.
            if manifest.format not in FORMATS or not all(_PART.fullmatch(name) for name, _ in manifest.parts):
                raise ValueError("names that no mincemeat gave")
        except (KeyError, TypeError, ValueError) as error:
            raise BlockCorrupt(f"the manifest {path} cannot be read: {error}", path=path) from error
        return manifest


class PartDirectory:
    """The directory ``path`` and what one job puts there. Ended once, by ``commit`` or ``abort``.

    Raises: InvalidJob, at once, if nothing can be put there, or something else is there.
    """

    identity = None  # part files have names of their own

    def __init__(self, path: str, fmt: Format, format_name: str) -> None:
        self.path = os.path.realpath(path)
        self.is_open = True
        self._shown = path
        self._format = fmt
        self._format_name = format_name
        self._ending = os.path.splitext(path)[1].lower()
        self._parts: list[tuple[str, PartFacts]] = []
        while not self._enter():  # another job made the directory, and removes it because it failed
            pass

    def part_path(self) -> str:
        """Where a part that is written here should be."""
        return os.path.join(self._private, "own")

    @property
    def may_keep(self) -> bool:
        """Whether ``add`` may be asked to keep a part: it moves them."""
        return False

    def add(self, path: str, facts: PartFacts, *, keep: bool = False) -> None:
        """Take the file ``path``, which is gone afterwards."""
        assert not keep
        name = f"part-{len(self._parts):05d}-{self._job}{self._ending}"
        private = os.path.join(self._private, name)
        with self.naming_full_disk():
            try:
                os.rename(path, private)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(path, private)
                os.unlink(path)
            # Its writer has synced it, if it was on this file system; its facts were cut off since then.
            sync(private)
        self._parts.append((name, facts))

    def check_open(self) -> None:
        """Raises: MincemeatError if it has been ended."""
        if not self.is_open:
            raise MincemeatError(f"results were written to {self._shown!r} after its commit or abort")

    def commit(self, partitions: int | None) -> list[Stretch]:
        """Put everything in its place; the parts. State after an error: aborted, the directory as it was."""
        try:
            with self.naming_full_disk():
                manifest = self._manifest(partitions)
                self._replace(manifest)
        except BaseException:
            self.abort()
            raise
        self.is_open = False
        return manifest.stretches(self.path, self._format)

    def abort(self) -> None:
        self.is_open = False
        shutil.rmtree(self._private, ignore_errors=True)
        self._lock.release()
        self._unmake()

    def naming_full_disk(self) -> contextlib.AbstractContextManager[None]:
        return naming_full_disk(self._shown, self.path)

    # -- the way in --------------------------------------------------------------------------------------

    def _enter(self) -> bool:
        """Have a private directory in it. False: the directory is gone again."""
        self._made = self._make()
        try:
            self._check_contents()
            self._job, self._private, self._lock = self._new_private_directory()
        except BaseException as error:
            self._unmake()
            if isinstance(error, FileNotFoundError) and not os.path.isdir(self.path):
                return False
            if isinstance(error, OSError):
                raise refusal(self._shown, error.strerror or str(error)) from error
            raise
        return True

    def _make(self) -> bool:
        parent = os.path.dirname(self.path)
        if not os.path.isdir(parent):
            raise refusal(self._shown, f"there is no directory {os.path.dirname(self._shown)!r}")
        try:
            os.mkdir(self.path)
        except FileExistsError:
            if not os.path.isdir(self.path):
                raise refusal(self._shown, "it is a file (to replace it, leave out the slash at the end)") from None
            return False
        except OSError as error:
            raise refusal(self._shown, error.strerror or str(error)) from error
        return True

    def _unmake(self) -> None:
        if self._made:
            with contextlib.suppress(OSError):  # another job has begun there
                os.rmdir(self.path)

    def _check_contents(self) -> None:
        try:
            if Manifest.read(self.path) is not None:
                return
        except BlockCorrupt as error:
            raise refusal(self._shown, str(error)) from error
        foreign = [name for name in os.listdir(self.path) if not (_PART.fullmatch(name) or _PRIVATE.fullmatch(name))]
        if foreign:
            raise refusal(
                self._shown,
                f"the directory holds other things than results ({min(foreign)!r}); name another one, or empty it",
            )

    def _new_private_directory(self) -> tuple[str, str, Lock]:
        while True:
            job = os.urandom(4).hex()
            path = os.path.join(self.path, f".mincemeat-{job}")
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                lock = Lock.of_new(path)
                if lock is not None:
                    return job, path, lock

    # -- the commit --------------------------------------------------------------------------------------

    def _manifest(self, partitions: int | None) -> Manifest:
        facts = self._format.even_out([(os.path.join(self._private, name), facts) for name, facts in self._parts])
        parts = [(name, each) for (name, _), each in zip(self._parts, facts, strict=True)]
        manifest = Manifest(self._format_name, partitions, parts)
        path = os.path.join(self._private, MANIFEST)
        with open(path, "w", encoding="utf-8") as file:
            file.write(manifest.to_json())
        sync(path)
        return manifest

    def _replace(self, manifest: Manifest) -> None:
        with Lock.waiting_for(self.path) as is_locked:
            try:
                replaced = Manifest.read(self.path)
            except BlockCorrupt:  # since we looked; its parts are then known by their names
                replaced = None
            moved: list[str] = []
            try:
                for name, _ in manifest.parts:
                    path = os.path.join(self.path, name)
                    os.rename(os.path.join(self._private, name), path)
                    moved.append(path)
                sync_directory(self.path)
                os.replace(os.path.join(self._private, MANIFEST), os.path.join(self.path, MANIFEST))
            except BaseException:
                # An interruption may come just behind the last rename, and then it is committed.
                for path in moved if os.path.exists(os.path.join(self._private, MANIFEST)) else ():
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                raise
            # From here on it is committed, and nothing may say otherwise.
            settle(self.path)
            settle(os.path.dirname(self.path))  # whoever made the directory may have been killed before it was synced
            shutil.rmtree(self._private, ignore_errors=True)
            self._lock.release()
            for name, _ in replaced.parts if replaced is not None else ():
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.path, name))
            if is_locked:
                with contextlib.suppress(OSError):
                    self._remove_what_is_dead({name for name, _ in manifest.parts})

    def _remove_what_is_dead(self, ours: set[str]) -> None:
        living = set()
        names = os.listdir(self.path)
        for name in names:
            private = _PRIVATE.fullmatch(name)
            if private is None:
                continue
            with Lock.if_dead(os.path.join(self.path, name)) as is_dead:
                if is_dead:
                    shutil.rmtree(os.path.join(self.path, name), ignore_errors=True)
                else:
                    living.add(private["job"])
        for name in names:
            part = _PART.fullmatch(name)
            if part is not None and name not in ours and part["job"] not in living:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.path, name))


def read_manifest(path: str) -> Manifest:
    """The manifest of the results in the directory ``path``. Raises: InvalidJob if there is none; BlockCorrupt."""
    manifest = Manifest.read(path)
    if manifest is None:
        raise InvalidJob(f"the directory {path!r} holds no results: it has no {MANIFEST} of mincemeat's")
    return manifest
