"""A network of machines in memory: frames travel as bytes, late by a seeded time, and what TCP cannot hide happens.

Decides: when bytes arrive, and how a connection ends. One connection keeps its order, as TCP does, and loses nothing
but its end; a stretch during which nothing gets through in one direction only delays (TCP sends again), so that it is
the lease and not the network that ends what fell silent. Two connections know nothing of each other's order.

What encryption would keep out is not simulated: nobody forges. Duplicates and late copies, which the scheduler promises
to bear, are made of whole messages (``Mischief``), because no TLS connection would let a doubled segment through.

::

    Connection (real) --- bytes ---> SimStream === Pipe, with delay ===> SimStream --- bytes ---> Connection (real)
"""

from __future__ import annotations

import asyncio
import hmac
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mincemeat import limits
from mincemeat.cluster.connection import Connection, format_address
from mincemeat.errors import AuthenticationError, ConnectionFailed, LocalProtocolError, MincemeatError, PortInUse
from mincemeat.wire.handshake import Role, Session
from tests.simulation.loop import Process, VirtualLoop, current
from tests.simulation.trace import Trace, describe

if TYPE_CHECKING:
    from mincemeat.cluster.listening import OnConnection


class Mischief(Protocol):
    """What happens to one message beyond its delay."""

    def copies(self, sender: Process, kind: int, is_control: bool) -> list[float]:
        """Further delays after which copies of the message arrive on the same connection; usually none."""

    def is_held_back(self, sender: Process, kind: int, is_control: bool) -> bool:
        """Whether later messages may overtake it."""

    def sent(self, sender: Process, kind: int) -> None:
        """Called before a message leaves; may kill the sender."""


