"""A kernel that enforces nothing, notes every call, and can be as old or as strict as a test likes."""

from __future__ import annotations

import errno
import os


class FakeKernel:
    """``abi``: Landlock's; 0: there is none. ``refused``: methods, and the number of the error that they raise."""

    def __init__(
        self,
        *,
        abi: int = 7,
        system: str = "linux",
        machine: str = "x86_64",
        release: str = "6.18.1-generic",
        user: int = 1000,
        threads: int = 1,
        refused: dict[str, int] | None = None,
        absent: tuple[str, ...] = (),
    ) -> None:
        self.system, self.machine, self.release, self.user = system, machine, release, user
        self.calls: list[str] = []
        self.rules: dict[str, int] = {}
        self.ruleset: tuple[int, int, int, int] | None = None
        self.held: dict[int, str] = {}
        self._abi, self._threads, self._absent = abi, threads, absent
        self._refused = refused or {}

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self._refused:
            number = self._refused[call]
            raise OSError(number, os.strerror(number))

    def threads(self) -> int:
        return self._threads

    def landlock_abi(self) -> int:
        self._note("landlock_abi")
        if not self._abi:
            raise OSError(errno.ENOSYS, "Function not implemented")
        return self._abi

    def create_ruleset(self, abi: int, files: int, tcp: int, scopes: int) -> int:
        self._note("create_ruleset")
        self.ruleset = (abi, files, tcp, scopes)
        return 1000

    def add_rule(self, ruleset: int, descriptor: int, rights: int) -> None:
        assert ruleset == 1000
        self.rules[self.held[descriptor]] = rights

    def restrict_self(self, ruleset: int) -> None:
        assert ruleset == 1000
        self._note("restrict_self")

    def open_place(self, path: str) -> int:
        if path in self._absent:
            raise OSError(errno.ENOENT, "No such file or directory")
        descriptor = 2000 + len(self.rules)
        self.held[descriptor] = path
        return descriptor

    def is_directory(self, descriptor: int) -> bool:
        return not self.held[descriptor].startswith(("/dev/", "/etc/"))

    def close(self, descriptor: int) -> None:
        self.held.pop(descriptor, None)

    def no_new_privileges(self) -> None:
        self._note("no_new_privileges")

    def drop_capabilities(self) -> None:
        self._note("drop_capabilities")

    def install_filter(self, program: bytes) -> None:
        assert len(program) % 8 == 0
        self._note("install_filter")

    def own_namespaces(self) -> None:
        self._note("own_namespaces")
