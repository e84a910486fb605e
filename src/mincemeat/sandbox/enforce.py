"""A slot confines itself: the steps, in their order, before anything of a job is in the process.

Decides: the order, and what a refusal of the kernel means for the rest. Does not know: how a step is done (kernel.py),
or what is allowed (rules.py, filters.py).

None of it can be undone, and all of it holds for what the process starts. It holds for one thread, though, and whatever
that starts later: so it is done while there is only one. A protection that is missing is told, with the reason, and the
others are tried all the same; the worker says it, and whoever asked for `strict` does not start.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Protocol

from mincemeat.sandbox import filters, resources, rules
from mincemeat.sandbox.plan import Confinement, Outcome, Protection


class Kernel(Protocol):
    """What is used of kernel.Kernel."""

    system: str
    machine: str
    release: str
    user: int

    def threads(self) -> int: ...
    def landlock_abi(self) -> int: ...
    def create_ruleset(self, abi: int, files: int, tcp: int, scopes: int) -> int: ...
    def add_rule(self, ruleset: int, descriptor: int, rights: int) -> None: ...
    def restrict_self(self, ruleset: int) -> None: ...
    def open_place(self, path: str) -> int: ...
    def is_directory(self, descriptor: int) -> bool: ...
    def close(self, descriptor: int) -> None: ...
    def no_new_privileges(self) -> None: ...
    def drop_capabilities(self) -> None: ...
    def install_filter(self, program: bytes) -> None: ...
    def own_namespaces(self) -> None: ...


class Unconfined(Exception):
    """What must be enforced cannot be: nothing of a job may run here. The text says why."""


_NEEDS = {Protection.TRUNCATION: (3, "6.2"), Protection.TCP: (4, "6.7"), Protection.SIGNALS: (6, "6.12")}
_OF_LANDLOCK = (Protection.FILES, *_NEEDS)
# Since then the processes of a user namespace are counted by themselves.
_COUNTS_BY_NAMESPACE = (5, 14)


def confine(told: Confinement, kernel: Kernel, python: rules.Python) -> Outcome:
    """Confine this process, for ever. Raises: Unconfined; the process must end then."""
    outcome = _Confining(told, kernel, python).done()
    lacking = [protection.value for protection in told.must if protection not in outcome.enforced]
    if lacking:
        raise Unconfined(f"of the sandbox that this worker began with, this slot lacks {', '.join(lacking)}")
    return outcome


class _Confining:
    def __init__(self, told: Confinement, kernel: Kernel, python: rules.Python) -> None:
        self._told, self._kernel, self._python = told, kernel, python
        self._enforced: list[Protection] = []
        self._missing: dict[Protection, str] = {}

    def done(self) -> Outcome:
        if self._kernel.system != "linux":
            return self._elsewhere()
        if (threads := self._kernel.threads()) > 1:
            raise Unconfined(f"{threads - 1} threads run in a new interpreter already; does a .pth file start them?")
        # Before the rest, which forbids it.
        self._try(Protection.NETWORK, self._kernel.own_namespaces)
        abi, ruleset = self._prepare_landlock()
        self._limit()
        self._try(Protection.PRIVILEGES, self._give_up_privileges)
        if ruleset >= 0:
            self._landlock(abi, ruleset)
        self._filter()
        told = [protection for protection in Protection if protection in self._missing]
        return Outcome(
            tuple(protection for protection in Protection if protection in self._enforced),
            tuple((protection, self._missing[protection]) for protection in told),
            abi if Protection.FILES in self._enforced else 0,
        )

    def _elsewhere(self) -> Outcome:
        lacking = tuple(protection for protection in Protection if protection is not Protection.LIMITS)
        missing = tuple((protection, "needs Linux") for protection in lacking)
        if self._kernel.system == "win32":
            return Outcome((), (*missing, (Protection.LIMITS, "Windows has none of this kind")))
        resources.limit_files()
        limits = self._told.limits
        if limits.cpu_seconds is not None:
            resources.limit_cpu_for_ever(2 * limits.cpu_seconds)
        if limits.memory_bytes is not None:
            return Outcome((), (*missing, (Protection.LIMITS, "memory cannot be limited here")))
        return Outcome((Protection.LIMITS,), missing)

    def _try(self, protection: Protection, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self._missing[protection] = _reason(error)
        else:
            self._enforced.append(protection)

    # -- Landlock ----------------------------------------------------------------------------------------

    def _prepare_landlock(self) -> tuple[int, int]:
        """Its version and the rules, while every place can still be opened; 0 and -1 where there is none."""
        try:
            abi = self._kernel.landlock_abi()
        except OSError as error:
            self._landlock_is_missing(_no_landlock(error))
            return 0, -1
        for protection, (least, version) in _NEEDS.items():
            if abi < least:
                self._missing[protection] = f"needs Linux {version}"
        told = self._told
        ruleset = self._kernel.create_ruleset(abi, rules.handled(abi), rules.TCP, rules.SCOPES)
        for rule in rules.rules(
            self._python,
            process=os.getpid(),
            scratch=told.scratch,
            outputs=told.outputs,
            temporary=told.temporary,
            read=told.read,
            home=told.home,
        ):
            self._add(ruleset, rule, abi)
        return abi, ruleset

    def _add(self, ruleset: int, rule: rules.Rule, abi: int) -> None:
        try:
            place = self._kernel.open_place(rule.path)
        except OSError as error:
            if rule.is_needed:
                raise Unconfined(f"{rule.path}, which a slot needs, cannot be opened: {error.strerror}") from error
            return  # this system has its things elsewhere
        rights = rules.rights_of(rule, abi, is_directory=self._kernel.is_directory(place))
        self._kernel.add_rule(ruleset, place, rights)
        # The kernel forgets about a file of /proc that nobody holds, and makes another the next time: one without a
        # rule. Such a descriptor reads nothing by itself.
        if not rule.path.startswith(("/proc/", "/sys/")):
            self._kernel.close(place)

    def _landlock(self, abi: int, ruleset: int) -> None:
        try:
            self._kernel.restrict_self(ruleset)
        except OSError as error:
            self._landlock_is_missing(_reason(error))
        else:
            self._enforced.append(Protection.FILES)
            self._enforced += [protection for protection, (least, _) in _NEEDS.items() if abi >= least]
        self._kernel.close(ruleset)

    def _landlock_is_missing(self, why: str) -> None:
        self._missing |= dict.fromkeys(_OF_LANDLOCK, why)

    # -- the rest ----------------------------------------------------------------------------------------

    def _limit(self) -> None:
        resources.limit_files()
        limits = self._told.limits
        if limits.memory_bytes is not None:
            resources.limit_memory(limits.memory_bytes, for_ever=True)
        if limits.cpu_seconds is not None:
            resources.limit_cpu_for_ever(2 * limits.cpu_seconds)
        self._enforced.append(Protection.LIMITS)
        if self._kernel.user == 0:
            self._missing[Protection.PROCESSES] = "the worker runs as root, whom the kernel does not limit"
        elif Protection.NETWORK not in self._enforced:
            self._missing[Protection.PROCESSES] = "without an own namespace all of the user's would count"
        elif _version(self._kernel.release) < _COUNTS_BY_NAMESPACE:
            self._missing[Protection.PROCESSES] = "needs Linux 5.14"
        else:
            resources.limit_processes(self._told.processes)
            self._enforced.append(Protection.PROCESSES)

    def _give_up_privileges(self) -> None:
        self._kernel.no_new_privileges()
        self._kernel.drop_capabilities()

    def _filter(self) -> None:
        machine = filters.MACHINES.get(self._kernel.machine)
        # Of a 32-bit interpreter the calls have other numbers.
        if machine is None or sys.maxsize < 2**32:
            self._missing[Protection.CALLS] = f"not known for {self._kernel.machine}"
            return
        program = filters.packed(filters.program(machine))
        self._try(Protection.CALLS, lambda: self._kernel.install_filter(program))


def _reason(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS):
        return "the kernel forbids it"
    if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return "the kernel cannot do it"
    return error.strerror or str(error)


def _no_landlock(error: OSError) -> str:
    if error.errno == errno.EOPNOTSUPP:
        return "Landlock is switched off at boot"
    return "the kernel has no Landlock" if error.errno == errno.ENOSYS else _reason(error)


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def this_python(package: str) -> rules.Python:
    """The running interpreter's places. ``package``: where all code of this package is, a directory or the one file."""
    prefixes = dict.fromkeys(
        (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, _installation(sys.executable))
    )
    return rules.Python(tuple(prefixes), rules.searched(sys.path), package)


def _installation(executable: str) -> str:
    """Where the interpreter really is that a virtual environment only links to."""
    return os.path.dirname(os.path.dirname(os.path.realpath(executable)))
