"""Polls that the triggers of one connection share: a hundred of them ask Binance no more than one does.

The triggers of a connection poll at the same moments. Those that ask for the same are given the answer of one
poll, and each looks for its own records in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.polling import MIN_FIRST_WAIT_S, first_wait_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.client.asynchronous import AsyncClient
    from airflow_provider_binance_loan.client.clock import Clock

T = TypeVar("T")

# How long a poll waits for others to join: the timers of one moment go off one after another.
_GATHER_S = 0.05
# After a rate limit, triggers poll at moments that are as far apart.
_LIMIT_STEP_S = 5.0
_HOUR_MS = 3_600_000
# The most connections of which a client is kept. With TLS, each takes a third of a megabyte.
_MAX_KEPT = 200
# How many idle sockets a client keeps: most polls send their requests one after another.
_KEPT_SOCKETS = 1
# A window that ends later than this from now waits for liquidations to come.
_AHEAD_MS = 120_000


class Liquidations(NamedTuple):
    """What a poll for liquidations found.

    :param records: the records, of the poll fields alone; the window may be wider than the one asked for.
    :param passed_ms: a time that Binance's clock had passed then: see :attr:`.BinanceLoanHook.passed_ms`.
    :param began_ms: a time no later than the beginning of the poll, by Binance's clock. What became visible
        after it may be missing.
    """

    records: tuple[Record, ...]
    passed_ms: int
    began_ms: int


@dataclass
class _Poll(Generic[T]):
    """A poll that is under way, or waits for others to join.

    :param window: the window that holds those of all that wait for it.
    :param task: what reads it.
    :param waiting: how many wait for it.
    """

    window: TimeRange
    task: asyncio.Task[T]
    waiting: int = 0


class SharedPolls:
    """The polls of a connection, for all triggers that use it in one event loop.

    One client serves them all, and keeps its socket to Binance. The credentials are read anew for each poll.

    :param conn_id: the connection that holds the API key.
    :param clock: the clock to go by; the machine's own by default.
    :param keeps_client: returns whether the client is kept between two polls.
    """

    def __init__(
        self, conn_id: str, clock: Clock | None, keeps_client: Callable[[], bool] = lambda: True
    ) -> None:
        self._hook = _KeepingHook(conn_id, keeps_client, clock=clock, shares_log=True)
        self._open: dict[Hashable, _Poll[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._anchor_s: float | None = None
        self.clock = self._hook.clock
        self.users = 0

    @property
    def now_ms(self) -> int:
        """The present by Binance's clock as far as that is known, in epoch milliseconds, UTC."""
        return self._hook.now_ms

    def first_at(self, interval_s: float) -> float:
        """Return when to poll first, on the monotonic clock: at a shared moment, but not at once.

        The first trigger of a connection draws it at random, so that the connections of a triggerer that
        starts are not all asked at once.
        """
        if self._anchor_s is None:
            self._anchor_s = self.clock.monotonic() + first_wait_s(interval_s)
            return self._anchor_s
        return self._moment(ceil, self.clock.monotonic() + min(interval_s, MIN_FIRST_WAIT_S), interval_s)

    def next_at(self, wait_s: float, interval_s: float, limit_s: float = 0.0) -> float:
        """Return when to poll after a wait from now, on the monotonic clock: at a shared moment.

        It is no later than the wait, unless it were sooner than half of it. The moments of two triggers are
        the same where one's interval is a multiple of the other's. A wait that is no multiple of the interval
        is kept to the second, and not shared.

        :param wait_s: the wait, in seconds; the interval at least.
        :param interval_s: the trigger's interval, in seconds.
        :param limit_s: how long Binance asked to wait from now, in seconds: the moment is not before its end.
        """
        now_s = self.clock.monotonic()
        next_s = now_s + wait_s
        if round(wait_s / interval_s, 6) % 1 == 0:
            next_s = self._moment(floor, next_s, interval_s)
            if next_s < now_s + wait_s / 2:
                next_s += interval_s
        if limit_s:
            next_s = max(next_s, self._moment(ceil, now_s + limit_s, min(interval_s, _LIMIT_STEP_S)))
        return next_s

    def _moment(self, rounding: Callable[[float], int], time_s: float, step_s: float) -> float:
        """Return a time, rounded to one of the moments that the triggers of the connection share."""
        if self._anchor_s is None:
            self._anchor_s = self.clock.monotonic()
        steps = round((time_s - self._anchor_s) / step_s, 6)  # so that a moment is not rounded to another
        return self._anchor_s + rounding(steps) * step_s

    async def liquidations(self, window: TimeRange, risk_units: RiskUnits) -> Liquidations:
        """Return the liquidations of a window, and of what others asked for with it.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """

        async def read(window: TimeRange) -> Liquidations:
            began_ms = self._hook.now_ms
            records = await self._hook.aget_window(FORCE_LIQUIDATIONS.for_polls, window, risk_units)
            passed_ms = self._hook.passed_ms
            return Liquidations(tuple(records), passed_ms, min(began_ms, passed_ms))

        # A longer window costs more requests, so only windows of about one length share a poll.
        length: Hashable = (window.length_ms // _HOUR_MS).bit_length() // 2
        if window.end_ms > self.now_ms + _AHEAD_MS:
            length = (window.start_ms // _HOUR_MS, window.end_ms // _HOUR_MS)
        units = risk_units if isinstance(risk_units, str) else tuple(sorted(risk_units))
        return await self._share(("liquidations", units, length), window, read)

    async def ltvs(self) -> Sample:
        """Return the LTVs of all risk units that the key sees.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """

        async def read(_: TimeRange) -> Sample:
            return await self._hook.asample(read_ltvs(RISK_UNIT_LTVS.for_polls))

        return await self._share("ltvs", TimeRange(0, 0), read)

    async def _share(
        self, subject: Hashable, window: TimeRange, read: Callable[[TimeRange], Awaitable[T]]
    ) -> T:
        """Return what a poll reads, which begins after this call, and which others may share."""
        poll = self._open.get(subject)
        if poll is None:
            poll = self._open[subject] = _Poll(window, asyncio.create_task(self._run(subject, read)))
            self._tasks.add(poll.task)
            poll.task.add_done_callback(self._tasks.discard)
        poll.window = TimeRange(
            min(poll.window.start_ms, window.start_ms), max(poll.window.end_ms, window.end_ms)
        )
        poll.waiting += 1
        try:
            # Shielded, since the end of one trigger must not end the poll of the others.
            return await asyncio.shield(poll.task)
        finally:
            poll.waiting -= 1
            if not poll.waiting:
                self._close(subject, poll)
                poll.task.cancel()

    async def _run(self, subject: Hashable, read: Callable[[TimeRange], Awaitable[T]]) -> T:
        await asyncio.sleep(_GATHER_S)
        return await read(self._open.pop(subject).window)

    def _close(self, subject: Hashable, poll: _Poll[Any]) -> None:
        """Let no others join a poll."""
        if self._open.get(subject) is poll:
            del self._open[subject]

    async def aclose(self) -> None:
        """Wait for the polls that were cancelled, and close the client."""
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:  # also when that is cancelled
            await self._hook.aclose()


_POLLS: dict[asyncio.AbstractEventLoop, dict[Hashable, SharedPolls]] = {}


@asynccontextmanager
async def shared_polls(conn_id: str, clock: Clock | None) -> AsyncIterator[SharedPolls]:
    """Yield the polls of a connection; the last user closes them.

    :param conn_id: the connection that holds the API key.
    :param clock: the clock to go by; the machine's own by default.
    """
    for loop in [loop for loop in _POLLS if loop.is_closed()]:  # its triggers had no time to end
        del _POLLS[loop]
    of_loop = _POLLS.setdefault(asyncio.get_running_loop(), {})
    key = (str(conn_id), clock)  # what is not a text is refused when the connection is read
    polls = of_loop.get(key)
    if polls is None:
        polls = of_loop[key] = SharedPolls(conn_id, clock, lambda: len(of_loop) <= _MAX_KEPT)
    polls.users += 1
    try:
        yield polls
    finally:
        polls.users -= 1
        if not polls.users:
            del of_loop[key]  # first, so that whoever comes while they are closed gets new ones
            await polls.aclose()


class _KeepingHook(BinanceLoanHook):
    """A hook whose calls share one asynchronous client, as long as the connection stays as it is.

    :param conn_id: the connection that holds the API key.
    :param keeps_client: returns whether the client is kept between two calls.
    """

    def __init__(self, conn_id: str, keeps_client: Callable[[], bool], **kwargs: Any) -> None:
        super().__init__(conn_id, **kwargs)
        self._keeps_client = keeps_client
        self._kept: AsyncClient | None = None
        self._users: Counter[AsyncClient] = Counter()

    @asynccontextmanager
    async def _aclient(self) -> AsyncIterator[AsyncClient]:
        settings = await self._asettings()
        if self._kept is None or not self._kept.serves(settings):
            self._kept = await self._new_aclient(settings, max_kept=_KEPT_SOCKETS)
        client = self._kept
        self._users[client] += 1
        try:
            await self._close_unused()
            yield client
        finally:
            self._users[client] -= 1
            if not self._keeps_client():
                self._kept = None
            await self._close_unused()

    async def _close_unused(self) -> None:
        unused = [client for client, users in self._users.items() if not users and client is not self._kept]
        for client in unused:  # all before the first wait, in which others may come here
            del self._users[client]
        for client in unused:
            await client.aclose()

    async def aclose(self) -> None:
        """Close the client."""
        self._kept = None
        await self._close_unused()
