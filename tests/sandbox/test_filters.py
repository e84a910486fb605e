"""What the filter refuses, on a machine of the tests' own; tests/sandbox/test_for_real.py asks the kernel."""

from __future__ import annotations

import pytest

from mincemeat.sandbox.filters import IGNORE, IS_NOT_THERE, MACHINES, REFUSE, RETURN, packed, program
from tests.sandbox.machine import verdict

ALLOWED = 0x7FFF0000
# read, write, openat, execve, exit_group, futex, mprotect, clock_gettime, setrlimit, kill, rt_sigaction
HARMLESS = {
    "x86_64": (0, 1, 257, 59, 231, 202, 10, 228, 160, 62, 13),
    "aarch64": (63, 64, 56, 221, 94, 98, 226, 113, 164, 129, 134),
}
REFUSED = {
    "x86_64": {"socket": 41, "connect": 42, "bind": 49, "ptrace": 101, "setsid": 112, "io_uring_setup": 425},
    "aarch64": {"socket": 198, "connect": 203, "bind": 200, "ptrace": 117, "setsid": 157, "io_uring_setup": 425},
}
STREAM, DATAGRAM, CLOSE_ON_EXEC = 1, 2, 0o2000000
PRIVATE, SHARED, ANONYMOUS, GROWS_DOWN = 2, 1, 0x20, 0x100

machines = pytest.mark.parametrize("name", sorted(MACHINES))


def asked(name: str, number: int, *arguments: int) -> int:
    machine = MACHINES[name]
    return verdict(packed(program(machine)), number=number, arch=machine.arch, arguments=arguments)


@machines
def test_what_python_needs_is_allowed(name: str) -> None:
    assert {asked(name, number) for number in HARMLESS[name]} == {ALLOWED}


@machines
def test_sockets_and_other_ways_out_are_refused(name: str) -> None:
    for call, number in REFUSED[name].items():
        assert asked(name, number) == REFUSE, call


@machines
def test_calls_for_another_processor_are_refused(name: str) -> None:
    """The numbers of 32-bit programs mean other calls; 64-bit programs can make them, too."""
    i386 = 0x40000003
    assert verdict(packed(program(MACHINES[name])), number=1, arch=i386) == REFUSE


def test_calls_by_their_x32_numbers_are_refused() -> None:
    assert asked("x86_64", 0x40000000 + 41) == REFUSE
    assert asked("x86_64", 0x40000000) == REFUSE


@machines
def test_pairs_of_streams_only(name: str) -> None:
    call = MACHINES[name].socketpair
    assert asked(name, call, 1, STREAM) == ALLOWED
    assert asked(name, call, 1, STREAM | CLOSE_ON_EXEC) == ALLOWED
    assert asked(name, call, 1, DATAGRAM) == REFUSE
    assert asked(name, call, 1, DATAGRAM | CLOSE_ON_EXEC) == REFUSE


@machines
def test_threads_and_processes_but_no_namespaces(name: str) -> None:
    call = MACHINES[name].clone
    as_a_thread, as_a_process, new_user = 0x3D0F00, 0x1200011, 0x10000000
    assert asked(name, call, as_a_thread) == ALLOWED
    assert asked(name, call, as_a_process) == ALLOWED
    assert asked(name, call, as_a_process | new_user) == REFUSE
    assert asked(name, MACHINES[name].clone3) == IS_NOT_THERE


@machines
def test_limits_and_priority_of_oneself_only(name: str) -> None:
    prlimit64, setpriority = {"x86_64": (302, 141), "aarch64": (261, 140)}[name]
    assert asked(name, prlimit64, 0) == ALLOWED
    assert asked(name, prlimit64, 4321) == REFUSE
    process, user = 0, 2
    assert asked(name, setpriority, process, 0, 5) == ALLOWED
    assert asked(name, setpriority, process, 4321, 5) == REFUSE
    assert asked(name, setpriority, user, 0, 5) == REFUSE


@machines
def test_modes_and_times_are_not_changed_and_owners_refused(name: str) -> None:
    fchmodat, utimensat, fchownat = {"x86_64": (268, 280, 260), "aarch64": (53, 88, 54)}[name]
    assert asked(name, fchmodat) == asked(name, utimensat) == IGNORE
    assert asked(name, fchownat) == REFUSE


@machines
def test_no_memory_that_is_not_counted(name: str) -> None:
    call = MACHINES[name].mmap
    assert asked(name, call, 0, 4096, 3, PRIVATE | ANONYMOUS) == ALLOWED
    assert asked(name, call, 0, 4096, 3, SHARED) == ALLOWED, "of a file"
    assert asked(name, call, 0, 4096, 3, SHARED | ANONYMOUS) == REFUSE
    assert asked(name, call, 0, 4096, 3, PRIVATE | ANONYMOUS | GROWS_DOWN) == REFUSE


@machines
def test_the_kernel_takes_the_program(name: str) -> None:
    made = program(MACHINES[name])
    assert len(made) < 4096
    for at, instruction in enumerate(made):
        if instruction.code != RETURN:
            assert at + 1 + max(instruction.if_so, instruction.if_not) < len(made)
    # Whatever comes, it ends.
    for number in range(512):
        assert asked(name, number) in (ALLOWED, REFUSE, IGNORE, IS_NOT_THERE)
