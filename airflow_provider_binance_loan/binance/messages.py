"""One request, one answer, and what an error answer means. Sends nothing and waits for nothing.

Codes: https://developers.binance.com/legacy-docs/institutional_loan/error-code
Limits: https://developers.binance.com/legacy-docs/institutional_loan/general-info
"""

from __future__ import annotations

import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.decoding import DecodingError, Flaw, decode
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLOCK_CODE = -1021
_TOO_MANY_REQUESTS = -1003
#: The risk unit is being liquidated, or has transactions that are pending: this passes, but may take hours.
LIQUIDATION_CODES = frozenset({-1024, -1025, -27024, -27025})
_TRANSIENT_CODES = LIQUIDATION_CODES | {-1000, -1001, -1004, -1006, -1007, -1008, -3000, -3044}
#: A span may be too long. The code for it is not documented; these are what Binance's other endpoints say.
SPAN_CODES = frozenset({-1127, -3011, -4047, -6021})
# A `code` that is none of these is an error, also beside data and with HTTP 200.
_SUCCESS_CODES = (None, 0, 200, "0", "200", "000000")
_AUTH_CODES = frozenset({-1002, -1022, -1099, -2008, -2014, -2015, -4004})

# What to do about a refusal, by code: 74 characters at most, since Airflow's log page cuts off the rest.
_CREDIT_ACCOUNT = "Use the key of a credit account that is enabled for institutional loans"
_PARENT_ACCOUNT = "Use the parent account's key, as credit accounts' are refused here"
_ADVICE = {
    -1022: "Check that the secret or private key belongs to the API key",
    -1002: "Check the key's permissions",
    -2014: "Check the API key in the connection's login",
    -2015: "Check the API key, its permission to read and its allowed IP addresses",
    -3003: _CREDIT_ACCOUNT,
    -3999: _CREDIT_ACCOUNT,
}

# What to do about a refusal without a code, and the reason, by HTTP status.
_ADVICE_BY_STATUS = {
    403: ("Use another IP address or region", "Binance's firewall refuses this one"),
    404: ("Check the host", "Binance has no test network for these endpoints"),
    451: ("Use another IP address or region", "this one is refused for legal reasons"),
}

# How long to wait when Binance does not say; a ban lasts two minutes at least.
_LIMIT_MS = 60_000
_BAN_MS = 120_000
_CODE = re.compile(r"-?[0-9]{1,9}")
# What an answer may quote of the request: a signature, in any form, and the API key.
_SECRETS = re.compile(r"signature=[^\s&]+|[A-Za-z0-9+/=%_-]{32,}")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# The longest ban that Binance documents; whoever states a longer one is not taken at its word.
_MAX_WAIT_MS = 3 * 24 * 60 * 60 * 1000
_WEIGHT = re.compile(r"[0-9]{1,9}")
_BANNED_UNTIL = re.compile(r"banned until (\d{13})\b")


def _unchanged(content: Any) -> Any:
    return content


def _undecided(_: bytes) -> None:
    return None


class Request(NamedTuple):
    """A GET request to send.

    :param path: the path.
    :param params: its parameters in order, without recvWindow, timestamp and signature.
    :param parse: returns the content of the answer, from its JSON.
    :param parse_documented: returns the same content straight from a body, if that is exactly as documented;
        None for any other body, about which `parse` decides.
    :param check: returns the content of an answer that can be one to this request.
    :param weight: the weight that Binance counts for it.
    :param signed: whether it is signed.
    :param dated: whether its time is data, so that the clock is set by Binance's before it is sent.
    :param for_parent: whether it is for the key of the parent account, and for no credit account's.
    :param handled_codes: the codes of refusals that the plan wants as answers, in :attr:`Response.refusal`.
    """

    path: str
    params: tuple[tuple[str, str | int], ...] = ()
    parse: Callable[[Any], Any] = _unchanged
    parse_documented: Callable[[bytes], Any] = _undecided
    check: Callable[[Any], Any] = _unchanged
    weight: int = 1
    signed: bool = True
    dated: bool = False
    for_parent: bool = False
    handled_codes: frozenset[int] = frozenset()


#: Asks for Binance's time. https://developers.binance.com/docs/binance-spot-api-docs/rest-api
TIME = Request("/api/v3/time", signed=False)


