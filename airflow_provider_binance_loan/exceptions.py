"""The errors of this package, grouped by what the caller should do.

    BinanceLoanError
    ├── ConfigurationError      mend the connection or the arguments; no request was made
    ├── RequestRefusedError     mend the request; asking again cannot help
    │   └── AuthRefusedError    mend the key, its permissions or the IP list; asking again invites a ban
    ├── BadResponseError        the answer is not what Binance documents; nothing of it was used
    └── TransientError          ask again later; raised when the bounded retries are used up
        ├── ClockError          the clock is off by more than Binance allows
        └── RateLimitedError    told to wait: `ends_at_ms` says until when; `banned` for HTTP 418

None derives from `AirflowException`: Airflow turns those into a skip where `soft_fail` is set, which would
hide a refused key. None holds a key, a secret, a signature or a query string.
"""

from __future__ import annotations


class BinanceLoanError(Exception):
    """Base of every error that this package raises.

    :param message: what happened and what to check, in one sentence.
    :param status: the HTTP status of the answer, where there was one.
    :param code: Binance's error code, where the answer had one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ConfigurationError(BinanceLoanError):
    """A connection field or an argument is wrong; no request was made."""


class RequestRefusedError(BinanceLoanError):
    """Binance refuses the request as it is; asking again cannot help."""


class AuthRefusedError(RequestRefusedError):
    """Binance refuses the key, its permissions, its signature or the IP; more tries invite a ban."""


class BadResponseError(BinanceLoanError):
    """The answer is not the documented shape; nothing of it was used."""


class TransientError(BinanceLoanError):
    """A fault that asking again later may mend."""


class ClockError(TransientError):
    """The request's timestamp is outside the window that Binance accepts (-1021)."""


class RateLimitedError(TransientError):
    """Binance asks to wait.

    :param ends_at_ms: when the wait ends by this machine's clock, in epoch milliseconds, UTC.
    :param banned: whether it is an IP ban (HTTP 418) and not a plain limit (HTTP 429).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        ends_at_ms: int = 0,
        banned: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.ends_at_ms = ends_at_ms
        self.banned = banned
