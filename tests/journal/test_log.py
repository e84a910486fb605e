"""The log gives back what was written to it, and says which kind of damage it has met."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mincemeat.journal.log import DiskFile, Log, LogDamaged, Record, read_log


class MemoryFile:
    """A file that forgets on demand what was not synced."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = 0

    def lines(self) -> Iterator[bytes]:
        yield from bytes(self.data).splitlines(keepends=True)

    def append(self, data: bytes) -> None:
        self.data += data

    def sync(self) -> None:
        self.synced = len(self.data)

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.synced = size

    def close(self) -> None:
        pass


def written(records: list[Record], *, sync_every: int = 1) -> MemoryFile:
    file = MemoryFile()
    log = Log(file, 0)
    for number, record in enumerate(records):
        log.append(record)
        if number % sync_every == sync_every - 1:
            log.sync()
    return file


SOME: list[Record] = [{"n": number, "text": "x" * number} for number in range(20)]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(st.dictionaries(st.text(), values, min_size=1)))
def test_what_was_written_is_read(records: list[Record]) -> None:
    file = written(records)
    assert read_log(file.lines()) == (records, len(file.data), 0)


def test_an_empty_file_has_no_records() -> None:
    assert read_log([]) == ([], 0, 0)


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_torn_tail_is_dropped_and_counted(cut: int) -> None:
    file = written(SOME)
    whole = bytes(file.data)
    del file.data[-cut:]
    contents = read_log(file.lines())
    assert contents.records == SOME[: len(contents.records)]
    assert whole.startswith(bytes(file.data[: contents.size]))
    assert contents.size + contents.torn == len(file.data)
    assert contents.torn < 80  # no more than one record


def test_every_flipped_bit_before_the_last_record_is_damage() -> None:
    file = written(SOME)
    last = bytes(file.data[:-1]).rindex(b"\n") + 1
    chance = random.Random(1)
    for _ in range(300):
        at, bit = chance.randrange(last), 1 << chance.randrange(8)
        file.data[at] ^= bit
        with pytest.raises(LogDamaged) as caught:
            read_log(file.lines())
        assert caught.value.offset <= at
        assert f"record {caught.value.records + 1}, at byte {caught.value.offset}" in str(caught.value)
        file.data[at] ^= bit


def test_a_flipped_bit_in_the_last_record_is_a_torn_tail() -> None:
    file = written(SOME)
    file.data[-3] ^= 1
    assert read_log(file.lines()).records == SOME[:-1]


def test_what_was_not_synced_may_be_any_mixture() -> None:
    """The disk may have written the last page and not the one before."""
    file = written(SOME, sync_every=10)
    tail = SOME + [{"late": number} for number in range(3)]
    log = Log(file, len(file.data))
    synced = len(file.data)
    for record in tail[20:]:
        log.append(record)
    file.data[synced + 5] = 0
    contents = read_log(file.lines())
    assert contents.records == SOME
    assert contents.size == synced


def test_zeros_that_a_power_cut_left_are_a_torn_tail() -> None:
    file = written(SOME)
    size = len(file.data)
    file.append(bytes(4096))
    assert read_log(file.lines()) == (SOME, size, 4096)


def test_a_log_goes_on_behind_its_whole_records() -> None:
    file = written(SOME)
    del file.data[-3:]
    contents = read_log(file.lines())
    file.truncate(contents.size)
    log = Log(file, contents.size)
    log.append({"more": 1})
    log.sync()
    assert read_log(file.lines()).records == [*SOME[:-1], {"more": 1}]


def test_a_log_says_whether_all_of_it_is_on_the_disk() -> None:
    log = Log(MemoryFile(), 0)
    said = [log.is_synced]
    log.append({"a": 1})
    said.append(log.is_synced)
    log.sync()
    assert [*said, log.is_synced] == [True, False, True]


def test_a_file_on_disk_is_for_its_owner_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("log") / "journal"
    file = DiskFile(str(path))
    log = Log(file, 0)
    for record in SOME:
        log.append(record)
    log.sync()
    assert path.stat().st_mode & 0o077 == 0
    assert read_log(file.lines()).records == SOME
    file.truncate(0)
    assert read_log(file.lines()).records == []
    file.close()
    file.close()


class FullDisk(MemoryFile):
    """Takes the first half of what is appended, while it is full."""

    is_full = False

    def append(self, data: bytes) -> None:
        if self.is_full:
            super().append(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(data)


def test_nothing_is_written_behind_half_a_record() -> None:
    """What came behind it, when there was room again, made a damaged log of it, with which nobody could go on."""
    file = FullDisk()
    log = Log(file, 0)
    log.append({"a": 1})
    log.sync()
    file.is_full = True
    with pytest.raises(OSError, match="No space left"):
        log.append({"b": 2})
    file.is_full = False
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            log.append({"c": 3})
        with pytest.raises(OSError, match="No space left"):
            log.sync()
    assert read_log(file.lines()) == ([{"a": 1}], len(file.data), 0)


def test_a_sync_that_has_failed_is_not_tried_again() -> None:
    """The system may have forgotten what it could not write, and say that all is well."""

    class Failing(MemoryFile):
        def sync(self) -> None:
            raise OSError(errno.EIO, "Input/output error")

    file = Failing()
    log = Log(file, 0)
    log.append({"a": 1})
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    file.sync = lambda: None  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    assert not log.is_synced
