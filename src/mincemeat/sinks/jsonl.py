"""Results as JSON Lines: ``{"key": ..., "value": ...}``, one a line.

Decides: that line. plain.py decides the forms of what JSON has no word for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from json.encoder import encode_basestring
from typing import Any, ClassVar, Final

from mincemeat.model import Key, Pair
from mincemeat.sinks.formats import Format, Stretch, equal_keys
from mincemeat.sinks.lines import LineFormat, blaming, lines_of, unreadable
from mincemeat.sinks.parts import BytesWriter, PartWriter
from mincemeat.sinks.plain import json_text


class JsonLinesWriter(BytesWriter):
    """UTF-8. A lone surrogate is written as ``\\udcff``, which in a JSON string is the same character again."""

    def _bytes_of(self, keys: Sequence[Key], results: Sequence[Any]) -> bytes:
        try:
            texts = zip(_texts(keys), _texts(results), strict=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise blaming(keys, results, json_text, error) from error
        lines = "".join([f'{{"key": {key}, "value": {result}}}\n' for key, result in texts])
        return lines.encode("utf-8", "backslashreplace")


def _texts(values: Sequence[Any]) -> list[str]:
    """JSON of a column; that of words, counts and lists of words without a call of ours for each."""
    kinds = set(map(type, values))
    if kinds == {str}:
        return list(map(encode_basestring, values))
    if kinds == {int}:
        return list(map(repr, values))
    if kinds == {list} and set(map(type, chain.from_iterable(values))) <= {str, int}:
        return list(map(_encode, values))
    return list(map(json_text, values))


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class JsonLinesFormat(LineFormat):
    """Keys and results come back as what JSON says; of a key, arrays as tuples and objects as their JSON text."""

    # Not of floats: infinity is text.
    exact_keys: ClassVar[frozenset[str]] = frozenset({"str", "int", "bool", "NoneType"})

    def originals(self, key: Any, types: set[str]) -> list[Any] | None:
        return Format.originals(self, key, types)

    def writer(self, path: str, *, alone: bool) -> PartWriter:
        return JsonLinesWriter(path, alone=alone)

    def pairs(self, stretch: Stretch) -> Iterator[Pair]:
        for line in lines_of(stretch):
            try:
                record = json.loads(line)
                key, value = record["key"], record["value"]
            except (ValueError, TypeError, KeyError) as error:
                raise unreadable(stretch, line, error) from error
            yield _hashable(key), value

    def find(self, stretch: Stretch, key: Any) -> Any:
        texts = [json_text(same) for same in equal_keys(key)]
        if isinstance(key, str) and key.startswith("{"):
            texts.append(key)  # perhaps an object's text, as ``pairs`` gives it
        line = self.find_line(
            stretch, [f'{{"key": {text}, "value": '.encode("utf-8", "backslashreplace") for text in texts]
        )
        return json.loads(line)["value"]


def _hashable(key: Any) -> Any:
    if isinstance(key, list):
        return tuple(map(_hashable, key))
    return json_text(key) if isinstance(key, dict) else key


FORMATS: Final = {"jsonl": JsonLinesFormat()}
