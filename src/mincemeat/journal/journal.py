"""One job's journal: a file that says how far it had come, and a directory of what has to outlive its coordinator.

Decides: what is written to it, what lies in its directory, and when all of it goes. Does not know: tasks, workers,
engines; nor whether a journal that is there may be gone on with (reading.py).

    PATH          the log (log.py, history.py), locked while a coordinator lives
    PATH.files/   results/: of reduce attempts; blocks/, worker-0/, ...: what slots and workers on this machine made;
                 password: the generated one

Both are removed when the results are in the user's hands. Until then they stay, whatever became of the coordinator.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import Any, Final

from mincemeat.errors import InvalidJob, SpillSpaceExhausted
from mincemeat.journal.history import History, MapCommit, ReduceCommit, SplitGroup, plan_record
from mincemeat.journal.log import Contents, DiskFile, Log, LogFile, Record
from mincemeat.journal.password import PASSWORD, keep_password, read_password
from mincemeat.journal.reading import FILES, check_kind, head_record, read_journal, splitters_of
from mincemeat.locks import Lock
from mincemeat.model import AttemptId
from mincemeat.shuffle.store import DISK_FULL, make_directory

# What is in the directory.
RESULTS: Final = "results"
BLOCKS: Final = "blocks"
WORKER: Final = "worker-"
_ROOMS: Final = {RESULTS, BLOCKS, PASSWORD}


class Journal:
    """The journal of one running job. ``history`` is what an earlier coordinator left, None if there was none.

    Life: ``begin`` or ``go_on`` before anything is recorded; ended by ``remove`` (the results are safe) or ``close``
    (somebody may want to go on). ``sync`` may be called in another thread, beside nothing else.
    """

    def __init__(
        self, path: str, file: LogFile, contents: Contents, history: History | None, lock: Lock | None
    ) -> None:
        self.path = path
        self.directory = path + FILES
        self.history = history
        # How many coordinators the job had before this one.
        self.life = 0 if history is None else history.lives
        self.torn_bytes = contents.torn
        self._file = file
        self._lock = lock
        self._password = ""
        self._size = contents.size  # and not its records, which history has in fewer bytes
        self._log = Log(file, contents.size)
        # Whether there is something to go on with when this is closed.
        self.is_kept = history is not None

    @classmethod
    def open(cls, path: str | os.PathLike[str], identity: dict[str, str]) -> Journal:
        """The journal at ``path`` of the job that ``identity`` describes: see ``describe_job``.

        Raises: InvalidJob, in one sentence that says what to do: it cannot be made there; another coordinator has it;
        it is no journal, or of another job, of another version, or damaged.
        """
        check_kind(path)
        # Behind links: what is locked, removed and compared is the file itself.
        path = os.path.realpath(os.fspath(path))
        with contextlib.ExitStack() as cleanup:
            try:
                DiskFile(path).close()
                lock = Lock.of_new(path)
                if lock is None:
                    raise InvalidJob(
                        f"the journal {path} is in use: its job is running. Wait for that, or name another journal"
                    )
                cleanup.callback(lock.release)
                # Only now: whoever had the lock before may have removed what was there.
                file = DiskFile(path)
                cleanup.callback(file.close)
            except OSError as error:
                raise InvalidJob(f"the journal {path} cannot be written: {error.strerror or error}") from error
            contents, history = read_journal(path, file, identity)
            if history is None:
                _check_directory(path + FILES)
            cleanup.pop_all()
        return cls(path, file, contents, history, lock)

    def begin(self, job_id: str, identity: dict[str, str], splitters: tuple[Any, ...]) -> None:
        """Write down whose journal this is. What lies in its directory is of no job that anybody can go on with."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._make_directory()
        self._truncate(0)
        # Before the job has begun: no worker knows one that is not kept.
        self._write_password()
        self._append(head_record(job_id, identity, splitters))
        self.sync()
        self.is_kept = True

    def go_on(self) -> None:
        """Begin another life with the job that ``history`` tells of."""
        assert self.history is not None
        self._make_directory()
        self._truncate(self._size)
        self._append({"life": self.history.lives})
        self.sync()

    def password(self) -> str:
        """The one that an earlier coordinator generated; "" if it did not, or if it is lost."""
        return "" if self.life == 0 else read_password(self.directory)

    def keep_password(self, generated: str) -> None:
        """Have the next coordinator know the password that this one generated. Call it before ``begin``."""
        self._password = generated
        if self.life:
            self._write_password()

    def _write_password(self) -> None:
        if not self._password:
            return
        try:
            keep_password(self.directory, self._password)
        except OSError as error:
            raise self._told(error) from error

    def forget_history(self) -> None:
        """Everybody was told what it says, and it is large: kilobytes for a map task."""
        self.history = None

    @property
    def job_id(self) -> str:
        assert self.history is not None
        return str(self.history.head["job"])

    @property
    def splitters(self) -> tuple[Any, ...]:
        """As given to ``begin`` in the first life, by a coordinator whose functions were loaded. Raises: InvalidJob."""
        assert self.history is not None
        return splitters_of(self.path, self.history.head)

    # -- what happens ------------------------------------------------------------------------------------

    def splits_cut(self, group: SplitGroup) -> None:
        self._append(group.to_record())

    def input_exhausted(self, splits: int) -> None:
        self._append({"input": splits})

    def map_committed(self, commit: MapCommit) -> None:
        """Its worker may be believed to have it from the next ``sync`` on."""
        self._append(commit.to_record())

    def planned(self, plan: list[range]) -> None:
        self._append(plan_record(plan))

    def reduce_committed(
        self, attempt: AttemptId, path: str, skipped: int = 0, set_aside: str = "", *, worker: str = ""
    ) -> None:
        """The results of ``attempt`` are the file ``path`` in the journal's directory from the next ``sync`` on."""
        name = os.path.relpath(path, self.directory).replace(os.sep, "/")
        commit = ReduceCommit(attempt, name, os.path.getsize(path), skipped, set_aside, worker)
        self._append(commit.to_record())

    def void(self, attempt: AttemptId) -> None:
        """What was recorded of ``attempt`` is not so: another one was quicker."""
        self._append({"void": str(attempt)})

    def sync(self) -> None:
        """Wait until everything recorded before this call survives a power cut.

        Raises: SpillSpaceExhausted; OSError if the disk is at fault otherwise.
        """
        try:
            self._log.sync()
        except OSError as error:
            raise self._told(error) from error

    def result_path(self, commit: ReduceCommit) -> str | None:
        """Where the results of ``commit`` are; None if no file of that size is there. It has checksums."""
        path = os.path.join(self.directory, commit.file)
        try:
            return path if os.path.getsize(path) == commit.size else None
        except OSError:
            return None

    def room(self, name: str) -> str:
        """A directory for what is to outlive this process, made if it is not there: ``results``, ``blocks``, ..."""
        path = os.path.join(self.directory, name)
        make_directory(path)
        return path

    # -- the end -----------------------------------------------------------------------------------------

    def remove(self) -> None:
        """The results are where the user wants them: nobody needs to go on."""
        # The log first: without it nothing says what the files are worth. Windows unlinks nothing that is open.
        if sys.platform == "win32":
            self._log.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.is_kept = False
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Let go, and leave everything where it is. May be called again."""
        self._log.close()
        if self._lock is not None:
            self._lock.release()

    # -- the file ----------------------------------------------------------------------------------------

    def _truncate(self, size: int) -> None:
        try:
            self._file.truncate(size)
        except OSError as error:
            raise self._told(error) from error

    def _append(self, record: Record) -> None:
        try:
            self._log.append(record)
        except OSError as error:
            raise self._told(error) from error

    def _make_directory(self) -> None:
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise self._told(error) from error
            raise InvalidJob(
                f"the directory {self.directory} of the journal cannot be made: {error.strerror or error}"
            ) from error

    def _told(self, error: OSError) -> OSError:
        if error.errno not in DISK_FULL:
            return error
        return SpillSpaceExhausted(
            f"the disk that holds the journal {self.path} is full; make room there and start again: the job goes on "
            "from what was written",
            path=self.path,
        )


def _check_directory(path: str) -> None:
    """Raises: InvalidJob if something is at ``path`` that no journal has left there: it would be removed."""
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidJob(
            f"the journal needs the directory {path}, and what is there is none of its own: {error.strerror or error}. "
            "Name another journal"
        ) from error
    for name in names:
        if name not in _ROOMS and not name.startswith(WORKER):
            raise InvalidJob(
                f"the journal needs the directory {path}, and in what is there is {name!r}, which is not its own. Name "
                "another journal"
            )
