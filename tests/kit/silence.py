"""A stretch of network that can be cut: from then on nothing passes, and nobody is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kit.clusters import LOOPBACK

_READ_BYTES = 65536


class Wire:
    """Forwards connections to ``target`` until ``cut``. Packets are then dropped, as a pulled cable drops them.

    ``source``: the address from which they come, as another machine's: any of 127.0.0.0/8 on Linux.
    """

    def __init__(self, target: int, source: str = LOOPBACK) -> None:
        self._target = target
        self._source = source
        self._is_cut = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self._start(self._accept)

    def cut(self) -> None:
        self._is_cut.set()

    def close(self) -> None:
        for opened in (self._listening, *self._sockets):
            try:
                opened.shutdown(socket.SHUT_RDWR)  # wakes the threads
            except OSError:
                pass
            opened.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self._sockets.append(near)
            if self._is_cut.is_set():
                continue  # connected as far as the dialer knows, and not a word
            far = socket.create_connection((LOOPBACK, self._target), source_address=(self._source, 0))
            self._sockets.append(far)
            self._start(self._forward, near, far)
            self._start(self._forward, far, near)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_READ_BYTES):
                if not self._is_cut.is_set():
                    sink.sendall(data)
            if not self._is_cut.is_set():
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # closed
            pass


@contextmanager
def wire_to(port: int, source: str = LOOPBACK) -> Iterator[Wire]:
    wire = Wire(port, source)
    try:
        yield wire
    finally:
        wire.close()
