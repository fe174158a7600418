"""What can go wrong between a client and Binance, once or by chance.

Says what, and not how: `fault_delivery.py` does it.
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
    """A way in which a request goes wrong, once."""

    kind: Kind
    """Another answer: "error" (JSON of code and msg), "html", "empty", "redirect" (to msg), "huge" (JSON that
    unzips to 200 MiB), "garbled" (called gzip, and none). No answer: "reset", "silence" (until the client
    hangs up). The right answer: "reset_in_body" and "truncate" (half of the promised bytes), "cut" (half of
    the JSON, its length not promised), "hang_up" (all, and the connection closed without a word)."""
    status: int = 503
    """What an "error", "html" or "empty" answers."""
    code: int = -1008
    msg: str = "Server is currently overloaded with other requests. Please try again in a few minutes."
    retry_after: int | None = None
    """The seconds in the Retry-After header of an "error", "html" or "empty"."""
    path: str | None = None
    """How the path of the request ends that meets the fault; None takes any."""
    bans: bool = True
    """Whether a 429 or 418 bans who asks again too early, as Binance does."""

    def __post_init__(self) -> None:
        """Refuse what cannot be put on the wire."""
        wait = self.retry_after
        location = isinstance(self.msg, str) and re.fullmatch("https?://[!-~]+", self.msg)
        for name, good, meaning in (
            ("kind", self.kind in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
            ("status", type(self.status) is int and 200 <= self.status <= 599, "a number from 200 to 599"),
            ("code", type(self.code) is int, "a whole number"),
            ("msg", isinstance(self.msg, str), "a text"),
            ("msg", self.kind != "redirect" or location, "the http:// or https:// address of a redirect"),
            ("retry_after", wait is None or (type(wait) is int and wait >= 0), "null or a number of seconds"),
            ("path", self.path is None or isinstance(self.path, str), "null or the end of a path"),
            ("bans", isinstance(self.bans, bool), "true or false"),
        ):
            if not good:
                msg = f"{name} is {meaning}, not {getattr(self, name)!r}."
                raise ValueError(msg)

    @property
    def answered(self) -> bool:
        """Tell whether a status line is sent at all."""
        return self.kind not in {"reset", "silence"}

    def closed_until_ms(self, now_ms: int) -> int:
        """Return the time before which no request should come again: now, when none was told."""
        if self.status not in {418, 429} or self.kind not in {"error", "html", "empty"} or not self.bans:
            return now_ms
        if self.retry_after is not None:
            return now_ms + 1000 * self.retry_after
        if named := re.search(r"banned until (\d+)", self.msg):
            return int(named[1])
        return now_ms + (60_000 if self.status == 429 else 120_000)


# What passes when it is asked again. A request may have been under way beside one that met a limit, so this
# limit bans nobody.
PASSING = (
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
