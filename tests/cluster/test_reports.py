"""What workers say of themselves, and who cannot take part."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest

from mincemeat.cluster.reports import unsuitable
from mincemeat.limits import VERSION
from mincemeat.wire.messages import Hello
from tests.kit.desk import hello

HELLO = hello(data_port=1)
OURS = HELLO.python


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (replace(HELLO, python="3.2"), ["3.2", f"Start the worker with Python {OURS}."]),
        (replace(HELLO, python=OURS + "0"), [f"Start the worker with Python {OURS}."]),
        (replace(HELLO, implementation="PyPy"), ["PyPy", platform.python_implementation()]),
        (replace(HELLO, version="9.9"), ["9.9", VERSION, "--update", f"pip install mincemeat=={VERSION}"]),
        (replace(HELLO, slots=0), ["slots", "offers 0"]),
        (replace(HELLO, slots=5000), ["slots", "offers 5000"]),
    ],
)
def test_an_unsuitable_worker_is_told_why(said: Hello, words: list[str]) -> None:
    reason = unsuitable(said)
    assert all(word in reason for word in words)


def test_a_suitable_worker_is_told_nothing() -> None:
    assert unsuitable(HELLO) == ""
    assert unsuitable(replace(HELLO, platform="plan9")) == ""