class Network:
    """Machines by address, doors by address and port, and the pipes between."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, trace: Trace) -> None:
        self.loop = loop
        self.chance = chance
        self.trace = trace
        self.mischief: Mischief | None = None
        self.doors: dict[tuple[str, int], Door] = {}
        # (from, to) -> when that direction lets bytes through again.
        self.blocked: dict[tuple[str, str], float] = {}
        # (fetcher's, holder's) address: connections cannot be made in this direction, ever.
        self.firewalls: set[tuple[str, str]] = set()
        self.streams: dict[SimStream, None] = {}
        self.sent: Counter[str] = Counter()
        # Of what goes wrong here by itself, by kind.
        self.happened: Counter[str] = Counter()
        # "address:port" of the dialing end -> its process.
        self.owners: dict[str, Process] = {}
        self._ports: Counter[str] = Counter()
        # Of the secret bytes that both ends of a connection share. Apart from the rest of chance, and in no trace.
        self._secrets = random.Random(chance.random())
        self.latency = chance.choice([0.0005, 0.005, 0.05])
        self.spike_share = 0.0

    def port(self, host: str) -> int:
        self._ports[host] += 1
        return 40_000 + self._ports[host]

    def delay(self) -> float:
        """How long bytes are under way."""
        seconds = self.latency * self.chance.uniform(0.5, 1.5)
        if self.spike_share and self.chance.random() < self.spike_share:
            seconds += self.chance.choice([0.3, 1.0, 3.0])
            self.happened["message late"] += 1
        return seconds

    def is_blocked(self, source: str, target: str) -> bool:
        return self.blocked.get((source, target), 0.0) > self.loop.time()

    def arrival(self, source: str, target: str) -> float:
        """When bytes that leave now get there."""
        open_again = self.blocked.get((source, target), 0.0)
        now = self.loop.time()
        if open_again > now:
            return open_again + self.chance.uniform(0.2, 1.5)  # TCP waits before it tries again
        return now + self.delay()

    def random_bytes(self, count: int) -> bytes:
        return self._secrets.randbytes(count)

    def connected(self, client: SimStream, server: SimStream) -> None:
        client.other, server.other = server, client
        self.streams[client] = self.streams[server] = None

    def cut(self, stream: SimStream, *, loses: bool) -> None:
        """Something in between resets the connection; ``loses``: what is under way gets lost."""
        for end in (stream, stream.other):
            if end is not None:
                end.reset(loses=loses)

    def end_of(self, process: Process, *, is_told: bool = True) -> list[SimStream]:
        """A process is killed, and its kernel closes what it had open; the other ends, if they are not told of it."""
        for door in [door for door in self.doors.values() if door.process is process]:
            del self.doors[door.host, door.number]
        silent: list[SimStream] = []
        for stream in [stream for stream in self.streams if stream.process is process]:
            stream.vanish(is_told=is_told)
            if not is_told and stream.other is not None:
                silent.append(stream.other)
        return silent

    def open_streams(self, process: Process) -> list[SimStream]:
        return [stream for stream in self.streams if stream.process is process and not stream.is_lost]


class SimStream:
    """One end of a connection. What ``TlsStream`` is to the program, without TLS.

    ``is_control``: it carries a worker's control messages. A write is one whole frame: ``Connection`` makes it so.
    """

    def __init__(self, network: Network, process: Process, local: tuple[str, int], peer: tuple[str, int]) -> None:
        self.network = network
        self.process = process
        self.local, self.peer = local, peer
        self.other: SimStream | None = None
        self.is_control = False
        self.last_received = network.loop.time()
        self.is_lost = False
        self._arrived: list[bytes] = []
        self._at_end = False
        self._is_closing = False
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._closed: list[asyncio.Future[None]] = []
        self._under_way = 0  # bytes that left here and were not taken there
        self._last_arrival = 0.0
        # Not by handle: those of a message and its copy, which arrive together, are equal.
        self._flights: list[tuple[asyncio.TimerHandle, int]] = []

    def __repr__(self) -> str:
        return f"{self.process} {format_address(*self.local)}>{format_address(*self.peer)}"

    @property
    def is_open(self) -> bool:
        return not self.is_lost and not self._is_closing

    def trust(self) -> None:
        """Nothing is bounded more tightly before."""

    # -- reading -----------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        while True:
            if self._arrived:
                data = b"".join(self._arrived)
                self._arrived.clear()
                if self.other is not None:
                    self.other.taken(len(data))
                return data
            if self._at_end:
                return b""
            if self._reader is not None:
                raise LocalProtocolError("two tasks read from one connection")
            self._reader = self.network.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def received(self, data: bytes) -> None:
        """The process's own loop finds that bytes have arrived."""
        if self.is_lost or self._is_closing:
            return
        self.last_received = self.network.loop.time()
        self._arrived.append(data)
        self._wake_reader()

    def ended(self) -> None:
        """The process's own loop finds that the other end has closed: asyncio then closes this one."""
        self._at_end = True
        self._lose()

    # -- writing -----------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        self._check_is_open()
        mischief, kind = self.network.mischief, data[4]
        if mischief is not None:
            mischief.sent(self.process, kind)
            if not self.process.is_alive:
                await self.network.loop.create_future()  # it died on the way here, and nobody comes back from there
        self._send(data, kind)
        while self._under_way > limits.CONNECTION_BUFFER_BYTES:
            waiter = self.network.loop.create_future()
            self._writers.append(waiter)
            await waiter
            self._check_is_open()

    def _send(self, data: bytes, kind: int) -> None:
        network, mischief = self.network, self.network.mischief
        other = self.other
        assert other is not None
        network.sent[self.process.name] += 1
        network.trace.note(network.loop.time(), "send", self, describe(data))
        arrival = network.arrival(self.local[0], self.peer[0])
        if mischief is not None and mischief.is_held_back(self.process, kind, self.is_control):
            self._fly(data, arrival + network.chance.choice([0.01, 0.5, 4.0]))
        else:
            self._last_arrival = arrival = max(arrival, self._last_arrival)
            self._fly(data, arrival)
        if mischief is not None:
            for delay in mischief.copies(self.process, kind, self.is_control):
                self._fly(data, arrival + delay)

    def _fly(self, data: bytes, arrival: float) -> None:
        self._under_way += len(data)
        loop = self.network.loop
        flight = loop.call_at(arrival, self._land, data, context=loop.world)
        self._flights.append((flight, len(data)))
        if len(self._flights) > 64:
            self._flights = [(flight, size) for flight, size in self._flights if flight.when() > loop.time()]

    def _land(self, data: bytes) -> None:
        """In the other machine's kernel: its process need not be awake."""
        other = self.other
        assert other is not None
        if other.is_lost or other._is_closing or not other.process.is_alive:
            self.taken(len(data))
            return
        self.network.trace.note(self.network.loop.time(), "arrive", other, describe(data))
        self.network.loop.call_soon(other.received, data, context=other.process.context)

    def taken(self, size: int) -> None:
        self._under_way -= size
        if self._under_way <= limits.CONNECTION_BUFFER_BYTES:
            self._wake_writers()

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)
        self._writers.clear()

    def _check_is_open(self) -> None:
        if self._is_closing or self.is_lost:
            raise ConnectionFailed("the connection is closed")

    # -- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """What was sent gets there, and behind it the end."""
        if self._is_closing:
            return
        self._is_closing = self._at_end = True
        self._wake_reader()
        if not self.is_lost:
            self._send_end()
            # The socket is closed when its buffer is empty; one that does not empty is cut off.
            gone = min(
                max(self._last_arrival, self.network.loop.time()), self.network.loop.time() + limits.CLOSE_SECONDS
            )
            self.network.loop.call_at(gone, self._lose, context=self.process.context)

    def abort(self) -> None:
        self._is_closing = self._at_end = True
        self._wake_reader()
        if not self.is_lost:
            if self.network.chance.random() < 0.5:
                self._drop_flights()  # bytes that this end never read make its kernel send a reset
            self._send_end()
            self.network.loop.call_soon(self._lose, context=self.process.context)

    async def wait_closed(self) -> None:
        while not self.is_lost:
            future = self.network.loop.create_future()
            self._closed.append(future)
            await future

    def reset(self, *, loses: bool) -> None:
        """The kernel learns that the connection is dead."""
        if loses:
            self._drop_flights()
        self.network.loop.call_soon(self.ended, context=self.process.context)

    def vanish(self, *, is_told: bool = True) -> None:
        """Its process is gone: no more is read, and the kernel tells the other end, if there still is one."""
        if not self.is_lost and not is_told:
            self._drop_flights()
        elif not self.is_lost:
            if self.network.chance.random() < 0.5:
                self._drop_flights()
            self._send_end()
        self._is_closing = self.is_lost = self._at_end = True
        self.network.streams.pop(self, None)

    def _send_end(self) -> None:
        other = self.other
        if other is None or other.is_lost:
            return
        loop = self.network.loop
        arrival = max(self.network.arrival(self.local[0], self.peer[0]), self._last_arrival)
        loop.call_at(arrival, self._land_end, context=loop.world)

    def _land_end(self) -> None:
        other = self.other
        if other is not None and other.process.is_alive and not other.is_lost:
            self.network.loop.call_soon(other.ended, context=other.process.context)

    def _drop_flights(self) -> None:
        for flight, size in self._flights:
            if flight.when() > self.network.loop.time() and not flight.cancelled():
                flight.cancel()
                self._under_way -= size
        self._flights.clear()

    def _lose(self) -> None:
        """The socket is closed."""
        if self.is_lost:
            return
        self.is_lost = self._at_end = True
        self.network.streams.pop(self, None)
        self._wake_reader()
        self._wake_writers()
        for future in self._closed:
            if not future.done():
                future.set_result(None)
        self._closed.clear()
        if not self._is_closing:
            self._send_end()


