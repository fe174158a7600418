"""A clock for several tasks of one event loop: it moves on when all of them wait."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import datetime

from tests.support.clock import NOW


class VirtualClock:
    """A clock that stands still while a task does something else than wait on it.

    :param tasks: how many tasks wait on it.
    :param ends_after_s: how long after its start it ends what waits on it.
    """

    def __init__(self, tasks: int, ends_after_s: float, now: datetime = NOW) -> None:
        self._start_ms = int(now.timestamp() * 1000)
        self._tasks = tasks
        self._ends_after_s = ends_after_s
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self._now_s

    def now_ms(self) -> int:
        return self._start_ms + round(self._now_s * 1000)

    def time(self) -> float:
        return self.now_ms() / 1000

    async def asleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + max(0.0, seconds), next(self._order), future))
        self._move_on()
        await future

    def leave(self) -> None:
        """Note that one task less waits on it from now on."""
        self._tasks -= 1
        self._move_on()

    def _move_on(self) -> None:
        """Wake all that wait for the next moment, if all tasks wait."""
        if not self._tasks or len(self._sleepers) < self._tasks:
            return
        self._now_s = max(self._now_s, self._sleepers[0][0])
        if self._now_s > self._ends_after_s:
            for *_, future in self._sleepers:
                future.cancel()
            return
        while self._sleepers and self._sleepers[0][0] <= self._now_s:
            future = heapq.heappop(self._sleepers)[-1]
            if not future.done():
                future.set_result(None)
