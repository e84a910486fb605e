"""The contract of ``Sink``, over every sink: nothing before commit, everything after it, nothing after abort."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import InvalidJob, MincemeatError
from mincemeat.sinks.base import ENDINGS, Sink, sink_for_path
from mincemeat.sinks.memory import MemorySink
from mincemeat.sinks.output import OutputSink
from tests.kit.outputs import TEXTUAL, Rows, read_files

# A line end in a key has no form in .txt, which test_txt.py is about.
_BATCHES: list[Rows] = [[("one", 1), ("", 2)], [], [('zwölf, "quoted"\r\u2028\U0001f600', 3)]]
_ALL = [pair for batch in _BATCHES for pair in batch]


@pytest.fixture(params=sorted(ENDINGS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"results{request.param}"


@pytest.fixture(params=["", "/"], ids=["file", "directory"])
def slash(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _read(path: Path) -> Rows:
    textual = ENDINGS[path.suffix] in TEXTUAL
    return [(key, int(value) if textual else value) for key, value in read_files(path)]


def _write_all(sink: Sink) -> None:
    for batch in _BATCHES:
        sink.write(iter(batch))


def test_commit_is_whole_and_leaves_nothing_else(path: Path, slash: str) -> None:
    sink = sink_for_path(f"{path}{slash}")
    _write_all(sink)
    assert not (path / "manifest.json" if slash else path).exists()
    sink.commit()
    assert _read(path) == _ALL
    assert list(path.parent.iterdir()) == [path]


def test_results_of_nothing_are_a_file_of_no_rows(path: Path, slash: str) -> None:
    with sink_for_path(f"{path}{slash}"):
        pass
    assert _read(path) == []


def test_abort_leaves_nothing(path: Path, slash: str) -> None:
    sink = sink_for_path(f"{path}{slash}")
    _write_all(sink)
    sink.abort()
    assert list(path.parent.iterdir()) == []


def test_existing_file_is_untouched_until_commit(path: Path) -> None:
    path.write_bytes(b"earlier")
    sink = sink_for_path(path)
    _write_all(sink)
    assert path.read_bytes() == b"earlier"
    sink.abort()
    assert path.read_bytes() == b"earlier"
    with sink_for_path(path) as again:
        _write_all(again)
        assert path.read_bytes() == b"earlier"
    assert _read(path) == _ALL
    assert list(path.parent.iterdir()) == [path]


def test_error_in_the_body_aborts(path: Path, slash: str) -> None:
    def interrupted() -> None:
        with sink_for_path(f"{path}{slash}") as sink:
            _write_all(sink)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(path.parent.iterdir()) == []


def test_error_while_results_are_iterated_aborts_and_nothing_can_be_committed(path: Path, slash: str) -> None:
    def pairs() -> Any:
        yield "one", 1
        raise ZeroDivisionError

    sink = sink_for_path(f"{path}{slash}")
    with pytest.raises(ZeroDivisionError):
        sink.write(pairs())
    sink.commit()
    assert list(path.parent.iterdir()) == []


def test_ending_a_sink_again_does_nothing(path: Path, slash: str) -> None:
    with sink_for_path(f"{path}{slash}") as sink:
        _write_all(sink)
        sink.commit()
        sink.abort()
    assert _read(path) == _ALL
    with sink_for_path(f"{path}{slash}") as sink:
        sink.abort()
        sink.commit()
    assert _read(path) == _ALL


def test_writing_to_an_ended_sink_is_an_error(path: Path, slash: str) -> None:
    sink = sink_for_path(f"{path}{slash}")
    sink.commit()
    with pytest.raises(MincemeatError, match="after its commit or abort"):
        sink.write([("one", 1)])


def test_two_sinks_for_one_path_do_not_meet(path: Path, slash: str) -> None:
    with sink_for_path(f"{path}{slash}") as first, sink_for_path(f"{path}{slash}") as second:
        second.write([("second", 2)])
        first.write([("first", 1)])
    assert _read(path) == [("first", 1)]


def test_place_where_nothing_can_be_written_is_told_at_once(path: Path) -> None:
    with pytest.raises(InvalidJob, match="there is no directory '.*nowhere'"):
        sink_for_path(path.parent / "nowhere" / path.name)
    path.mkdir()
    with pytest.raises(InvalidJob, match="it is a directory"):
        sink_for_path(path)


def test_results_are_there_after_the_commit_only(path: Path, slash: str) -> None:
    sink: OutputSink = sink_for_path(f"{path}{slash}")
    with pytest.raises(MincemeatError, match="they were not committed"):
        sink.results  # noqa: B018
    _write_all(sink)
    sink.commit()
    assert list(sink.results) == [key for key, _ in _ALL]


@settings(max_examples=15, deadline=None)
@pytest.mark.slow
@given(
    results=st.dictionaries(
        st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\n\t")),
        st.integers(-(2**63), 2**63 - 1),
    ),
    end=st.sampled_from(["", "/"]),
)
def test_any_words_and_counts_are_read_back_as_they_were(results: dict[str, int], end: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for ending in ENDINGS:
            path = Path(directory, "results" + ending)
            with sink_for_path(f"{path}{end}") as sink:
                sink.write(results.items())
            assert dict(_read(path)) == results


# -- memory ----------------------------------------------------------------------------------------------


def test_memory_gives_a_dict_in_the_order_of_writing() -> None:
    with MemorySink() as sink:
        _write_all(sink)
    sink.abort()
    assert isinstance(sink.results, dict)
    assert list(sink.results.items()) == _ALL


def test_memory_is_empty_after_abort() -> None:
    sink = MemorySink()
    _write_all(sink)
    sink.abort()
    assert sink.results == {}
