"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.chaos.proxy import DOWN, UP, Door, Line, Network
from tests.kit.clusters import LOOPBACK
from tests.kit.gates import wait_until

# Nothing arrives within this, where nothing should.
_A_WHILE_SECONDS = 0.15
DATA = bytes(range(256)) * 300


@dataclass
class Scene:
    network: Network
    line: Line
    door: Door
    target: socket.socket
    cleanup: ExitStack

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new connection through the door."""
        near = self.cleanup.enter_context(socket.create_connection((LOOPBACK, self.door.port), timeout=20))
        far, _ = self.target.accept()
        far.settimeout(20)
        self.cleanup.enter_context(far)
        return near, far


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as cleanup:
        network = cleanup.enter_context(Network())
        target = cleanup.enter_context(socket.create_server((LOOPBACK, 0)))
        target.settimeout(20)
        line = network.line(1)
        door = network.door(line, (LOOPBACK, target.getsockname()[1]), host=LOOPBACK, source="127.0.1.9")
        yield Scene(network, line, door, target, cleanup)


def receive(sink: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := sink.recv(65536)):
        data += more
    return data


def assert_silent(sink: socket.socket) -> None:
    sink.settimeout(_A_WHILE_SECONDS)
    with pytest.raises(TimeoutError):
        sink.recv(1)
    sink.settimeout(20)


def test_a_good_line_passes_everything_on_both_ways_and_each_end_by_itself(scene: Scene) -> None:
    near, far = scene.connect()
    assert far.getpeername()[0] == "127.0.1.9"
    near.sendall(DATA)
    near.shutdown(socket.SHUT_WR)
    assert receive(far, len(DATA) + 1) == DATA
    far.sendall(DATA)
    assert receive(near, len(DATA)) == DATA


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_ends_both_ends_in_the_way_that_was_asked_for(scene: Scene, reset: bool) -> None:
    near, far = scene.connect()
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    scene.network.do(scene.line.cut, reset=reset)
    for end in (near, far):
        if reset:
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        else:
            assert end.recv(1) == b""


def test_nothing_passes_a_held_way_until_it_is_free_and_then_everything_does(scene: Scene) -> None:
    near, far = scene.connect()
    scene.network.do(scene.line.hold, UP)
    near.sendall(b"up")
    far.sendall(b"down")
    assert receive(near, 4) == b"down"
    assert_silent(far)
    scene.network.do(scene.line.free)
    assert receive(far, 2) == b"up"


def test_a_new_connection_over_a_held_line_gets_nowhere_until_it_is_free(scene: Scene) -> None:
    scene.network.do(scene.line.hold, UP, DOWN)
    near = scene.cleanup.enter_context(socket.create_connection((LOOPBACK, scene.door.port), timeout=20))
    near.sendall(b"x")
    scene.target.settimeout(_A_WHILE_SECONDS)
    with pytest.raises(TimeoutError):
        scene.target.accept()
    scene.target.settimeout(20)
    scene.network.do(scene.line.free)
    far, _ = scene.target.accept()
    with far:
        assert receive(far, 1) == b"x"


def test_a_lost_way_is_silent_for_ever_for_old_connections_only(scene: Scene) -> None:
    near, far = scene.connect()
    scene.network.do(scene.line.lose, UP)
    near.sendall(b"lost")
    near.shutdown(socket.SHUT_WR)  # not even its end arrives
    far.sendall(b"down")
    assert receive(near, 4) == b"down"
    assert_silent(far)
    near, far = scene.connect()
    near.sendall(b"new")
    assert receive(far, 3) == b"new"


def test_garbling_flips_one_bit(scene: Scene) -> None:
    near, far = scene.connect()
    scene.network.do(scene.line.garble)
    near.sendall(DATA[:1000])
    found = receive(far, 1000)
    assert sum((a ^ b).bit_count() for a, b in zip(DATA[:1000], found, strict=True)) == 1


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("count", [1, 777, 70_000])
def test_a_cut_behind_a_byte_lets_that_many_bytes_through(scene: Scene, count: int, reset: bool) -> None:
    near, far = scene.connect()
    scene.network.do(scene.line.cut_after, count, reset=reset)
    near.sendall(DATA)
    if reset:  # what has arrived and is not read yet may go with it
        with pytest.raises(ConnectionResetError):
            receive(far, len(DATA))
    else:
        assert receive(far, len(DATA)) == DATA[:count]
    assert scene.line.passed == count


def test_odd_pieces_are_the_same_bytes(scene: Scene) -> None:
    scene.network.do(setattr, scene.line, "splits", True)
    pieces = list(scene.line.pieces(DATA))
    assert b"".join(pieces) == DATA
    assert len({len(piece) for piece in pieces}) > 10
    near, far = scene.connect()
    near.sendall(DATA)
    assert receive(far, len(DATA)) == DATA


def test_a_flapping_line_ends_every_connection_early(scene: Scene) -> None:
    scene.network.do(setattr, scene.line, "flaps", True)
    for _ in range(5):
        near, far = scene.connect()
        passed = 0
        try:
            near.sendall(DATA)
            passed = len(receive(far, len(DATA)))
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert passed < 6_000


def test_a_connection_to_nobody_is_reset(scene: Scene) -> None:
    scene.target.close()
    # Perhaps as soon as it is connected.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection((LOOPBACK, scene.door.port), timeout=20) as near,
    ):
        near.recv(1)


def test_nothing_of_a_connection_is_left_when_its_ends_are_gone(scene: Scene) -> None:
    near, far = scene.connect()
    wait_until(lambda: scene.network.do(lambda: scene.line.connections) == 1, "it is there")
    near.close()
    far.close()
    wait_until(lambda: scene.network.do(lambda: scene.line.connections) == 0, "it is gone")
