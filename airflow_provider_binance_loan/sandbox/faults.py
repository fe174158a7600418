"""The faults that a request can meet between a client and Binance, queued or at random.

Describes them; `fault_delivery.py` carries them out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "error",
    "html",
    "empty",
    "redirect",
    "huge",
    "garbled",
    "reset",
    "reset_in_body",
    "truncate",
    "cut",
    "hang_up",
    "silence",
]


@dataclass(frozen=True)
class Fault:
    """One fault of one request."""

    kind: Kind
    """In place of the real response: "error" (JSON with code and msg), "html", "empty", "redirect" (to msg),
    "huge" (gzipped JSON of 200 MiB), "garbled" (labelled gzip, but not compressed).
    No response: "reset" (of the connection), "silence" (until the client disconnects).
    The real response, damaged: "reset_in_body" and "truncate" (half of the body, then a reset or a normal
    close, although Content-Length promises all of it), "cut" (half of the body, without Content-Length),
    "hang_up" (all of it, then the connection is closed without `Connection: close`)."""
    status: int = 503
    """The HTTP status of an "error", "html" or "empty" response."""
    code: int = -1008
    msg: str = "Server is currently overloaded with other requests. Please try again in a few minutes."
    retry_after: int | None = None
    """The seconds in the Retry-After header of an "error", "html" or "empty" response."""
    path: str | None = None
    """The end of the path of the requests that can meet the fault; None for all requests."""
    bans: bool = True
    """Whether an address that sends a request too early after this 429 or 418 is banned, as Binance does."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be sent."""
        retry_after = self.retry_after
        location = isinstance(self.msg, str) and re.fullmatch("https?://[!-~]+", self.msg)
        for name, is_valid, expected in (
            ("kind", self.kind in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
            ("status", type(self.status) is int and 200 <= self.status <= 599, "a number from 200 to 599"),
            ("code", type(self.code) is int, "a whole number"),
            ("msg", isinstance(self.msg, str), "a text"),
            ("msg", self.kind != "redirect" or location, "the http:// or https:// address of a redirect"),
            (
                "retry_after",
                retry_after is None or (type(retry_after) is int and retry_after >= 0),
                "null or a number of seconds",
            ),
            ("path", self.path is None or isinstance(self.path, str), "null or the end of a path"),
            ("bans", isinstance(self.bans, bool), "true or false"),
        ):
            if not is_valid:
                msg = f"{name} must be {expected}, not {getattr(self, name)!r}."
                raise ValueError(msg)

    @property
    def responds(self) -> bool:
        """Whether the server sends any response."""
        return self.kind not in {"reset", "silence"}

    def blocked_until_ms(self, now_ms: int) -> int:
        """Return the time until which the address must send no request; `now_ms` when the fault sets none."""
        if self.status not in {418, 429} or self.kind not in {"error", "html", "empty"} or not self.bans:
            return now_ms
        if self.retry_after is not None:
            return now_ms + 1000 * self.retry_after
        if ban := re.search(r"banned until (\d+)", self.msg):
            return int(ban[1])
        return now_ms + (60_000 if self.status == 429 else 120_000)


# Faults that a retry overcomes. Other requests may be under way when one of them meets a limit, so these
# limits ban nobody.
TRANSIENT_FAULTS = (
    Fault("error"),
    Fault("html", status=500),
    Fault("empty", status=502),
    Fault("reset"),
    Fault("reset_in_body"),
    Fault("truncate"),
    Fault("cut"),
    Fault("hang_up"),
    Fault("error", 400, -1021, "Timestamp for this request is outside of the recvWindow."),
    Fault("error", 429, -1003, "Too many requests.", retry_after=0, bans=False),
    Fault("error", 429, -1003, "Too many requests.", retry_after=1, bans=False),
)
