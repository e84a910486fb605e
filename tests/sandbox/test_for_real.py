"""This machine's kernel, each protection by itself: what one refuses must not look as if another had refused it.

A process confines itself, as a slot does, with all but one of the layers taken away, and then tries. Where the kernel
has none of it, the test is skipped and says so. The control, without any, must succeed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

# Layers: FILES (Landlock), CALLS (seccomp), NETWORK (namespaces). Those not asked for are made to be missing.
PROLOGUE = """
import ctypes, errno, json, os, signal, socket, sys
from mincemeat.interpreters import own_path
from mincemeat.sandbox.enforce import confine, this_python
from mincemeat.sandbox.kernel import Kernel
from mincemeat.sandbox.plan import Confinement

layers, told, given, as_nobody = json.loads(sys.argv[1])

class Some(Kernel):
    def landlock_abi(self):
        if "FILES" not in layers:
            raise OSError(errno.ENOSYS, "")
        return super().landlock_abi()
    def install_filter(self, program):
        if "CALLS" not in layers:
            raise OSError(errno.ENOSYS, "")
        super().install_filter(program)
    def own_namespaces(self):
        if "NETWORK" not in layers:
            raise OSError(errno.ENOSYS, "")
        super().own_namespaces()

libc = ctypes.CDLL(None, use_errno=True)
if as_nobody and os.getuid() == 0:  # not earlier: this interpreter may be in root's home
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    libc.prctl(4, 1, 0, 0, 0)  # as a process is that has never been another's

def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

if layers:
    outcome = confine(Confinement.of_header(told), Some(), this_python(own_path()))
    enforced = [protection.name for protection in outcome.enforced]
    lacking = [layer for layer in layers if layer not in enforced]
    if lacking:
        print(json.dumps(["lacking", dict((p.name, why) for p, why in outcome.missing)[lacking[0]]]))
        sys.exit()

def attempt():
    {body}

try:
    print(json.dumps(["worked", attempt()]))
except OSError as error:
    print(json.dumps(["refused", errno.errorcode.get(error.errno, str(error))]))
