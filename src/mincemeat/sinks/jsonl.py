"""Results as JSON Lines: ``{"key": ..., "value": ...}``, one a line.

Decides: that line. plain.py decides the forms of what JSON has no word for; textfile.py and target.py the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mincemeat.model import Pair
from mincemeat.sinks.plain import json_text, no_form
from mincemeat.sinks.textfile import TextFileSink


class JsonLinesSink(TextFileSink):
    """Writes a ``.jsonl`` file in UTF-8. Forms: see plain.py. Raises: InvalidEmission for what has none."""

    def _lines(self, pairs: Iterable[Pair]) -> Iterator[str]:
        for key, value in pairs:
            try:
                yield f'{{"key": {json_text(key)}, "value": {json_text(value)}}}\n'
            except (TypeError, ValueError, RecursionError) as error:
                raise no_form(key, error) from error
