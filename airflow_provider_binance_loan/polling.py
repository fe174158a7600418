"""How a trigger polls: the waits between two polls, and which failures it waits out."""

from __future__ import annotations

from random import uniform
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.messages import LIQUIDATION_CODES
from airflow_provider_binance_loan.exceptions import BinanceLoanError, RateLimitedError

if TYPE_CHECKING:
    from airflow_provider_binance_loan.client.clock import Clock

# Firing before the scheduler has recorded the deferral is a race, so wait first.
MIN_FIRST_WAIT_S = 6.0
# The triggerer restarts a watcher that raises within seconds, so the watcher backs off by itself, up to this.
_MAX_BACK_OFF_S = 600.0
# The text of an exception of Airflow's may be long, and logs and alerts repeat it.
_MAX_TEXT = 200


def first_wait_s(interval_s: float) -> float:
    """Return a random time before the first poll, up to the interval: the sensor has just poked.

    Random, since a triggerer that starts has all its triggers start at once: the polls of a thousand
    connections at one moment would block its event loop, then and after every interval.
    """
    return uniform(min(interval_s, MIN_FIRST_WAIT_S), interval_s)  # noqa: S311 - no secret


def back_off_s(interval_s: float, failures: int) -> float:
    """Return the time to the next poll after so many failed polls in a row.

    It is twice the interval, then four times, and so on up to ten minutes; never less than the interval.
    """
    return max(interval_s, min(interval_s * 2.0 ** min(failures, 10), _MAX_BACK_OFF_S))


def is_waited_out(error: Exception) -> bool:
    """Return whether a poll failed for a reason that may last for hours, and then passes by itself.

    These are IP bans, and Binance's refusals while a risk unit is being liquidated.
    """
    if isinstance(error, RateLimitedError):
        return error.banned
    return isinstance(error, BinanceLoanError) and error.code in LIQUIDATION_CODES


def rate_limit_s(error: Exception, clock: Clock) -> float:
    """Return how long Binance's rate limit or ban lasts from now, in seconds; 0 where there is none."""
    if not isinstance(error, RateLimitedError):
        return 0.0
    # A poll within the last millisecond would be refused, and the next comes an interval later, so add some.
    return max(0.0, (error.ends_at_ms - clock.now_ms()) / 1000 + 0.01)


def one_line(error: Exception, conn_id: str) -> str:
    """Return an error as one line that names the connection, also an error that is not of this package.

    :param error: the error.
    :param conn_id: the id of the connection, as it may be shown.
    """
    if isinstance(error, BinanceLoanError):
        return str(error)
    text = " ".join(str(error).split())
    text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return f"{type(error).__name__}: {text} (connection {conn_id!r})"
