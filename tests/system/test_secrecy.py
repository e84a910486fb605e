"""What an eavesdropper, another user of the machine and a reader of the logs get to see: nothing of a job."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from mincemeat import usercode
from mincemeat.cluster.stream import TlsStream
from mincemeat.model import UserFunctions
from tests.kit import gates
from tests.kit.clusters import LOOPBACK, ClientThread, worker_process
from tests.kit.overhearing import Overheard
from tests.kit.serving import ServedJob
from tests.kit.wiretap import RecordingProxy, Sniffer

pytestmark = pytest.mark.slow

PASSWORD = "the-password-of-this-job"
VALUE = "a value that nobody else should read"
KEY = "a key that nobody else should read"
RESULT = "a result that nobody else should read"


def confidential(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield f"{KEY} {len(key)}", value


def classified(key: str, values: list[str]) -> str:
    return f"{RESULT} {len(values)}"


class Secrets:
    """What must not be seen: the job's words, and samples of its packed code."""

    def __init__(self) -> None:
        self.code = b""
        self.said = bytearray()  # everything that was handed to TLS, on either end

    def needles(self) -> list[bytes]:
        assert len(self.code) > 256
        samples = [self.code[start : start + 32] for start in range(64, len(self.code) - 32, 128)]
        return [word.encode() for word in (VALUE, KEY, RESULT)] + samples

    def found_in(self, streams: Iterable[bytes]) -> list[bytes]:
        everything = b"|".join(streams)
        return [needle for needle in [*self.needles(), PASSWORD.encode()] if needle in everything]


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Looks over both ends' shoulders: server and workers of the test are threads of this process."""
    seen = Secrets()
    write, pack = TlsStream.write, usercode.pack

    async def spied_write(self: TlsStream, data: bytes) -> None:
        seen.said += data
        await write(self, data)

    def spied_pack(functions: UserFunctions) -> bytes:
        seen.code = pack(functions)
        return seen.code

    monkeypatch.setattr(TlsStream, "write", spied_write)
    monkeypatch.setattr(usercode, "pack", spied_pack)
    return seen


def serve_confidentially(tmp_path: Path, eavesdrop: Callable[[int], int], ports: list[int]) -> None:
    """A job on two workers that join through ``eavesdrop(port of the server)`` and fetch blocks from each other."""
    data = {f"{tmp_path}/{number}": f"{VALUE} {number}" for number in range(40)}
    with ServedJob(data, confidential, classified, password=PASSWORD, split=4) as job:
        port = eavesdrop(job.port)
        ports += [job.port, port]
        clients = [ClientThread(port, PASSWORD) for _ in range(2)]
        for client in clients:
            client.start()
        results = job.results()
        for client in clients:
            client.join(20)
    assert sum(int(result.removeprefix(RESULT)) for result in results.values()) == 40


def test_a_proxy_between_workers_and_server_sees_nothing_of_the_job(tmp_path: Path, secrets: Secrets) -> None:
    with contextlib.ExitStack() as stack:
        proxies: list[RecordingProxy] = []

        def eavesdrop(port: int) -> int:
            proxies.append(stack.enter_context(RecordingProxy(port)))
            return proxies[0].port

        serve_confidentially(tmp_path, eavesdrop, [])
    streams = proxies[0].streams
    assert len(streams) >= 4
    # Otherwise it would be no wonder that the proxy did not see them.
    assert secrets.found_in([bytes(secrets.said)]) == secrets.needles()
    assert secrets.found_in(streams) == []


def test_a_capture_of_loopback_sees_nothing_of_the_job(
    tmp_path: Path, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        sniffer = Sniffer()
    except OSError as error:
        pytest.skip(f"loopback cannot be captured here: {error}")
    overheard = Overheard()
    overheard.listen(monkeypatch)
    ports: list[int] = []
    with sniffer:
        serve_confidentially(tmp_path, lambda port: port, ports)
    assert len(set(overheard.data_ports)) == 2
    ports += overheard.data_ports
    streams = sniffer.streams(ports)
    assert sum(map(len, streams)) > 10_000
    assert secrets.found_in([bytes(secrets.said)]) == secrets.needles()
    assert secrets.found_in(streams) == []


def say_plainly(port: int, words: bytes) -> None:
    with socket.create_connection((LOOPBACK, port)) as speaker:
        speaker.sendall(words)


def test_the_eavesdroppers_of_these_tests_do_see_plain_text() -> None:
    """The control: an eavesdropper that never sees anything would prove nothing."""
    sniffer: Sniffer | None = None
    with contextlib.suppress(OSError):
        sniffer = Sniffer()
    words = f"{VALUE} {PASSWORD}".encode()
    heard = bytearray()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        port = listening.getsockname()[1]
        proxy = stack.enter_context(RecordingProxy(port))
        if sniffer is not None:
            stack.enter_context(sniffer)
        speaker = threading.Thread(target=say_plainly, args=(proxy.port, words))
        speaker.start()
        accepted, _ = listening.accept()
        with accepted:
            while data := accepted.recv(4096):
                heard += data
        speaker.join(10)
    assert heard == words
    assert words in proxy.streams
    if sniffer is not None:
        assert words in sniffer.streams([port])


def test_the_password_is_in_no_command_line_environment_or_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    data = gates.records(tmp_path, 6)
    with (
        ServedJob(data, gates.held, gates.as_given, password=PASSWORD, workers=1) as job,
        worker_process(job.port, "-V", "-n", "1", password=PASSWORD) as worker,
    ):
        slots = gates.wait_for_slots(tmp_path, 2)
        # With e: the environment behind the command line, as a user sees it of his own processes.
        seen = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
        gates.open_gate(tmp_path)
        assert job.results() == gates.grouped(6)
        output = "".join(worker.communicate(timeout=20))
    lines = {int(line.split()[0]): line for line in seen.splitlines()}
    assert slots <= lines.keys()
    assert "PATH=" in lines[min(slots)]
    secrets = [PASSWORD, PASSWORD.encode().hex()]
    # The worker was given it in its environment, which the kernel shows as it was at the start.
    others = [line for pid, line in lines.items() if pid != worker.pid]
    assert not [line for line in others for secret in secrets if secret in line]
    assert "DEBUG" in output
    assert caplog.records
    assert not [secret for secret in secrets if secret in output or secret in caplog.text]
