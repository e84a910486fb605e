"""An event loop without a clock and without a selector: what runs next, and when, is decided here and nowhere else.

Decides: the order of callbacks. Those that are ready run first in, first out; when none is left, time jumps to the next
timer. Each callback belongs to a process, which it inherits from whoever scheduled it (a context variable, which
asyncio carries through tasks, futures and timers by itself). A dead process's callbacks do not run; a frozen one's
wait, and when it thaws, what had arrived comes before what had become due, as in a real loop that returns from its
selector.

Knows nothing of networks and faults.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Process:
    """One simulated operating-system process at an address: what its callbacks do, they do in its name.

    ``tasks`` holds each of its tasks that is not done: a dead process's coroutines must not be collected, because
    their ``finally`` blocks would then do what a killed process does not.
    """

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        self.is_alive = True
        self.is_frozen = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.arrived: list[asyncio.Handle] = []
        self.due: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return self.name


# Whose callback runs; None: the world itself.
CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("CURRENT", default=None)


def current() -> Process:
    """The process in whose name something is done. Raises: AssertionError outside of any."""
    process = CURRENT.get()
    assert process is not None, "only a process does this"
    return process


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in virtual time. ``after_each`` is called between two of them."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self._is_running = False
        self._is_closed = False
        self.callbacks = 0
        self.unexpected: list[dict[str, Any]] = []
        self.world = contextvars.copy_context()

    # -- what asyncio asks of a loop ---------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return self._is_closed

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    # The one thread is every thread.
    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[_T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        process = CURRENT.get() if context is None else context.get(CURRENT)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(process.tasks.pop)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """There are no threads: it is done at once."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for it
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Exception):  # what is none, is how a killed process ends
            self.unexpected.append(context)

    def close(self) -> None:
        self._is_closed = True
        self._ready.clear()
        self._timers.clear()

    # -- running -----------------------------------------------------------------------------------------

    def run(self, is_over: Callable[[], bool], *, callbacks_max: int, until: float) -> bool:
        """Run until ``is_over``; False if there is nothing left to run, or too much of it, or time is up.

        ``is_over`` is asked between two callbacks.
        """
        ready, timers = self._ready, self._timers
        callbacks_max += self.callbacks
        events._set_running_loop(self)
        self._is_running = True
        try:
            while not is_over():
                if ready:
                    handle = ready.popleft()
                else:
                    while timers and timers[0][2]._cancelled:
                        heapq.heappop(timers)
                    if not timers or timers[0][0] > until:
                        return False
                    when, _, handle = heapq.heappop(timers)
                    self._now = max(self._now, when)
                if handle._cancelled:
                    continue
                process = handle._context.get(CURRENT)  # type: ignore[attr-defined]
                if process is None or (process.is_alive and not process.is_frozen):
                    self.callbacks += 1
                    if self.callbacks > callbacks_max:
                        return False
                    handle._run()
                else:
                    (process.due if isinstance(handle, asyncio.TimerHandle) else process.arrived).append(handle)
            return True
        finally:
            self._is_running = False
            events._set_running_loop(None)

    def thaw(self, process: Process) -> None:
        """It goes on where it was, and finds what has come meanwhile."""
        process.is_frozen = False
        self._ready.extend(process.arrived)
        self._ready.extend(process.due)
        process.arrived.clear()
        process.due.clear()

    def later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Call it in the name of the world, whoever says so."""
        return self.call_at(self._now + delay, callback, *args, context=self.world)

    def start(self, process: Process, main: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        return self.create_task(main, context=process.context)
