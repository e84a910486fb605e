"""Results written to files as a job's slots write them, and read again without this package."""

from __future__ import annotations

import csv
import json
import os
import pickle
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mincemeat.model import Job, UserFunctions
from mincemeat.shuffle.partition import Partitioner
from mincemeat.sinks.base import ENDINGS, sink_for_path
from mincemeat.sinks.parts import BY_HASH, BY_ORDER, open_part
from mincemeat.sinks.results import Results

Rows = list[tuple[Any, Any]]

PARTITIONS = 16


def written_in_parts(path: str, results: Mapping[Any, Any], *, parts: int = 4, sort: bool = False) -> Results:
    """``results`` as a job of PARTITIONS partitions would write them in ``parts`` reduce tasks."""
    partitioner = Partitioner(PARTITIONS)
    keys = sorted(results) if sort else list(results)
    with sink_for_path(path) as sink, tempfile.TemporaryDirectory() as scratch:
        sink.prepare(Job("job", UserFunctions(sort=sort), partitions=PARTITIONS))
        for index in range(parts):
            held = range(index * PARTITIONS // parts, (index + 1) * PARTITIONS // parts)
            if sort:
                chosen = keys[index * len(keys) // parts : (index + 1) * len(keys) // parts]
            else:
                chosen = [key for key in keys if partitioner(key) in held]
            half = len(chosen) // 2
            with closing(open_part(sink.form, os.path.join(scratch, str(index)))) as part:
                for batch in (chosen[:half], chosen[half:]):
                    part.write(batch, [results[key] for key in batch])
                part.finish(held, BY_ORDER if sort else BY_HASH)
            assert sink.take_part(part.path) == len(chosen)
            assert os.listdir(scratch) == []
    return sink.results


def read_files(path: str | Path) -> Rows:
    """What is in a file, or in the parts that a manifest names, in their order."""
    path = Path(path)
    read = READERS[ENDINGS[path.suffix.lower()]]
    if not path.is_dir():
        return read(path)
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    return [row for part in manifest["parts"] for row in read(path / part["name"])]


def _read_jsonl(path: Path) -> Rows:
    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines.pop() == ""
    return [(row["key"], row["value"]) for row in map(json.loads, lines)]


def _read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t", strict=True)
    assert header == ["key", "value"]
    return [(key, value) for key, value in rows]


def _read_txt(path: Path) -> Rows:
    lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    assert lines.pop() == ""
    return [(key, value if tab else None) for key, tab, value in (line.partition("\t") for line in lines)]


def _read_sqlite(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return database.execute("SELECT key, value FROM results ORDER BY rowid").fetchall()


def _read_pickle(path: Path) -> Rows:
    def batches() -> Iterator[tuple[Any, Any]]:
        with open(path, "rb") as file:
            while file.peek(1):
                yield from pickle.load(file)

    return list(batches())


def _read_parquet(path: Path) -> Rows:
    import pyarrow.parquet  # type: ignore[import-untyped]

    table = pyarrow.parquet.read_table(path)
    return list(zip(table.column("key").to_pylist(), table.column("value").to_pylist(), strict=True))


READERS: dict[str, Callable[[Path], Rows]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_csv,
    "txt": _read_txt,
    "sqlite": _read_sqlite,
    "pickle": _read_pickle,
    "parquet": _read_parquet,
}
TEXTUAL = {"csv", "tsv", "txt"}
