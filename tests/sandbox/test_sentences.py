from __future__ import annotations

from mincemeat.model import NO_LIMITS, SlotLimits
from mincemeat.sandbox.plan import Outcome, Protection
from mincemeat.sandbox.sentences import refusal, start_sentence

FULL = Outcome(tuple(Protection), (), abi=7)
OLD = Outcome(
    (Protection.FILES, Protection.TRUNCATION, Protection.TCP, Protection.PRIVILEGES, Protection.LIMITS),
    ((Protection.NETWORK, "the kernel forbids it"), (Protection.SIGNALS, "needs Linux 6.12")),
    abi=4,
)
NONE = Outcome((), tuple((protection, "needs Linux") for protection in Protection))


def test_what_is_there_and_what_is_not_in_one_sentence() -> None:
    assert start_sentence(OLD, NO_LIMITS) == (
        "sandbox: files (Landlock ABI 4), TCP, no new privileges, limits; not here: own network namespace (the kernel "
        "forbids it), signals (needs Linux 6.12)"
    )


def test_nothing_is_said_to_be_missing_where_nothing_is() -> None:
    sentence = start_sentence(FULL, SlotLimits(2**31, 60))
    assert "not here" not in sentence
    assert "limits (2,048 MiB, 60 s of processor time an attempt)" in sentence
    assert refusal(FULL) is None


def test_where_nothing_can_be_enforced_it_says_so() -> None:
    assert start_sentence(NONE, NO_LIMITS).startswith("sandbox: nothing is enforced; not here: files (needs Linux), ")


def test_strict_refuses_by_name() -> None:
    assert refusal(OLD) == (
        "the sandbox is not complete on this machine, and --sandbox=strict was asked for: own network namespace (the "
        "kernel forbids it), signals (needs Linux 6.12). --sandbox alone starts with what there is"
    )
