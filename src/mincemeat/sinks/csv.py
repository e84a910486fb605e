"""Results as comma- or tab-separated values with the header ``key,value``.

Decides: how a field is written and quoted. A tuple key is one field of JSON text rather than columns of its own,
because whether all keys are tuples of one length is known only when the last is there. plain.py decides the forms of
what is no text; textfile.py and target.py the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from mincemeat.model import Pair
from mincemeat.sinks.plain import json_text, no_form, plain
from mincemeat.sinks.textfile import TextFileSink


class CsvSink(TextFileSink):
    """Writes a ``.csv`` (``delimiter=","``) or ``.tsv`` (a tab) file in UTF-8, quoted as RFC 4180 says.

    Text and numbers stand as they are, ``None`` is an empty field (and the empty text is ``""``), everything else is
    JSON text or the text that plain.py makes of it. Raises: InvalidEmission for what has no form.
    """

    def __init__(self, path: str | os.PathLike[str], delimiter: str) -> None:
        super().__init__(path, header=f"key{delimiter}value\n")
        self._delimiter = delimiter

    def _lines(self, pairs: Iterable[Pair]) -> Iterator[str]:
        delimiter = self._delimiter
        for key, value in pairs:
            try:
                yield f"{_field(key, delimiter)}{delimiter}{_field(value, delimiter)}\n"
            except (TypeError, ValueError, RecursionError) as error:
                raise no_form(key, error) from error


def _field(value: Any, delimiter: str) -> str:
    if type(value) is int:
        return repr(value)
    form = value if type(value) is str else plain(value)
    if form is None:
        return ""
    text = form if isinstance(form, str) else json_text(form)
    # By hand: the csv module leaves a lone carriage return unquoted on older Pythons, and cannot tell None from "".
    if not text or delimiter in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
