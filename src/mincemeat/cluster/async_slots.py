"""Slot processes in an event loop: spoken to one exchange at a time, replaced when they die.

Decides: when a slot process is started and when it is used again. Does not know: attempts, messages of the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mincemeat import limits
from mincemeat.errors import ProtocolError
from mincemeat.slot_channel import Decoder, Header, encode
from mincemeat.slots import SlotProcess


class SlotDied(Exception):
    """The slot process ended under its attempt; the text says how, and ``code`` is its exit code."""

    def __init__(self, how: str, code: int = 0) -> None:
        super().__init__(how)
        self.code = code


class Slot(Protocol):
    """What is used of a slot: ``AsyncSlot``."""

    prepared: str

    async def send(self, header: Header, body: bytes = b"") -> None: ...
    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]: ...
    def kill(self) -> None: ...


class AsyncSlot:
    """One slot process. ``prepared`` names the job whose functions it was given."""

    def __init__(self, process: SlotProcess | None = None) -> None:
        self.prepared = ""
        self._process = SlotProcess() if process is None else process
        self._process.channel.setblocking(False)
        self._decoder = Decoder(limits.SLOT_MESSAGE_BYTES_MAX)

    async def send(self, header: Header, body: bytes = b"") -> None:
        """Hand over one message. A slot that has died is noticed by the next exchange."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._process.channel, encode(header, body))
        except (BrokenPipeError, ConnectionResetError):
            pass

    async def exchange(self, header: Header, body: bytes = b"") -> tuple[Header, bytes]:
        """Send one attempt and wait for how it went. Raises: SlotDied."""
        await self.send(header, body)
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(self._process.channel, limits.CHUNK_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                how = await loop.run_in_executor(None, self._process.describe_exit)
                raise SlotDied(how, self._process.exit_code)
            try:
                received = self._decoder.feed(data)
            except ProtocolError as error:  # user code has written there, perhaps to take the worker's memory
                raise SlotDied(f"was ended for what it said: {error}") from error
            for header, body in received:
                if header["did"] not in ("ready", "confined"):  # the rest is the one reply to the one attempt
                    return header, body

    def kill(self) -> None:
        self._process.kill()


class SlotPool:
    """At most ``size`` slots, started when first needed, but for ``first``, which has been started already."""

    def __init__(
        self, size: int, first: SlotProcess | None = None, *, start_slot: Callable[[], Slot] = AsyncSlot
    ) -> None:
        self._start_slot = start_slot
        self._free = asyncio.Semaphore(size)
        self._idle: list[Slot] = [] if first is None else [AsyncSlot(first)]
        self._all = dict.fromkeys(self._idle)

    async def take(self) -> Slot:
        """An idle slot, or a new one; waits while all are taken. Give it back or discard it."""
        await self._free.acquire()
        if self._idle:
            return self._idle.pop()
        try:
            slot = self._start_slot()
        except BaseException:
            self._free.release()
            raise
        self._all[slot] = None
        return slot

    def give_back(self, slot: Slot) -> None:
        self._idle.append(slot)
        self._free.release()

    def discard(self, slot: Slot) -> None:
        """End a slot that was taken, whatever it is doing; its place is free for a new one."""
        slot.kill()
        self._all.pop(slot, None)
        self._free.release()

    def close(self) -> None:
        for slot in self._all:
            slot.kill()
        self._all.clear()
        self._idle.clear()