class Door:
    """A listener. What ``Listener`` and ``PinnedListener`` are to the program, without places, TLS and proofs."""

    def __init__(
        self,
        network: Network,
        on_connection: OnConnection,
        *,
        is_pinned: bool,
        secret: bytes = b"",
        lookup_resume_key: Callable[[bytes], bytes | None] | None = None,
        on_unexpected: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.network, self.process, self.host = network, current(), current().host
        self.number = 0
        self.fingerprint = network.random_bytes(32)
        self._on_connection = on_connection
        self._on_unexpected = on_unexpected
        self._is_pinned = is_pinned
        self._secret = secret
        self._lookup_resume_key = lookup_resume_key
        self._peers: dict[asyncio.Task[None], None] = {}

    async def start(self, host: str, port: int) -> int:
        del host  # a machine has one address here
        self.number = port or self.network.port(self.host)
        if (self.host, self.number) in self.network.doors:
            raise PortInUse(f"port {port} is already in use", port=port)
        self.network.doors[self.host, self.number] = self
        return self.number

    async def close(self, grace_seconds: float = 0.0) -> None:
        self.network.doors.pop((self.host, self.number), None)
        if self._peers and grace_seconds > 0:
            await asyncio.wait(list(self._peers), timeout=grace_seconds)
        peers = list(self._peers)
        for task in peers:
            task.cancel()
        await asyncio.gather(*peers, return_exceptions=True)

    def knock(self, knocking: Knocking) -> None:
        """In the listening process: somebody wants to come in."""
        session: Session | None = None
        if not self._is_pinned:
            secret = self._find_secret(knocking)
            if secret is None or not hmac.compare_digest(secret, knocking.secret):
                knocking.refuse(AuthenticationError("the secret is wrong"))
                return
            session = self._session(knocking)
        server = SimStream(self.network, self.process, (self.host, self.number), knocking.local)
        knocking.admit(server, self.fingerprint, session)
        connection = Connection(server, fingerprint=self.fingerprint, session=session)
        task = self.network.loop.create_task(self._serve(connection))
        self._peers[task] = None
        task.add_done_callback(self._peers.pop)

    def _find_secret(self, knocking: Knocking) -> bytes | None:
        if knocking.role is Role.WORKER:
            return self._secret
        assert self._lookup_resume_key is not None
        return self._lookup_resume_key(knocking.resume_id or b"")

    def _session(self, knocking: Knocking) -> Session:
        """A new one for a worker that joins; a channel has that of its worker."""
        if knocking.role is Role.CHANNEL:
            return Session(Role.CHANNEL, knocking.secret, knocking.resume_id or b"", b"")
        return Session(Role.WORKER, self.network.random_bytes(32), self.network.random_bytes(16), b"")

    async def _serve(self, connection: Connection) -> None:
        try:
            if self._is_pinned:
                async with asyncio.timeout(limits.HANDSHAKE_SECONDS):
                    await connection.wait_for_message()
            await self._on_connection(connection)
            connection.close()
            await connection.wait_closed()
        except (MincemeatError, OSError):
            pass
        except Exception as error:  # noqa: BLE001 - as the real listener does
            self.network.loop.call_exception_handler({"message": "serving a connection failed", "exception": error})
            if self._on_unexpected is not None:
                self._on_unexpected(error)
        finally:
            connection.abort()


class Knocking:
    """One dial under way."""

    def __init__(
        self,
        network: Network,
        role: Role = Role.CHANNEL,
        secret: bytes = b"",
        resume_id: bytes | None = None,
    ) -> None:
        process = self.process = current()
        self.network = network
        self.local = process.host, network.port(process.host)
        network.owners[format_address(*self.local)] = process
        self.role, self.secret, self.resume_id = role, secret, resume_id
        self.answered: asyncio.Future[Connection] = network.loop.create_future()
        self._client: SimStream | None = None

    async def wait(self, host: str, port: int, timeout: float) -> Connection:
        network = self.network
        network.loop.call_at(network.arrival(self.local[0], host), self._arrive, host, port, context=network.loop.world)
        try:
            async with asyncio.timeout(timeout):
                return await self.answered
        except BaseException as error:
            if self._client is not None:
                self._client.abort()
            if isinstance(error, TimeoutError):
                where = format_address(host, port)
                raise ConnectionFailed(f"{where} did not answer within {timeout:g} seconds") from error
            raise

    def _arrive(self, host: str, port: int) -> None:
        network = self.network
        if (self.local[0], host) in network.firewalls:
            network.happened["no way between workers"] += 1
            return  # silence
        if network.is_blocked(self.local[0], host):
            return
        door = network.doors.get((host, port))
        if door is None:
            self._reply(host, ConnectionFailed(f"nothing listens at {format_address(host, port)}"))
            return
        network.loop.call_soon(door.knock, self, context=door.process.context)

    def refuse(self, error: MincemeatError) -> None:
        self._reply(current().host, error)

    def admit(self, server: SimStream, fingerprint: bytes, session: Session | None) -> None:
        client = self._client = SimStream(self.network, self.process, self.local, server.local)
        client.is_control = server.is_control = session is not None and session.role is Role.WORKER
        self.network.connected(client, server)
        if self.answered.done() or not self.process.is_alive:
            client.abort()
            return
        self._reply(server.local[0], Connection(client, fingerprint=fingerprint, session=session))

    def _reply(self, host: str, answer: Connection | MincemeatError) -> None:
        loop = self.network.loop
        loop.call_at(
            self.network.arrival(host, self.local[0]),
            lambda: loop.call_soon(self._answer, answer, context=self.process.context),
            context=loop.world,
        )

    def _answer(self, answer: Connection | MincemeatError) -> None:
        if self.answered.done():
            if isinstance(answer, Connection):
                answer.abort()
        elif isinstance(answer, Connection):
            self.answered.set_result(answer)
        else:
            self.answered.set_exception(answer)