class Response:
    """An answer as it was received.

    :param request: the request that it answers.
    :param status: the HTTP status.
    :param headers: the headers; names in lower case.
    :param body: the body, decompressed.
    :param sent_ms: the timestamp of the request, by Binance's clock as far as it is known.
    :param received_ms: when the answer was received, by this machine's clock.
    :param clock_offset_ms: how far Binance's clock is ahead of this machine's.
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
        #: The refusal that it is, if the request's plan handles that; None for data.
        self.refusal: RequestRefusedError | None = None

    @cached_property
    def payload(self) -> Any:
        """The body as JSON; a number with a fraction or an exponent stays the text that was sent.

        :raises BadResponseError: the body is not JSON, or has a key twice.
        :raises TransientError: the body is JSON that was cut off.
        """
        try:
            return decode(self.body)
        except DecodingError as error:
            flaw = error.flaw
        # Outside the handler: the error of the JSON parser quotes the text, and must not be chained.
        message = (
            "Check the proxies and firewalls on the way to Binance: the answer, "
            f"{self._summary()}, {flaw.value}."
        )
        if flaw is Flaw.CUT_OFF:
            raise TransientError(message, status=self.status, path=self.request.path)
        raise BadResponseError(
            message, status=self.status, path=self.request.path, may_pass=flaw is Flaw.NOT_JSON
        )

    @cached_property
    def content(self) -> Any:
        """What the request makes of the answer; the payload may be modified in place.

        :raises BadResponseError: the payload is not what Binance documents.
        :raises RequestRefusedError: the answer is a refusal.
        """
        if self.refusal:
            raise self.refusal
        try:
            documented = self._documented
            return self.request.check(self.request.parse(self.payload) if documented is None else documented)
        except BadResponseError as error:
            error.path = self.request.path
            raise

    @cached_property
    def _documented(self) -> Any:
        """The content of data that is exactly as documented; None for any other answer."""
        return self.request.parse_documented(self.body) if self.status == 200 else None

    def _summary(self) -> str:
        content_type = _one_line(self.headers.get("content-type", ""), 60)
        return f"{len(self.body)} bytes {f'of {content_type}' if content_type else 'without a content type'}"

    @property
    def used_weight(self) -> int | None:
        """How much of the minute's weight the requests to this endpoint have used; None if not stated."""
        used = self.headers.get("x-sapi-used-ip-weight-1m", "")
        return int(used) if _WEIGHT.fullmatch(used) else None

    def raise_for_error(self) -> None:
        """Return when the answer is data; raise the error that it means when it is not.

        :raises BinanceLoanError: one of its subclasses, by what the caller should do.
        """
        error = self._error()
        if error is None:
            return
        code, text = error
        details: dict[str, Any] = {"status": self.status, "code": code, "path": self.request.path}
        if self.status in {418, 429} or code == _TOO_MANY_REQUESTS:
            raise self._rate_limited(text, details)
        says = f"Binance says {text.rstrip('.')!r}" if text else "the answer has no error code"
        if code == CLOCK_CODE:
            raise ClockError(f"Check this machine's clock: {says}.", **details)
        if self.status >= 500 or self.status == 408 or code in _TRANSIENT_CODES:
            raise TransientError(f"Try again later: {says}.", **details)
        auth_refused = code in _AUTH_CODES or self.status in {401, 403}
        refused = AuthRefusedError if auth_refused else RequestRefusedError
        advice, reason = self._advice(code)
        reasons = [*([reason] if reason else []), *([says] if text or not reason else [])]
        raise refused(f"{advice}: {', and '.join(reasons)}.", **details)

    def _advice(self, code: int | None) -> tuple[str, str]:
        """Return what to do about a refusal, and the reason for it where Binance states none."""
        if code in _ADVICE:
            advice = _ADVICE[code]
            wrong_account = advice is _CREDIT_ACCOUNT and self.request.for_parent
            return _PARENT_ACCOUNT if wrong_account else advice, ""
        if code is None and self.status in _ADVICE_BY_STATUS:
            return _ADVICE_BY_STATUS[self.status]
        if 200 < self.status < 300:
            return "Check the proxies on the way to Binance", "Binance does not answer with this status"
        if 300 <= self.status < 400:
            return "Check the host", "redirects are not followed, as they would carry the API key elsewhere"
        if self.status in {401, 403} or code in _AUTH_CODES:
            return "Check the API key and its permissions", ""
        return "Check the connection and the arguments", ""

    def _error(self) -> tuple[int | None, str] | None:
        """Return the code and the text of an error, also with status 200 or beside data; None for data."""
        if self._documented is not None:
            return None
        try:
            payload = self.payload
        except BinanceLoanError:
            if self.status == 200:
                raise
            return None, ""
        if not isinstance(payload, dict):
            payload = {}
        code, text = payload.get("code"), str(payload.get("msg") or "no message")
        # False equals 0 in Python, and is no code of success.
        if code in _SUCCESS_CODES and code is not False and payload.get("success") is not False:
            return None if self.status == 200 else (None, "")
        if _CODE.fullmatch(str(code)):
            return int(str(code)), _one_line(text, 300)
        return None, _one_line(text if code is None else f"{text} (code {code})", 300)

    def _retry_after_ms(self) -> int | None:
        """Return the longest wait that `Retry-After` states; None where it states none.

        Binance gives seconds; a proxy may give a date, or repeat the header.
        """
        after = self.headers.get("retry-after", "")
        items = [item.strip() for item in after.split(",")]
        waits = [1000 * float(item) for item in items if _SECONDS.fullmatch(item)]
        with suppress(ValueError, OverflowError, OSError):
            until_ms = parsedate_to_datetime(after).timestamp() * 1000 - self.clock_offset_ms
            waits.append(until_ms - self.received_ms)
        return ceil(min(max(0.0, *waits), _MAX_WAIT_MS)) if waits else None

    def _rate_limited(self, text: str, details: Mapping[str, Any]) -> RateLimitedError:
        banned = self.status == 418
        wait_ms = self._retry_after_ms()
        until = _BANNED_UNTIL.search(text)
        if wait_ms is not None:
            ends_at_ms = self.received_ms + wait_ms
        elif until:  # waits go by this machine's clock
            ends_at_ms = min(int(until[1]) - self.clock_offset_ms, self.received_ms + _MAX_WAIT_MS)
        else:
            ends_at_ms = self.received_ms + (_BAN_MS if banned else _LIMIT_MS)
        reason = "Binance has banned this IP address" if banned else "Binance limits this IP address"
        says = f", and says {text.rstrip('.')!r}" if text else ""
        return RateLimitedError(
            f"Wait until {utc_datetime(ends_at_ms).isoformat(timespec='seconds')}: {reason}{says}.",
            **details,
            ends_at_ms=ends_at_ms,
            banned=banned,
        )


def _one_line(text: str, length: int) -> str:
    """Return text from outside as one short line without secrets: it ends up in logs and alerts."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return _SECRETS.sub("…", " ".join(printable.split()))[:length]
