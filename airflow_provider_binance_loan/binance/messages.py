"""One request, one answer, and what an answer that is not data means. Sends nothing, waits for nothing.

Codes: https://developers.binance.com/docs/institutional_loan/error-code
Limits: https://developers.binance.com/docs/institutional_loan/general-info
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple, NoReturn

import msgspec

from airflow_provider_binance_loan.binance.time_range import to_datetime
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)

CLOCK_CODE = -1021
_TOO_MANY_REQUESTS = -1003
_TRANSIENT_CODES = frozenset({-1000, -1001, -1004, -1006, -1007, -1008, -3000, -3044})
_AUTH_CODES = frozenset({-1002, -1022, -1099, -2008, -2014, -2015, -4004})

_HINTS = {
    -1022: "check that the secret or private key belongs to the API key, and has no white space around it",
    -1002: "check the key's permissions",
    -2014: "check the API key in the connection's login",
    -2015: "check the API key, its permission to read, and its list of allowed IP addresses",
    -3003: "the key must be the credit account's own, and the account enabled for institutional loans",
    -3999: "the key must be the credit account's own, and the account enabled for institutional loans",
}

# How long to wait when Binance does not say; a ban starts at two minutes.
_LIMIT_MS = 60_000
_BAN_MS = 120_000
_CODE = re.compile(r"-?[0-9]{1,9}")
# What an answer may quote of the request: a signature, in any form, and the API key.
_SECRETS = re.compile(r"signature=[^\s&]+|[A-Za-z0-9+/=%_-]{32,}")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# Longer than any wait, and still within the calendar.
_LONGEST_MS = 366 * 24 * 60 * 60 * 1000
_WEIGHT = re.compile(r"[0-9]{1,9}")
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")


# A number with a fraction or an exponent stays the text that was sent.
_decode = msgspec.json.Decoder(float_hook=str).decode


def _as_it_is(payload: Any) -> Any:
    return payload


class Request(NamedTuple):
    """A GET to send.

    :param path: the path.
    :param params: its parameters in order, without recvWindow, timestamp and signature.
    :param parse: returns what the JSON of the answer holds.
    """

    path: str
    params: tuple[tuple[str, int], ...] = ()
    parse: Callable[[Any], Any] = _as_it_is


class Response:
    """An answer as it came.

    :param request: what was asked.
    :param status: the HTTP status.
    :param headers: the headers; names in lower case.
    :param body: the body, decompressed.
    :param sent_ms: the timestamp of the request, by Binance's clock as far as it is known.
    :param received_ms: when the answer came, by this machine's clock.
    :param clock_offset_ms: how far Binance's clock is ahead of that.
    """

    def __init__(
        self,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        sent_ms: int,
        received_ms: int = 0,
        clock_offset_ms: int = 0,
    ) -> None:
        self.request = request
        self.status = status
        self.headers = headers
        self.body = body
        self.sent_ms = sent_ms
        self.received_ms = received_ms
        self.clock_offset_ms = clock_offset_ms

    @cached_property
    def payload(self) -> Any:
        """The body as JSON; a number with a fraction or an exponent stays the text that was sent.

        :raises BadResponseError: the body is not JSON.
        :raises TransientError: it is JSON that was cut off.
        """
        error: type[BinanceLoanError] = BadResponseError
        flaw = "is not JSON"
        try:
            return _decode(self.body)
        except (msgspec.ValidationError, RecursionError):
            pass  # what no answer of Binance has: an endless number, or too many levels
        except (msgspec.DecodeError, UnicodeDecodeError):
            # A body that begins as JSON does, or not at all, was cut off, and may be whole the next time.
            if self.body.lstrip()[:1] in {b"", b"{", b"["}:
                error, flaw = TransientError, "is cut off or damaged"
        # Outside the handler: the error of the JSON parser quotes the text, and must not ride along.
        raise error(
            f"{self.request.path} answered {self._summary()}, which {flaw}: "
            "check what stands between this machine and Binance.",
            status=self.status,
        )

    @cached_property
    def content(self) -> Any:
        """What the request's `parse` makes of the payload, which is used up.

        :raises BadResponseError: it is not what Binance documents.
        """
        return self.request.parse(self.payload)

    def _summary(self) -> str:
        kind = self.headers.get("content-type", "no content type")
        return f"HTTP {self.status} with {len(self.body)} bytes of {_one_line(kind, 60)}"

    @property
    def used_weight(self) -> int | None:
        """How much of the minute's weight the requests to this endpoint have used; None where it says not."""
        used = self.headers.get("x-sapi-used-ip-weight-1m", "")
        return int(used) if _WEIGHT.fullmatch(used) else None

    def raise_for_error(self) -> None:
        """Return when the answer is data; raise what it means when it is not.

        :raises BinanceLoanError: one of its subclasses, by what the caller should do.
        """
        code, text = self._error()
        if self.status == 200 and code is None:
            return
        what = f"{self.request.path} answered HTTP {self.status}"
        if code is not None:
            what += f", code {code}: {text.rstrip('.')}"
        if self.status in {418, 429} or code == _TOO_MANY_REQUESTS:
            self._raise_rate_limited(what, code, text)
        if code == CLOCK_CODE:
            raise ClockError(f"{what}.", status=self.status, code=code)
        if self.status >= 500 or self.status == 408 or code in _TRANSIENT_CODES:
            raise TransientError(f"{what}; try again later.", status=self.status, code=code)
        hint = _HINTS.get(code or 0)
        if self.status == 404:
            hint = "check the host: Binance has no test network for these endpoints"
        if self.status == 403 and code is None:
            hint = "Binance's web firewall refuses this IP address or region"
        if 300 <= self.status < 400:
            hint = "redirects are not followed, since they would carry the API key elsewhere; check the host"
        refusal = (
            AuthRefusedError if code in _AUTH_CODES or self.status in {401, 403} else RequestRefusedError
        )
        raise refusal(f"{what}; {hint}." if hint else f"{what}.", status=self.status, code=code)

    def _error(self) -> tuple[int | None, str]:
        """Return Binance's code and text, also where they come with status 200; None and "" without."""
        try:
            payload = self.payload
        except BinanceLoanError:
            if self.status == 200:
                raise
            return None, ""
        if not isinstance(payload, dict) or "rows" in payload:
            return None, ""
        code, text = str(payload.get("code")), str(payload.get("msg") or "no message")
        if not _CODE.fullmatch(code):
            return None, ""
        return int(code), _one_line(text, 300)

    def _told_to_wait_ms(self) -> int | None:
        """Return what `Retry-After` says, the longest where it says several; None where it says nothing.

        Binance gives seconds; what stands in between may give a date, or repeat the header.
        """
        after = self.headers.get("retry-after", "")
        items = [item.strip() for item in after.split(",")]
        waits = [1000 * float(item) for item in items if _SECONDS.fullmatch(item)]
        with suppress(ValueError, OverflowError, OSError):
            until_ms = parsedate_to_datetime(after).timestamp() * 1000 - self.clock_offset_ms
            waits.append(until_ms - self.received_ms)
        return ceil(min(max(0.0, *waits), _LONGEST_MS)) if waits else None

    def _raise_rate_limited(self, what: str, code: int | None, text: str) -> NoReturn:
        banned = self.status == 418
        wait_ms = self._told_to_wait_ms()
        until = _BANNED_UNTIL.search(text)
        if wait_ms is not None:
            ends_at_ms = self.received_ms + wait_ms
        elif until:
            ends_at_ms = int(until[1]) - self.clock_offset_ms  # who waits does so by this machine's clock
        else:
            ends_at_ms = self.received_ms + (_BAN_MS if banned else _LIMIT_MS)
        raise RateLimitedError(
            f"{what}; {'this IP address is banned' if banned else 'wait'} "
            f"until {to_datetime(ends_at_ms).isoformat(timespec='seconds')}.",
            status=self.status,
            code=code,
            ends_at_ms=ends_at_ms,
            banned=banned,
        )


def _one_line(text: str, length: int) -> str:
    """Return what came from outside in one short line, without secrets: it ends up in logs and alerts."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return _SECRETS.sub("…", " ".join(printable.split()))[:length]
