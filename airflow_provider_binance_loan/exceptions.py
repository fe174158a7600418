"""The errors of this package, grouped by what the caller should do.

    BinanceLoanError
    ├── PermanentError              no retry can help
    │   ├── ConfigurationError      correct the connection or the arguments
    │   └── RequestRefusedError     correct the request
    │       └── AuthRefusedError    correct the key, its permissions or its IP list; retries invite a ban
    ├── BadResponseError            the answer is not what Binance documents; nothing of it was used
    └── TransientError              try again later; raised when the bounded retries are used up
        ├── ClockError              the clock is off by more than Binance allows
        └── RateLimitedError        wait: `ends_at_ms` says until when; `banned` for HTTP 418

None derives from `AirflowException`: Airflow turns those into a skip where `soft_fail` is set, which would
hide a refused key. None holds a key, a secret, a signature or a query string.
"""

from __future__ import annotations


class BinanceLoanError(Exception):
    """Base of every error that this package raises.

    Its text is one line: the message, then in brackets the attributes that are set, for example
    `(connection 'binance_loan_default', HTTP 401, code -2015, /sapi/v1/margin/loan-groups/closed).` A request
    that was sent several times adds how often: `5 attempts`. That is its attribute `attempts`.

    :param message: what to do, then what happened. Log pages cut long lines, so the advice comes first.
    :param status: the HTTP status of the answer, where there was one.
    :param code: Binance's error code, where the answer had one.
    :param path: the path that was requested, where there was one.
    :param conn_id: the id of the Airflow connection, where it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        path: str | None = None,
        conn_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.path = path
        self.conn_id = conn_id
        self.attempts: int | None = None

    def __str__(self) -> str:
        details = [
            *([f"connection {self.conn_id!r}"] if self.conn_id is not None else []),
            *([f"HTTP {self.status}"] if self.status is not None else []),
            *([f"code {self.code}"] if self.code is not None else []),
            *([f"{self.attempts} attempts"] if self.attempts is not None and self.attempts > 1 else []),
            *([self.path] if self.path is not None else []),
        ]
        return f"{self.message.removesuffix('.')} ({', '.join(details)})." if details else self.message


class PermanentError(BinanceLoanError):
    """An error that no retry can help; somebody must correct something first."""


class ConfigurationError(PermanentError):
    """A connection field or an argument is wrong."""


class RequestRefusedError(PermanentError):
    """Binance refuses the request as it is."""


class AuthRefusedError(RequestRefusedError):
    """Binance refuses the key, its permissions, its signature or the IP address; retries invite a ban."""


class BadResponseError(BinanceLoanError):
    """The answer is not what Binance documents; nothing of it was used.

    :param may_pass: whether the same request may be answered properly when it is sent again, as with a page
        of HTML from a proxy.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        path: str | None = None,
        conn_id: str | None = None,
        may_pass: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code, path=path, conn_id=conn_id)
        self.may_pass = may_pass


class TransientError(BinanceLoanError):
    """A fault that may be gone when the request is sent again later."""


class ClockError(TransientError):
    """The request's timestamp is outside the window that Binance accepts (-1021)."""


class RateLimitedError(TransientError):
    """Binance asks to wait.

    :param ends_at_ms: when the wait ends by this machine's clock, in epoch milliseconds, UTC.
    :param banned: whether it is an IP ban (HTTP 418) and not a rate limit (HTTP 429).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        path: str | None = None,
        conn_id: str | None = None,
        ends_at_ms: int = 0,
        banned: bool = False,
    ) -> None:
        super().__init__(message, status=status, code=code, path=path, conn_id=conn_id)
        self.ends_at_ms = ends_at_ms
        self.banned = banned
