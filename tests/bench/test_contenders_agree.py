"""Every contender that needs no installation writes the same result. How fast it is does not matter here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import contenders, data, harness
from bench.environments import here
from bench.workloads import WORKLOADS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the bench measures process trees by /proc"),
]


@pytest.fixture
def origin(tmp_path: Path) -> data.Origin:
    root = tmp_path / "sources"
    root.mkdir()
    (root / "one.c").write_bytes("int main(void)\r\n{\treturn\u00a0naïve_0;\x0b}\x1c\n\n".encode())
    (root / "two.h").write_bytes(b"int main(void); /* broken \xff\xfe and no newline at the end */")
    (root / "empty.c").touch()
    return data.Origin("tiny", root)


@pytest.mark.parametrize(
    ("workload", "size", "names"),
    [
        ("W1", 5_000, "mincemeat,mincemeat-counter,pool,pool-counter,serial"),
        ("W2", 150, "mincemeat,pool,serial"),
        ("W3", 30, "mincemeat,mincemeat-split1,pool"),
        ("W4", 500, "mincemeat,pool,serial"),
        ("W5", 4, "mincemeat,pool,serial"),
    ],
)
def test_contenders_write_the_same_result(
    tmp_path: Path, origin: data.Origin, workload: str, size: int, names: str
) -> None:
    entries = harness.prepare(workload, contenders.choose(workload, names), tmp_path, here())
    source = WORKLOADS[workload].make(tmp_path, origin, size)
    agreed = harness.compare(workload, entries, source, rounds=1, workers=2, timeout_seconds=60.0, warm_up=False)
    assert agreed
    assert [entry.skipped for entry in entries] == [""] * len(entries)
    assert all(len(entry.rounds) == 1 for entry in entries)
