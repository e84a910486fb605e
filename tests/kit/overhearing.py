"""What the connections of this process say, message by message: a test's view of the protocol, whoever speaks it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from mincemeat.cluster.messaging import Connection
from mincemeat.wire import messages


class Overheard:
    """Messages of all connections that have an end in this process."""

    def __init__(self) -> None:
        self.received: list[messages.Message] = []
        self._sent: list[tuple[Connection, messages.Message]] = []

    @property
    def requests(self) -> Counter[str]:
        """What was asked for, and what was announced, on data connections: ``get split``, ``put result``."""
        told = [message for message in self.received if isinstance(message, messages.Get | messages.Put)]
        return Counter(f"{type(message).__name__.lower()} {message.what}" for message in told)

    @property
    def data_ports(self) -> list[int]:
        return [message.data_port for message in self.received if isinstance(message, messages.Hello)]

    @property
    def reduce_inputs(self) -> dict[str, dict[str, Any]]:
        """For each worker that was sent a reduce attempt, where it was told that the map outputs lie."""
        names = {id(to): message.worker for to, message in self._sent if isinstance(message, messages.Welcome)}
        return {
            names[id(to)]: json.loads(message.body)
            for to, message in self._sent
            if isinstance(message, messages.ReduceStart)
        }

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        receive, send = Connection.receive, Connection.send

        async def spied_receive(connection: Connection) -> messages.Message:
            message = await receive(connection)
            self.received.append(message)
            return message

        async def spied_send(connection: Connection, message: messages.Message) -> None:
            self._sent.append((connection, message))
            await send(connection, message)

        monkeypatch.setattr(Connection, "receive", spied_receive)
        monkeypatch.setattr(Connection, "send", spied_send)
