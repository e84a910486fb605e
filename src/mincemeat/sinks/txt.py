"""Results as plain lines: the key alone where the result is None, else key, tab, result.

Decides: that line, which is what a sort of lines needs: text stands as it is, without quotes. So a key or result with a
line end in it is refused. A tab in it is not, and lines are read again as cut at their first tab, unless all results
were None. plain.py decides the forms of what is no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Stretch, equal_keys
from mincemeat.sinks.lines import LineFormat, blaming, lines_of
from mincemeat.sinks.parts import OTHER, BytesWriter, PartWriter
from mincemeat.sinks.plain import json_text, plain

_NONE: Final = {type(None)}


class TextWriter(BytesWriter):
    """UTF-8; bytes are written raw, and so are those bytes of a name that are no UTF-8 (``surrogateescape``)."""

    def __init__(self, path: str, *, alone: bool) -> None:
        super().__init__(path, alone=alone)
        self._kinds: set[type] = set()
        self._has_tabs = False

    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes:
        kinds = set(map(type, results))
        self._kinds |= kinds
        try:
            data = _lines(keys, results, kinds)
            if data.count(b"\n") != len(keys):
                raise ValueError("a line end")
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, _checked, error) from error
        if not self._has_tabs and data.count(b"\t") != (0 if kinds == _NONE else len(keys) - results.count(None)):
            self._has_tabs = True
        return data

    def _finish(self) -> tuple[int, int]:
        if self._has_tabs and not self._kinds <= _NONE:
            self._key_types.add(OTHER)  # a key that has one will be read up to it
        return super()._finish()

    def _notes(self) -> dict[str, Any]:
        return {"keys_alone": self._kinds <= _NONE}


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
        keys_alone = _keys_alone(stretch)
        for line in lines_of(stretch):
            text = line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
            if keys_alone:
                yield text, None
            else:
                key, tab, result = text.partition("\t")
                yield key, result if tab else None

    def find(self, stretch: Stretch, key: Any) -> Any:
        texts = [_text(same).encode("utf-8", "surrogateescape") for same in equal_keys(key)]
        if any(b"\n" in text for text in texts):
            raise KeyError(key)
        beginnings = [text + b"\n" for text in texts]
        if not _keys_alone(stretch):
            beginnings += [text + b"\t" for text in texts]
        line = self.find_line(stretch, beginnings)
        rest = next(line[len(text) :] for text in texts if line.startswith(text) and line[len(text) :][:1] in b"\t")
        return rest[1:].decode("utf-8", "surrogateescape") if rest else None


def _keys_alone(stretch: Stretch) -> bool:
    return stretch.facts is not None and bool(stretch.facts.notes.get("keys_alone"))


FORMATS: Final = {"txt": TextFormat()}