"""


class Room:
    """Where a process is confined to."""

    def __init__(self, directory: Path) -> None:
        self.secret = directory / "secret.txt"
        self.scratch = directory / "scratch"
        self.listed = directory / "listed"
        for place in (self.scratch, self.scratch / "blocks", self.scratch / "tmp", self.listed):
            place.mkdir(mode=0o777)
            place.chmod(0o777)
        self.secret.write_text("a secret", "utf-8")
        self.secret.chmod(0o666)
        (self.listed / "input.txt").write_text("an input", "utf-8")
        for above in [directory, *directory.parents][:3]:  # of pytest's, for nobody
            with contextlib.suppress(PermissionError):
                above.chmod(above.stat().st_mode | 0o055)

    def told(self, **changes: Any) -> dict[str, Any]:
        from mincemeat.sandbox.plan import Confinement

        scratch = str(self.scratch)
        told = Confinement(
            scratch, (f"{scratch}/blocks",), f"{scratch}/tmp", (str(self.listed),), os.path.expanduser("~"), 300
        )
        return told._replace(**changes).header()

    def tried(
        self, body: str, *layers: str, given: Any = None, as_nobody: bool = False, **told: Any
    ) -> tuple[str, Any]:
        """What came of ``body``, the inside of a function, in a process with these layers only.

        ``as_nobody``: not as root, if this is root, for whom some limits do not count.
        """
        argument = json.dumps([layers, self.told(**told), given, as_nobody])
        done = subprocess.run(
            [sys.executable, "-c", PROLOGUE.replace("{body}", body.replace("\n", "\n    ")), argument],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        assert done.stdout, done.stderr
        verdict, value = json.loads(done.stdout.splitlines()[-1])
        if verdict == "lacking":
            pytest.skip(f"{layers} cannot be enforced here: {value}")
        return verdict, value

    def verdicts(self, bodies: list[str], *layers: str, given: Any = None) -> dict[str, str]:
        """Of each of ``bodies``, one after the other in one process: "worked", or the name of its error."""
        lines = ["verdicts = []"]
        for body in bodies:
            lines += ["try:", *[f"    {part}" for part in body.split("; ")], "    verdicts.append('worked')"]
            lines += ["except OSError as error: verdicts.append(errno.errorcode.get(error.errno, str(error)))"]
        verdict, found = self.tried("\n".join([*lines, "return verdicts"]), *layers, given=given)
        assert verdict == "worked", found
        return dict(zip(bodies, found, strict=True))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


LANDLOCK_REFUSES = [
    ("open(given).read()", "EACCES"),
    ("open(given, 'w')", "EACCES"),
    ("os.truncate(given, 0)", "EACCES"),
    ("os.unlink(given)", "EACCES"),
    ("os.rename(given, given + '2')", "EACCES"),
    ("os.listdir(os.path.dirname(given))", "EACCES"),
    ("open(os.path.dirname(given) + '/new', 'w')", "EACCES"),
    ("os.mkdir(os.path.dirname(given) + '/new')", "EACCES"),
    ("open(told['scratch'] + '/code', 'w')", "EACCES"),
    ("os.symlink(given, told['outputs'][0] + '/m-00001.0.blocks')", "EACCES"),
    ("os.mkfifo(told['outputs'][0] + '/m-00001.0.blocks')", "EACCES"),
    ("os.chdir(told['temporary']); os.symlink(given, 'l'); os.rename('l', told['scratch'] + '/l')", "EACCES EXDEV"),
    ("os.rename('l', told['outputs'][0] + '/l')", "EACCES EXDEV"),
    ("os.link(given, told['temporary'] + '/h')", "EXDEV EACCES"),
    ("open(told['read'][0] + '/input.txt', 'a')", "EACCES"),
    ("open('/etc/passwd')", "EACCES"),
    ("open(f'/proc/{os.getppid()}/environ', 'rb')", "EACCES"),
    ("open(f'/proc/{os.getppid()}/mem', 'rb')", "EACCES"),
    ("open(f'/proc/{os.getppid()}/cmdline', 'rb')", "EACCES"),
    ("called(libc.ptrace(16, os.getppid(), 0, 0))", "EPERM"),
]  # fmt: skip


def test_landlock_keeps_files_and_processes_apart(room: Room) -> None:
    verdicts = room.verdicts([body for body, _ in LANDLOCK_REFUSES], "FILES", given=str(room.secret))
    assert {body: verdicts[body] for body, expected in LANDLOCK_REFUSES if verdicts[body] not in expected.split()} == {}
    assert room.secret.read_text("utf-8") == "a secret"


WORKS = [
    "open(told['read'][0] + '/input.txt').read()",
    "os.chdir(told['outputs'][0]); open('m-1', 'w').write('x'); os.rename('m-1', 'm-2')",
    "os.chdir(told['temporary']); os.mkdir('d'); os.symlink('x', 'l'); os.rename('l', 'd/l')",
    "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(8)",
    "import subprocess; subprocess.run(['sh', '-c', 'echo so'], capture_output=True, check=True)",
    "import ssl; ssl.create_default_context()",
    "import zoneinfo; zoneinfo.available_timezones()",
    "import mimetypes; mimetypes.guess_type('a.html')",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import threading; t = threading.Thread(target=len, args=('',)); t.start(); t.join()",
    "import tempfile; tempfile.TemporaryFile(dir=told['temporary']).close()",
    "os.kill(os.getpid(), 0); os.killpg(os.getpgrp(), 0)",
]


def test_what_jobs_do_works_under_all_of_it(room: Room) -> None:
    verdicts = room.verdicts(WORKS, "FILES", "CALLS", "NETWORK")
    assert verdicts == dict.fromkeys(WORKS, "worked")


def test_the_control_without_any_layer(room: Room, listener: int) -> None:
    body = "open(given[0]).read(); socket.create_connection(('127.0.0.1', given[1])); os.kill(os.getppid(), 0)"
    assert room.tried(body, given=[str(room.secret), listener])[0] == "worked"


@pytest.mark.parametrize(("layer", "number"), [("FILES", "EACCES"), ("CALLS", "EPERM"), ("NETWORK", "ENETUNREACH")])
def test_no_tcp_by_each_layer_alone(room: Room, listener: int, layer: str, number: str) -> None:
    body = "socket.socket().connect(('127.0.0.1', given))"
    assert room.tried(body, layer, given=listener) == ("refused", number)


def test_landlock_scopes_signals(room: Room) -> None:
    assert room.tried("os.kill(os.getppid(), 0)", "CALLS") == ("worked", None), "the control"
    verdict, value = room.tried("os.kill(os.getppid(), 0)", "FILES")
    if verdict == "worked" and _landlock_abi() < 6:
        pytest.skip("needs Linux 6.12")
    assert (verdict, value) == ("refused", "EPERM")


def _landlock_abi() -> int:
    from mincemeat.sandbox.kernel import Kernel

    return Kernel().landlock_abi()


REFUSED_CALLS = [
    # Sockets of the file system lead to service managers, container daemons and agents that do what they are told.
    "socket.socket(socket.AF_UNIX)",
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "called(libc.unshare(0x10000000))",
    "called(libc.ptrace(16, os.getppid(), 0, 0))",
    "os.setsid()",
    "os.setpgid(0, 0)",
    "os.memfd_create('x')",
    "import mmap; mmap.mmap(-1, 4096)",
    "import resource; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "called(libc.syscall(425, 1, 0))",
    "called(libc.mount(b'none', b'/', b'tmpfs', 0, 0))",
    "os.setpriority(os.PRIO_PROCESS, os.getppid(), 1)",
    "os.sched_setaffinity(os.getppid(), {0})",
    "os.setxattr(told['temporary'], 'user.x', b'')",
]


def test_calls_that_no_data_needs_are_refused(room: Room) -> None:
    assert room.verdicts(REFUSED_CALLS, "CALLS") == dict.fromkeys(REFUSED_CALLS, "EPERM")


def test_modes_and_times_of_files_stay_though_nobody_minds(room: Room) -> None:
    """By its name alone, a private file could be opened to every user of the machine."""
    room.secret.chmod(0o600)
    before = room.secret.stat()
    body = "os.chmod(given, 0o666); os.utime(given, (0, 0)); open(told['temporary'] + '/x', 'w'); import shutil; "
    body += "shutil.copy2(told['read'][0] + '/input.txt', told['temporary'])"
    assert room.verdicts([body], "FILES", "CALLS", given=str(room.secret)) == {body: "worked"}
    after = room.secret.stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


@pytest.mark.skipif(sys.platform == "linux" and os.getuid() != 0, reason="only root has privileges to give up")
def test_root_gives_up_its_privileges(room: Room) -> None:
    body = """with open('/proc/self/status') as status:
    lines = [line.split() for line in status]
