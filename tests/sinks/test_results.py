"""The mapping that reads files when it is asked, compared with the dict of the same results."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mincemeat.errors import BlockCorrupt, InvalidJob, MincemeatError
from mincemeat.sinks import Results, open_results, sink_for_path
from mincemeat.sinks.base import ENDINGS
from tests.kit.outputs import TEXTUAL, written_in_parts

FORMATS = sorted(set(ENDINGS) - {".db", ".pkl"})
WORDS = {f"word{number}": number for number in range(200)}

# Surrogates are test_files.py's; a tab in a .txt is test_txt.py's.
text = st.text(st.characters(exclude_characters="\n\t", exclude_categories=["Cs"]), max_size=6)
quoted = st.text("ab,\t\"\r\n'", max_size=4)
ints = st.integers(-(2**70), 2**70)
plain = text | ints | st.none() | st.booleans()
keys = (
    plain
    | st.floats(allow_nan=False)
    | st.binary(max_size=3).filter(lambda key: not {*b"\n\t"} & {*key})
    | st.tuples(plain, plain)
)
layouts = st.sampled_from(["", "/"])


def reads(results: Results) -> list[str]:
    """Notes in which files the formats look, from now on."""
    seen: list[str] = []
    fmt = results._format
    find = fmt.find

    class Noting(type(fmt)):  # type: ignore[misc]
        def find(self, stretch: Any, key: Any) -> Any:
            seen.append(f"{os.path.basename(stretch.path)}:{stretch.offset}")
            return find(stretch, key)

    noting = Noting.__new__(Noting)
    noting.__dict__.update(fmt.__dict__)
    results._format = noting
    return seen


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(results=st.dictionaries(text, ints | text, max_size=30), sort=st.booleans(), slash=layouts, absent=text)
def test_words_are_found_and_others_are_not(results: dict[str, Any], sort: bool, slash: str, absent: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for ending in FORMATS:
            path = f"{directory}/r{ending}"
            expected = {key: as_read(ending, value) for key, value in results.items()}
            for found in (written_in_parts(path + slash, results, sort=sort), open_results(path)):
                assert len(found) == len(results)
                if ending not in (".sqlite", ".parquet"):  # where an int of more than 64 bits may be text
                    assert dict(found.items()) == expected
                    assert {key: found[key] for key in results} == expected
                assert set(found) == set(results)
                assert all(key in found for key in results)
                assert (absent in found) == (absent in results)
                assert list(found.values()) == [found[key] for key in found]
                found.verify()
                if sort:
                    assert list(found) == sorted(results)


def as_read(ending: str, value: Any) -> Any:
    if ENDINGS[ending] not in TEXTUAL:
        return value
    return str(value)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(results=st.dictionaries(quoted, quoted, max_size=12), sort=st.booleans(), slash=layouts, absent=quoted)
def test_what_is_quoted_is_found(results: dict[str, str], sort: bool, slash: str, absent: str) -> None:
    """A line of a quoted field may look like another record."""
    with tempfile.TemporaryDirectory() as directory:
        for ending in (".csv", ".tsv", ".jsonl"):
            path = f"{directory}/r{ending}"
            for found in (written_in_parts(path + slash, results, sort=sort), open_results(path)):
                assert dict(found) == results
                assert {key: found[key] for key in results} == results
                assert (absent in found) == (absent in results)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(results=st.dictionaries(keys, st.integers(0, 9), max_size=20), slash=layouts, absent=keys)
def test_keys_of_every_kind_are_found(results: dict[Any, int], slash: str, absent: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for ending in FORMATS:
            path = f"{directory}/r{ending}"
            for found in (written_in_parts(path + slash, results), open_results(path)):
                assert len(found) == len(results)
                # Each by its form, which it may share with another key (5 and "5" in a .csv).
                assert all(int(found[key]) in results.values() for key in results)
                # What is iterated is found, too.
                assert all(int(found[key]) in results.values() for key in found)
                if ending == ".pickle":
                    assert dict(found) == results
                    assert {key: found[key] for key in results} == results
                    assert (absent in found) == (absent in results)


@pytest.mark.parametrize("number", [1, 1.0, True])
@pytest.mark.parametrize("same", [1, 1.0, True])
@pytest.mark.parametrize("ending", FORMATS)
def test_numbers_that_are_equal_are_one_key(tmp_path: Path, ending: str, number: Any, same: Any) -> None:
    results = written_in_parts(f"{tmp_path}/r{ending}/", {number: 7, 2: 8})
    assert int(results[same]) == 7


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt", ".pickle"])
def test_a_key_is_looked_for_in_one_part(tmp_path: Path, ending: str, slash: str, sort: bool) -> None:
    results = written_in_parts(f"{tmp_path}/r{ending}{slash}", WORDS, sort=sort)
    looked = reads(results)
    for key in [*WORDS, "nowhere"]:
        assert (key in results) == (key in WORDS)
    assert len(looked) <= len(WORDS) + 1
    assert len(set(looked)) == 4


@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_ints_are_looked_for_in_one_part_by_their_text(tmp_path: Path, ending: str) -> None:
    results = written_in_parts(f"{tmp_path}/r{ending}/", {number: number for number in range(100)})
    looked = reads(results)
    assert [results[str(number)] for number in range(100)] == [str(number) for number in range(100)]
    assert [results[number] for number in range(100)] == [str(number) for number in range(100)]
    assert 198 <= len(looked) <= 200  # the first key is known
    assert "007" not in results


def test_a_dict_of_everything_reads_everything_once(tmp_path: Path) -> None:
    """dict() lists the keys and asks for each of them."""
    results = written_in_parts(f"{tmp_path}/r.tsv/", WORDS)
    looked = reads(results)
    for _ in range(2):
        assert dict(results) == {word: str(number) for word, number in WORDS.items()}
    assert looked == []
    ordered = list(results)
    assert [results[key] for key in (ordered[0], ordered[5], ordered[1])] == [
        str(WORDS[key]) for key in (ordered[0], ordered[5], ordered[1])
    ]
    assert len(looked) == 2


def test_iterating_holds_one_batch(tmp_path: Path) -> None:
    import tracemalloc

    written = written_in_parts(f"{tmp_path}/r.tsv", {f"{number:0100}": number for number in range(20_000)})
    tracemalloc.start()
    assert sum(int(value) for _, value in written.items()) == sum(range(20_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000 < os.path.getsize(written.files[0])


def test_repr_says_how_much_and_where(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.csv"
    assert repr(written_in_parts(path + "/", WORDS)) == f"<Results 200 results in {path!r}, 4 files>"
    one = f"{tmp_path}/one.csv"
    assert repr(written_in_parts(one, WORDS)) == f"<Results 200 results in {one!r}, 1 file>"
    assert repr(open_results(one)) == f"<Results {one!r}, 1 file>"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt", ".pickle", ".sqlite", ".parquet"])
def test_a_changed_byte_is_found_by_verify(tmp_path: Path, ending: str, slash: str) -> None:
    path = f"{tmp_path}/r{ending}"
    results = written_in_parts(path + slash, WORDS)
    file = Path(results.files[-1])
    data = bytearray(file.read_bytes())
    place = data.rindex(b"word")
    data[place : place + 4] = b"wOrd"
    file.write_bytes(data)
    if slash or ending not in (".sqlite", ".parquet"):
        with pytest.raises(BlockCorrupt, match=f"{file.name} at byte .*: checksum mismatch"):
            results.verify()
    if slash:
        with pytest.raises(BlockCorrupt, match="checksum mismatch"):
            open_results(path).verify()


@pytest.mark.parametrize("ending", FORMATS)
def test_a_cut_file_is_told(tmp_path: Path, ending: str) -> None:
    results = written_in_parts(f"{tmp_path}/r{ending}/", WORDS)
    file = Path(results.files[0])
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(BlockCorrupt, match=file.name):
        list(results)


def test_results_that_another_job_replaced_are_told(tmp_path: Path) -> None:
    path = f"{tmp_path}/r.csv/"
    first = written_in_parts(path, WORDS)
    second = written_in_parts(path, {"other": 1})
    with pytest.raises(MincemeatError, match="are gone or were replaced.* open them again"):
        dict(first)
    with pytest.raises(MincemeatError, match="are gone or were replaced"):
        first["word1"]
    assert dict(second) == {"other": "1"}


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("name,age\nx,1\n")
    with pytest.raises(InvalidJob, match=r"holds no results of mincemeat's: it does not begin with 'key,value"):
        open_results(tmp_path / "r.csv")
    for name in ("r.sqlite", "r.parquet"):
        (tmp_path / name).write_text("something else")
        with pytest.raises(InvalidJob, match="holds no results of mincemeat's: it is no"):
            open_results(tmp_path / name)
    with pytest.raises(InvalidJob, match=r"no such file or directory"):
        open_results(tmp_path / "nowhere.csv")
    with pytest.raises(InvalidJob, match="the directory .* holds no results: it has no manifest.json"):
        open_results(tmp_path)
    with pytest.raises(InvalidJob, match=r"cannot tell from the ending '.xlsx'"):
        open_results(tmp_path / "r.xlsx")


def test_a_line_that_is_no_result_is_told(tmp_path: Path) -> None:
    for name, line in (("r.csv", "key,value\nalone\n"), ("r.jsonl", '{"key": 1}\n'), ("r.tsv", 'key\tvalue\n"a\t')):
        (tmp_path / name).write_text(line)
        with pytest.raises(BlockCorrupt, match=name):
            dict(open_results(tmp_path / name))


def test_tuples_come_back_as_tuples_from_json(tmp_path: Path) -> None:
    results = written_in_parts(f"{tmp_path}/r.jsonl/", {("a", (1, None)): 1, "b": [1, 2]})
    assert dict(results) == {("a", (1, None)): 1, "b": [1, 2]}
    assert results["a", (1, None)] == 1


def test_keys_without_a_form_are_not_there(tmp_path: Path) -> None:
    results = written_in_parts(f"{tmp_path}/r.csv", {"a": 1})
    assert object() not in results
    assert results.get(object()) is None


def test_a_partitionfn_of_the_users_says_nothing_about_where_keys_are(tmp_path: Path) -> None:
    from mincemeat.model import Job, UserFunctions
    from mincemeat.sinks.parts import ANYWHERE, open_part

    with sink_for_path(f"{tmp_path}/r.csv/") as sink:
        sink.prepare(Job("job", UserFunctions(partitionfn=len), partitions=4))
        for index, key in enumerate(["a", "b", "c"]):
            part = open_part(sink.form, f"{tmp_path}/part")
            part.write([key], [index])
            part.finish(range(index, index + 1), ANYWHERE)
            sink.take_part(part.path)
    assert [sink.results[key] for key in "abc"] == ["0", "1", "2"]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt", ".sqlite", ".pickle"])
def test_results_of_a_file_that_the_next_job_replaced_are_not_mixed_with_its_own(tmp_path: Path, ending: str) -> None:
    path = f"{tmp_path}/r{ending}"
    before = written_in_parts(path, {f"a{number}": number for number in range(50)})
    iterator = iter(before.items())
    next(iterator)
    for job in range(3):  # the number of the file itself may come again
        after = written_in_parts(path, {f"b{job}{number}": number for number in range(90)})
        for read in (lambda: list(before), lambda: before["a1"], lambda: dict(before.items())):
            with pytest.raises(MincemeatError, match="replaced or changed since: open them again"):
                read()
        assert len(list(after)) == 90
