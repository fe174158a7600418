"""Rate limiting: when the next request may be sent, by what Binance said about its limits.

What Binance said is shared by all hooks of a process that use the same host and proxy. Sends nothing, and
waits for nothing itself.

https://developers.binance.com/legacy-docs/institutional_loan/general-info
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_binance_loan.binance.messages import Request
    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.exceptions import RateLimitedError

# The weight that an IP address may use in a minute, at each endpoint.
WEIGHT_LIMIT = 12_000
_MINUTE_S = 60.0
# Below this share of the limit, requests are not spaced out.
FREE_SHARE = 0.8
# How often a log that several hooks share repeats that requests are spaced out.
_REPEAT_S = 600.0


class Throttle:
    """Holds requests back while Binance asks for it, and spaces them out before it has to.

    A 429 at 12:00:00 with `Retry-After: 7` holds back every request until 12:00:07, measured on the monotonic
    clock. Beyond 80 % of a minute's weight, each request waits for its share of the minute: at 11,000 of
    12,000 used, a request of weight 200 is followed by a pause of twelve seconds. So the rest lasts a minute,
    whether Binance counts by the clock's minutes or by the last 60 seconds. Requests that are under way count
    as used: Binance may have counted them, and has not said so yet.

    :param clock: the clock of this machine.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held_until = -inf
        self._held_by: RateLimitedError | None = None
        self._used_weight: dict[str, int] = {}
        self._under_way: Counter[str] = Counter()
        self._free_at: dict[str, float] = {}
        self._mentioned_at: dict[str, float] = {}

    def used_weight(self, path: str) -> int:
        """Return how much of the minute's weight an endpoint's requests have used, by its last answer."""
        return self._used_weight.get(path, 0)

    def note_weight(self, path: str, used: int) -> None:
        """Note how much of the minute's weight an endpoint's requests have used."""
        with self._lock:
            self._used_weight[path] = used
            if self._expected_weight(path) <= WEIGHT_LIMIT * FREE_SHARE:
                self._free_at.pop(path, None)

    def end(self, request: Request) -> None:
        """Note that a request, which was let through, is not under way any more."""
        with self._lock:
            self._under_way[request.path] -= request.weight

    def mention_spacing(self, path: str) -> bool:
        """Return whether to log that an endpoint's requests are spaced out: not again within ten minutes."""
        with self._lock:
            now_s = self._clock.monotonic()
            if now_s - self._mentioned_at.get(path, -inf) < _REPEAT_S:
                return False
            self._mentioned_at[path] = now_s
            return True

    def hold(self, error: RateLimitedError) -> None:
        """Hold back every request until the error's end."""
        held_until = self._clock.monotonic() + (error.ends_at_ms - self._clock.now_ms()) / 1000
        with self._lock:
            if held_until > self._held_until:
                # A copy has no traceback, whose frames would be kept for as long as the process runs.
                self._held_until, self._held_by = held_until, copy.copy(error)

    def held_for_s(self) -> float:
        """Return for how many seconds requests are held back; not above 0 when they are not."""
        return self._held_until - self._clock.monotonic()

    def waits(self, request: Request, max_wait_s: float) -> Iterator[float]:
        """Yield how many seconds to wait, again and again, until a request may be sent.

        Once it is sent, and whatever becomes of it, call :meth:`end`.

        :raises RateLimitedError: this IP address is banned, or the wait is longer than `max_wait_s`.
        """
        while (wait_s := self._wait_or_reserve(request, max_wait_s)) > 0:
            yield wait_s

    def _wait_or_reserve(self, request: Request, max_wait_s: float) -> float:
        with self._lock:
            held_s = self.held_for_s()
            if self._held_by and held_s > 0 and (self._held_by.banned or held_s > max_wait_s):
                raise copy.copy(self._held_by)
            now_s = self._clock.monotonic()
            wait_s = max(held_s, self._free_at.get(request.path, now_s) - now_s)
            if wait_s <= 0:
                self._reserve(request, now_s)
            return wait_s

    def _reserve(self, request: Request, now_s: float) -> None:
        """Let the requests that follow to the same endpoint wait for this one's share of the minute."""
        used = self._expected_weight(request.path)
        self._under_way[request.path] += request.weight
        if used > WEIGHT_LIMIT * FREE_SHARE:
            share = request.weight / max(1, WEIGHT_LIMIT - used)
            # Not longer than a minute, after which Binance counts anew.
            self._free_at[request.path] = now_s + _MINUTE_S * min(1.0, share)

    def _expected_weight(self, path: str) -> int:
        return self.used_weight(path) + self._under_way[path]


_shared: dict[tuple[str, str | None, Clock], Throttle] = {}


def shared_throttle(base_url: str, proxy: str | None, clock: Clock) -> Throttle:
    """Return the throttle that all hooks of this process share for one host and one way to it.

    :param base_url: the base URL of the host.
    :param proxy: the proxy's URL, or None: another proxy is another egress address, with limits of its own.
    :param clock: the clock of this machine.
    """
    # In one step, so that threads that ask at the same time get the same one.
    return _shared.setdefault((base_url, proxy, clock), Throttle(clock))


def forget_shared_throttles() -> None:
    """Start anew, as a new process does: for tests, whose servers may get a port that another one had."""
    _shared.clear()