return [line[1] for line in lines if line[0] in ('CapPrm:', 'CapEff:', 'CapBnd:', 'NoNewPrivs:')]"""
    assert room.tried(body, "FILES", "NETWORK") == ("worked", ["0" * 16, "0" * 16, "0" * 16, "1"])
    assert room.tried("os.chown(given, 1, 1)", "FILES", given=str(room.secret)) == ("refused", "EPERM")


def test_processes_are_counted_in_the_slots_own_namespace(room: Room) -> None:
    body = """import time
children = []
try:
    while len(children) < 100:
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        children.append(pid)
finally:
    for pid in children:
        os.kill(pid, 9)
    print(json.dumps(['count', len(children)]))"""
    started = time.monotonic()
    verdict, number = room.tried(body, "NETWORK", processes=20, as_nobody=True)
    assert (verdict, number) == ("refused", "EAGAIN")
    assert time.monotonic() - started < 30


def test_limits_cannot_be_lifted(room: Room) -> None:
    from mincemeat.model import SlotLimits

    body = """import resource
verdicts = []
for which in (resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
    try:
        resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        verdicts.append('lifted')
    except (ValueError, OSError):
        verdicts.append('kept')
try:
    bytearray(300 * 2**20)
    verdicts.append('given')
except MemoryError:
    verdicts.append('no memory')
return verdicts"""
    assert room.tried(body, "NETWORK", limits=SlotLimits(200 * 2**20, 5)) == ("worked", ["kept"] * 4 + ["no memory"])
