"""What a client logs about its waits: each retry and each wait for a rate limit, with its reason and end."""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.client.throttle import WEIGHT_LIMIT

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.binance.messages import Request
    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.client.throttle import Throttle
    from airflow_provider_binance_loan.exceptions import BinanceLoanError

# Shorter pauses between requests leave no line: there may be many of them.
_MIN_PAUSE_S = 5.0
# Ends of waits that are as close as this are those of one wait.
_TOLERANCE_S = 0.5


class RetryLog:
    """The log lines of a client.

    :param log: where the lines go; the module's own logger by default.
    :param conn_id: the id of the connection.
    :param throttle: the client's throttle.
    :param clock: the clock to go by.
    :param is_shared: whether several clients write to the same log.
    """

    def __init__(
        self,
        log: Logger | None,
        conn_id: str | None,
        throttle: Throttle,
        clock: Clock,
        *,
        is_shared: bool = False,
    ) -> None:
        self._log = log or logging.getLogger(__name__)
        self._conn_id = conn_id
        self._throttle = throttle
        self._clock = clock
        self._is_shared = is_shared
        self._logged_until = -inf

    def retry(self, error: BinanceLoanError, attempt: int, max_attempts: int, wait_s: float) -> None:
        """Log that a request is sent again after a wait, and why."""
        if self._throttle.held_for_s() > 0:  # the requests that wait for the same limit need not say so too
            self._logged_until = max(self._logged_until, self._clock.monotonic() + wait_s)
        error.conn_id = self._conn_id
        self._log.warning(
            "Sending again at %s, in %.1f s, attempt %d of %d: %s",
            self._time_in(wait_s),
            wait_s,
            attempt,
            max_attempts,
            error,
        )

    def pause(self, request: Request, wait_s: float) -> None:
        """Log that requests are held back, once for all that wait for the same."""
        until = self._clock.monotonic() + wait_s
        held = self._throttle.held_for_s() > 0
        if until < self._logged_until + _TOLERANCE_S or not (held or wait_s >= _MIN_PAUSE_S):
            return
        if self._is_shared and not held and not self._throttle.mention_spacing(request.path):
            return
        self._logged_until = until
        used = f"{self._throttle.used_weight(request.path)} of the minute's weight of {WEIGHT_LIMIT} is used"
        self._log.warning(
            "Waiting until %s, for %.1f s: %s (connection %r, %s).",
            self._time_in(wait_s),
            wait_s,
            "Binance limits this IP address" if held else used,
            self._conn_id,
            request.path,
        )

    def correction(self, ahead_s: float) -> None:
        """Log that a request is sent again by Binance's time, after a correction of the clock."""
        self._log.warning(
            "Sending again by Binance's time: it refused a timestamp of this machine's clock, which is %s.",
            described_skew(ahead_s),
        )

    def _time_in(self, seconds: float) -> str:
        return utc_datetime(self._clock.now_ms() + round(1000 * seconds)).isoformat(timespec="seconds")


def described_skew(ahead_s: float) -> str:
    """Return how far a clock is off, for a message."""
    return f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
