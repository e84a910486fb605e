"""Eavesdroppers: a proxy that records what passes through it, and a sniffer of the loopback interface."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.kit.clusters import LOOPBACK

_PIECE_BYTES = 2**16
_ETH_P_IP = 0x0800


class RecordingProxy:
    """Listens on a free loopback ``port`` and joins whoever comes to ``target``, keeping all bytes of both ways."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server((LOOPBACK, 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._streams: list[bytearray] = []
        self.port: int = self._listening.getsockname()[1]

    @property
    def streams(self) -> list[bytes]:
        """One for each direction of each connection."""
        return [bytes(stream) for stream in self._streams]

    def cut(self) -> None:
        """Break all connections that there are. New ones are welcome."""
        broken, self._open = self._open, []
        for each in broken:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in (self._listening, *self._open):
            with contextlib.suppress(OSError):  # wakes the thread that waits in it
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            there = socket.create_connection((LOOPBACK, self._target))
            self._open += [here, there]
            for source, sink in ((here, there), (there, here)):
                stream = bytearray()
                self._streams.append(stream)
                self._start(self._pass_on, source, sink, stream)

    def _pass_on(self, source: socket.socket, sink: socket.socket, stream: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE_BYTES):
                stream += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class Sniffer:
    """Keeps what TCP connections over the loopback interface carry. Raises: OSError where that is not allowed."""

    def __init__(self) -> None:
        family = getattr(socket, "AF_PACKET", None)
        if family is None:
            raise OSError("this system has no packet sockets")
        self._socket = socket.socket(family, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**24)
        self._flows: dict[tuple[int, int], bytearray] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._is_over = False

    def streams(self, ports: Iterable[int]) -> list[bytes]:
        """The flows from or to one of ``ports``, one for each direction, in the order of the packets."""
        wanted = set(ports)
        return [bytes(flow) for ends, flow in self._flows.items() if wanted & set(ends)]

    def __enter__(self) -> Self:
        self._socket.settimeout(0.05)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True  # it first reads what is there
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(2**18)
            except TimeoutError:
                if self._is_over:
                    return
                continue
            if kind == socket.PACKET_OUTGOING or packet[9] != socket.IPPROTO_TCP:  # type: ignore[attr-defined,unused-ignore]
                continue  # each packet is seen twice here: on its way out and on its way in
            header = (packet[0] & 15) * 4
            source, sink = struct.unpack_from(">HH", packet, header)
            data = packet[header + (packet[header + 12] >> 4) * 4 : int.from_bytes(packet[2:4], "big") or None]
            self._flows.setdefault((source, sink), bytearray()).extend(data)
