"""Pending tasks of one phase, with the workers that each of them avoids.

Decides: which pending task is next. Knows nothing of workers but their names.

Lowest index first. That is also "what is done again goes first": tasks start in index order, so one that has been
attempted before has a lower index than any that has not.

Tasks that avoid the same workers share a heap. Nearly always there is one heap, for tasks that avoid nobody; a heap
whose tasks nobody free may take is passed over without looking at its tasks, so a hundred tasks that wait for one busy
worker cost no more than one. A heap waits only while every free worker is among those it avoids, so few do at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TypeVar

W = TypeVar("W")


class TaskQueue:
    __slots__ = ("_heaps",)

    def __init__(self) -> None:
        self._heaps: dict[frozenset[str], list[int]] = {}

    def push(self, index: int, avoided: frozenset[str]) -> None:
        """Add task ``index``, which must not be in the queue already. O(log n)."""
        heapq.heappush(self._heaps.setdefault(avoided, []), index)

    def pop(self, choose: Callable[[frozenset[str]], W | None]) -> tuple[int, W] | None:
        """Take the first task for which ``choose(avoided workers)`` finds a worker, with that worker.

        ``None`` if there is none. O(log n + number of different sets of avoided workers).
        """
        best: tuple[int, W, frozenset[str]] | None = None
        for avoided, heap in self._heaps.items():
            if (best is None or heap[0] < best[0]) and (worker := choose(avoided)) is not None:
                best = heap[0], worker, avoided
        if best is None:
            return None
        index, worker, avoided = best
        heap = self._heaps[avoided]
        heapq.heappop(heap)
        if not heap:
            del self._heaps[avoided]
        return index, worker

    def remove(self, index: int, avoided: frozenset[str]) -> None:
        """Take task ``index``, which is in the queue, out of turn. O(n)."""
        heap = self._heaps[avoided]
        heap.remove(index)
        heapq.heapify(heap)
        if not heap:
            del self._heaps[avoided]

    def __bool__(self) -> bool:
        return bool(self._heaps)

    def __iter__(self) -> Iterator[tuple[int, frozenset[str]]]:
        """Each task with the workers it avoids, in no particular order. For invariants: O(n)."""
        return ((index, avoided) for avoided, heap in self._heaps.items() for index in heap)
