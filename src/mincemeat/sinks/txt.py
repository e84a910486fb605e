"""Results as plain lines: the key alone where the result is None, else key, tab, result; of a list a line an element.

Decides: those lines, which are what a sort of lines needs: text stands as it is, without quotes, and a line that was
there three times (its result, without a reducefn, is a list of three) is so again. A key or result with a line end in
it is refused. A tab in it is not, and lines are read again as cut at their first tab, unless all results were None. An
empty list is the text ``[]``. plain.py decides the forms of what is no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Stretch, equal_keys
from mincemeat.sinks.lines import LineFormat, blaming, lines_of
from mincemeat.sinks.parts import OTHER, BytesWriter, PartWriter
from mincemeat.sinks.plain import json_text, plain

if TYPE_CHECKING:
    from mincemeat.shuffle.texttable import TextColumns

_NONE: Final = {type(None)}
_LIST: Final = {list}


class TextWriter(BytesWriter):
    """UTF-8; bytes are written raw, and so are those bytes of a name that are no UTF-8 (``surrogateescape``)."""

    def __init__(self, path: str, *, alone: bool) -> None:
        super().__init__(path, alone=alone)
        self._kinds: set[type] = set()  # of what stands in a line
        self._are_lists = True
        self._has_tabs = False

    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes:
        kinds = set(map(type, results))
        self._are_lists = self._are_lists and kinds == _LIST
        if list in kinds:
            keys, results = _a_line_each(keys, results)
            kinds = set(map(type, results))
        self._kinds |= kinds
        try:
            data = _lines(keys, results, kinds)
            if data.count(b"\n") != len(keys):
                raise ValueError("a line end")
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, _checked, error) from error
        if not self._has_tabs:
            if kinds == _NONE:
                self._has_tabs = b"\t" in data
            else:
                self._has_tabs = data.count(b"\t") != len(keys) - results.count(None)
        return data

    def _bytes_of_text(self, columns: TextColumns) -> bytes | None:
        data = columns.lines(b"\t")
        if data.count(b"\n") != columns.records:
            return None  # a line end, which the other way refuses by name
        self._are_lists = self._are_lists and not columns.folds
        self._kinds.add(int if columns.folds else type(None))
        if not self._has_tabs:
            self._has_tabs = data.count(b"\t") != (columns.records if columns.folds else 0)
        return data

    def _finish(self) -> tuple[int, int]:
        if self._has_tabs and not self._kinds <= _NONE:
            self._key_types.add(OTHER)  # a key that has one will be read up to it
        return super()._finish()

    def _notes(self) -> dict[str, Any]:
        return {"keys_alone": self._kinds <= _NONE, "lists": self._are_lists and bool(self._kinds)}


def _a_line_each(keys: Sequence[Key], results: Sequence[Any]) -> tuple[Sequence[Key], Sequence[Any]]:
    """Columns with a key and an element for each line."""
    if set(map(type, results)) == _LIST and set(map(len, results)) == {1}:
        return keys, [element for (element,) in results]
    lines = [
        (key, element)
        for key, result in zip(keys, results, strict=True)
        for element in (result if type(result) is list and result else (result,))
    ]
    return [key for key, _ in lines], [element for _, element in lines]


def _lines(keys: Sequence[Key], results: Sequence[Any], kinds: set[type]) -> bytes:
    if kinds == _NONE:
        if set(map(type, keys)) == {bytes}:
            return b"\n".join(keys) + b"\n"
        text = "\n".join(_texts(keys)) + "\n"
    elif type(None) in kinds:
        lines = [
            f"{key}\n" if result is None else f"{key}\t{_text(result)}\n"
            for key, result in zip(_texts(keys), results, strict=True)
        ]
        text = "".join(lines)
    else:
        text = "".join([f"{key}\t{result}\n" for key, result in zip(_texts(keys), _texts(results), strict=True)])
    return text.encode("utf-8", "surrogateescape")


def _texts(values: Sequence[Any]) -> Sequence[str]:
    kinds = set(map(type, values))
    if kinds == {str}:
        return values
    return list(map(repr if kinds == {int} else _text, values))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")  # becomes the same bytes again
    form = plain(value)
    return form if isinstance(form, str) else json_text(form)


def _checked(value: Any) -> None:
    text = _text(value)
    if "\n" in text:
        raise ValueError(f"a {type(value).__name__} with a line end in it")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("text with half of a character (a lone surrogate) in it") from None


class TextFormat(LineFormat):
    """Keys and results come back as text, with ``surrogateescape`` for what is no UTF-8."""

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return TextWriter(path, alone=alone)

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        if not _notes(stretch).get("lists"):
            yield from _pair_of_each_line(stretch)
            return
        for key, pairs in groupby(_pair_of_each_line(stretch), key=itemgetter(0)):
            yield key, [result for _, result in pairs]

    def find(self, stretch: Stretch, key: Any) -> Any:
        texts = [_text(same).encode("utf-8", "surrogateescape") for same in equal_keys(key)]
        if any(b"\n" in text for text in texts):
            raise KeyError(key)
        notes = _notes(stretch)
        beginnings = [text + b"\n" for text in texts]
        if not notes.get("keys_alone"):
            beginnings += [text + b"\t" for text in texts]
        found = (_result_in(line, texts) for line in self.find_lines(stretch, beginnings))
        return list(found) if notes.get("lists") else next(found)


def _result_in(line: bytes, texts: list[bytes]) -> str | None:
    rest = next(line[len(text) :] for text in texts if line.startswith(text) and line[len(text) :][:1] in b"\t")
    return rest[1:].decode("utf-8", "surrogateescape") if rest else None


def _pair_of_each_line(stretch: Stretch) -> Iterator[tuple[str, str | None]]:
    keys_alone = _notes(stretch).get("keys_alone")
    for line in lines_of(stretch):
        text = line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        if keys_alone:
            yield text, None
        else:
            key, tab, result = text.partition("\t")
            yield key, result if tab else None


def _notes(stretch: Stretch) -> dict[str, Any]:
    return {} if stretch.facts is None else stretch.facts.notes


FORMATS: Final = {"txt": TextFormat()}
