"""The steps of a slot that confines itself, on a kernel that only notes them."""

from __future__ import annotations

import errno
import os

import pytest

from mincemeat.interpreters import own_path
from mincemeat.model import SlotLimits
from mincemeat.sandbox import enforce, resources
from mincemeat.sandbox.enforce import Unconfined, confine
from mincemeat.sandbox.plan import Confinement, Outcome, Protection
from mincemeat.sandbox.rules import Python
from tests.sandbox.fake_kernel import FakeKernel

PYTHON = Python(("/usr",), (), "/usr/lib/python3/site-packages/mincemeat")
TOLD = Confinement(
    "/s", ("/s/blocks", "/s/positions"), "/s/tmp", ("/data",), "/home/ada", 300, SlotLimits(2**30, 10)
)  # fmt: skip


@pytest.fixture(autouse=True)
def limits_set(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be limited: a test must not limit the process that it is in."""
    said: list[str] = []

    def noting(name: str) -> None:
        def note(*arguments: int, for_ever: bool = False) -> None:
            said.append(" ".join([name, *map(str, arguments), *(["for ever"] if for_ever else [])]))

        monkeypatch.setattr(resources, name, note)

    for name in ("limit_files", "limit_memory", "limit_cpu_for_ever", "limit_processes"):
        noting(name)
    return said


def why(outcome: Outcome, protection: Protection) -> str:
    return dict(outcome.missing)[protection]


def test_the_steps_in_their_order(limits_set: list[str]) -> None:
    kernel = FakeKernel()
    outcome = confine(TOLD, kernel, PYTHON)
    assert kernel.calls == [
        "own_namespaces",
        "landlock_abi",
        "create_ruleset",
        "no_new_privileges",
        "drop_capabilities",
        "restrict_self",
        "install_filter",
    ]
    assert limits_set == [
        "limit_files",
        f"limit_memory {2**30} for ever",
        "limit_cpu_for_ever 20",
        "limit_processes 300",
    ]
    assert outcome == Outcome(tuple(Protection), (), 7)


def test_landlock_is_told_what_this_slot_may(limits_set: list[str]) -> None:
    kernel = FakeKernel(absent=("/nix/store",))
    confine(TOLD, kernel, PYTHON)
    assert kernel.ruleset == (7, 0xFFFF, 0b11, 0b11)
    assert kernel.rules["/data"] == 0b1100
    assert kernel.rules["/s"] == 0b1100
    assert kernel.rules["/dev/null"] & 0b1001_1111_1111_1001 == 0
    assert f"/proc/{os.getpid()}" in kernel.rules
    assert "/nix/store" not in kernel.rules
    assert all(path.startswith(("/proc/", "/sys/")) for path in kernel.held.values()), "a descriptor is left open"


@pytest.mark.parametrize(
    ("abi", "missing"),
    [
        (7, set()),
        (6, set()),
        (5, {Protection.SIGNALS}),
        (4, {Protection.SIGNALS}),
        (3, {Protection.SIGNALS, Protection.TCP}),
        (2, {Protection.SIGNALS, Protection.TCP, Protection.TRUNCATION}),
        (1, {Protection.SIGNALS, Protection.TCP, Protection.TRUNCATION}),
        (0, {Protection.SIGNALS, Protection.TCP, Protection.TRUNCATION, Protection.FILES}),
    ],
)
def test_older_kernels_enforce_less_and_say_so(abi: int, missing: set[Protection]) -> None:
    outcome = confine(TOLD, FakeKernel(abi=abi), PYTHON)
    assert {protection for protection, _ in outcome.missing} == missing
    assert set(outcome.enforced) == set(Protection) - missing
    assert outcome.abi == abi


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSYS, "the kernel has no Landlock"),
        (errno.EOPNOTSUPP, "Landlock is switched off at boot"),
        (errno.EPERM, "the kernel forbids it"),  # a container's filter
    ],
)
def test_why_there_is_no_landlock(number: int, reason: str) -> None:
    outcome = confine(TOLD, FakeKernel(refused={"landlock_abi": number}), PYTHON)
    assert why(outcome, Protection.FILES) == why(outcome, Protection.TCP) == reason
    assert Protection.CALLS in outcome.enforced


def test_without_a_namespace_the_rest_is_enforced_and_processes_are_not_counted(limits_set: list[str]) -> None:
    outcome = confine(TOLD, FakeKernel(refused={"own_namespaces": errno.EPERM}), PYTHON)
    assert why(outcome, Protection.NETWORK) == "the kernel forbids it"
    assert why(outcome, Protection.PROCESSES) == "without an own namespace all of the user's would count"
    assert {Protection.FILES, Protection.CALLS, Protection.LIMITS} <= set(outcome.enforced)
    assert not any(said.startswith("limit_processes") for said in limits_set)


@pytest.mark.parametrize("release", ["5.13.0", "4.18.0-553.el8", "unknown"])
def test_processes_are_not_counted_by_namespace_before_5_14(release: str, limits_set: list[str]) -> None:
    outcome = confine(TOLD, FakeKernel(release=release), PYTHON)
    assert why(outcome, Protection.PROCESSES) == "needs Linux 5.14"


def test_roots_processes_are_not_limited_which_is_said(limits_set: list[str]) -> None:
    outcome = confine(TOLD, FakeKernel(user=0), PYTHON)
    assert why(outcome, Protection.PROCESSES) == "the worker runs as root, whom the kernel does not limit"


def test_calls_are_not_filtered_by_numbers_of_another_processor() -> None:
    kernel = FakeKernel(machine="riscv64")
    outcome = confine(TOLD, kernel, PYTHON)
    assert why(outcome, Protection.CALLS) == "not known for riscv64"
    assert "install_filter" not in kernel.calls


@pytest.mark.parametrize("step", ["restrict_self", "no_new_privileges", "install_filter"])
def test_a_step_that_fails_is_missing_and_the_others_are_taken(step: str) -> None:
    kernel = FakeKernel(refused={step: errno.EPERM})
    outcome = confine(TOLD, kernel, PYTHON)
    assert len(outcome.missing) in (1, 4)
    assert {reason for _, reason in outcome.missing} == {"the kernel forbids it"}
    assert "install_filter" in kernel.calls


def test_a_second_slot_must_have_what_the_first_had() -> None:
    """Else one that the kernel refused something under load, say, would run the job with less than was announced."""
    first = confine(TOLD, FakeKernel(), PYTHON)
    with pytest.raises(Unconfined, match="this slot lacks own network namespace, number of processes"):
        confine(TOLD._replace(must=first.enforced), FakeKernel(refused={"own_namespaces": errno.ENOSPC}), PYTHON)


def test_what_confines_one_thread_is_not_done_where_there_are_two() -> None:
    kernel = FakeKernel(threads=2)
    with pytest.raises(Unconfined, match="1 threads run in a new interpreter already"):
        confine(TOLD, kernel, PYTHON)
    assert kernel.calls == []


def test_a_listed_path_that_is_gone_is_no_reason_to_go_on_without() -> None:
    with pytest.raises(Unconfined, match="/data, which a slot needs, cannot be opened: No such file"):
        confine(TOLD, FakeKernel(absent=("/data",)), PYTHON)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_hardly_anything_is_there(system: str) -> None:
    kernel = FakeKernel(system=system)
    outcome = confine(TOLD._replace(limits=SlotLimits()), kernel, PYTHON)
    assert kernel.calls == []
    assert why(outcome, Protection.FILES) == "needs Linux"
    assert outcome.enforced == ((Protection.LIMITS,) if system == "darwin" else ())


def test_on_a_mac_a_limit_of_memory_is_missing() -> None:
    outcome = confine(TOLD, FakeKernel(system="darwin"), PYTHON)
    assert why(outcome, Protection.LIMITS) == "memory cannot be limited here"


def test_this_python_has_its_places() -> None:
    python = enforce.this_python(own_path())
    assert all(os.path.isabs(prefix) and os.path.isdir(prefix) for prefix in python.prefixes)
    assert os.path.isfile(os.path.join(python.package, "slot_main.py"))
