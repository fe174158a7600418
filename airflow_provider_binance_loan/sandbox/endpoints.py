"""The endpoints of Binance that the sandbox serves, their parameters, and the checks of each request.

Checks parameters and signatures with code of its own, as strictly as Binance's documentation says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange, split_query

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_MS = 24 * 60 * 60 * 1000
MAX_LONG = 2**63 - 1
WHOLE = "^[0-9]{1,20}$"
TEXTS = {"asset": "^[A-Z0-9]{1,20}$", "type": "^(?s:.+)$"}
"""The parameters that are no numbers, and the characters that are legal in them."""

Params = list[tuple[str, str]]
Values = dict[str, Any]


class Refusal(Exception):  # noqa: N818
    """A refusal of a request, with Binance's code, text and HTTP status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(code, msg, status)
        self.code, self.msg, self.status = code, msg, status


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of Binance."""

    respond: Callable[..., object] | None
    """The method of `Exchange` that returns the response; None for the permissions of the API key."""
    params: dict[str, str] = field(default_factory=dict)
    """The argument of that method for each parameter of the query."""
    weight: int = 1
    account: Literal["credit", "parent"] | None = "credit"
    """Of which account the API key must be; None for any."""
    mandatory: tuple[str, ...] = ()
    """The parameters that must be sent."""
    days_to_now: int = MAX_LONG
    """How many days before now the time range begins at the earliest, when startTime alone is sent."""
    takes_key: bool = False
    """Whether the response depends on the API key, which the method then takes as `key`."""


# https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/
# on the pages trade, account, risk-unit and transfer
_RISK_UNIT = {"groupId": "group_id"}
_TIME_RANGE = {"startTime": "start_ms", "endTime": "end_ms"}
_ASSET = {"asset": "asset"}
_PAGINATION = {"current": "current", "size": "size"}
ENDPOINTS = {
    "/sapi/v1/margin/loan-group/force-liquidation": Endpoint(
        Exchange.force_liquidations, _RISK_UNIT | _TIME_RANGE | _PAGINATION
    ),
    "/sapi/v1/margin/loan-groups/closed": Endpoint(Exchange.closed_units, _PAGINATION),
    "/sapi/v1/margin/loan-group/ltv-details": Endpoint(
        Exchange.ltv_details, _RISK_UNIT, weight=200, account=None, takes_key=True
    ),
    "/sapi/v1/margin/loan-group/force-liquidation-transfer-record": Endpoint(
        Exchange.transfer_records, _TIME_RANGE | _PAGINATION
    ),
    "/sapi/v1/margin/loan-group/interest-history": Endpoint(
        Exchange.interest_history, _RISK_UNIT | _ASSET | _TIME_RANGE | _PAGINATION, weight=10, days_to_now=30
    ),
    "/sapi/v1/margin/loan-group/borrow-repay": Endpoint(
        Exchange.borrow_repay_records,
        _RISK_UNIT | {"type": "kind"} | _ASSET | _TIME_RANGE | _PAGINATION,
        weight=10,
        mandatory=("type",),
    ),
    "/sapi/v1/margin/loan-groups/activated": Endpoint(Exchange.active_units, weight=10, account="parent"),
    "/sapi/v1/account/apiRestrictions": Endpoint(None, account=None),
}


# Checks of requests


def check_request(
    exchange: Exchange, endpoint: Endpoint, header: str | None, query: bytes
) -> tuple[ApiKey, Values]:
    """Check a request in Binance's order, and return its key and the arguments of the endpoint's method.

    https://developers.binance.com/legacy-docs/institutional_loan/general-info
    """
    now_ms = exchange.now_ms()
    if not header:
        raise Refusal(-2014, "API-key format invalid.", 401)
    key = exchange.keys.get(header)
    if key is None:
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    values = _parse_params(split_query(query.decode("latin-1")), endpoint)
    _check_values(values)
    if "endTime" in endpoint.params:
        _add_time_range(values, endpoint, now_ms, exchange.behaviour.max_days)
    if values["timestamp"] >= now_ms + 1000:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - values["timestamp"] > values["recvWindow"]:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not _is_signed_by(key, query):
        raise Refusal(-1022, "Signature for this request is not valid.")
    if not (key.ip_allowed and key.can_read):
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    if endpoint.account not in (None, key.account):
        raise Refusal(
            -3999, "This function can only be available for invited users who meet the requirement."
        )
    return key, {name: values[sent] for sent, name in endpoint.params.items() if sent in values}


def _parse_params(params: Params, endpoint: Endpoint) -> Values:
    """Return the values of the parameters, whole numbers but for TEXTS, apart from the signature."""
    sent = dict(params)
    for name in ("timestamp", *endpoint.mandatory, "signature"):
        if not sent.get(name) or (name == "timestamp" and not is_whole(sent[name])):
            raise Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    known = sent.keys() & {*endpoint.params, "timestamp", "signature", "recvWindow"}
    if len(known) < len(sent):
        counts = f"read '{len(known)}' parameter(s) but was sent '{len(sent)}'"
        raise Refusal(-1104, f"Not all sent parameters were read; {counts}.")
    if len(sent) < len(params):
        raise Refusal(-1101, "Duplicate values for a parameter detected.")
    del sent["signature"]
    for name, value in sent.items():
        if not value:
            raise Refusal(-1105, f"Parameter '{name}' was empty.")
        legal = TEXTS.get(name, WHOLE)
        if not re.fullmatch(legal, value):
            raise Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
        if name not in TEXTS and int(value) > MAX_LONG:
            raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")
    return {name: value if name in TEXTS else int(value) for name, value in sent.items()}


def require_no_params(query: bytes) -> None:
    """Refuse any parameter, and so a signature: public endpoints take none.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints
    """
    if count := len(split_query(query.decode("latin-1"))):
        raise Refusal(-1101, f"Too many parameters; expected '0' and received '{count}'.")


def is_whole(text: str) -> bool:
    """Return whether a text is a whole number as Binance writes them."""
    return re.fullmatch(WHOLE, text) is not None


def _check_values(values: Values) -> None:
    """Check the documented limits of the values."""
    if not 0 < values.setdefault("recvWindow", 5000) < 60_000:
        raise Refusal(-1131, "recvWindow must be less than 60000")
    valid = {
        "size": 1 <= values.get("size", 10) <= 100,
        "current": values.get("current", 1) >= 1,
        "type": values.get("type", "BORROW") in {"BORROW", "REPAY"},
    }
    for name, is_valid in valid.items():
        if not is_valid:
            raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def _add_time_range(values: Values, endpoint: Endpoint, now_ms: int, max_days: int) -> None:
    """Add the documented defaults of the time range to the values, and check its length.

    https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
    """
    if "startTime" in values and "endTime" not in values:
        values["startTime"] = max(values["startTime"], now_ms - endpoint.days_to_now * DAY_MS)
    end_ms = values.setdefault("endTime", now_ms)
    start_ms = values.setdefault("startTime", end_ms - 7 * DAY_MS)
    if start_ms > end_ms:
        raise Refusal(-1127, "startTime is after endTime.")
    if end_ms - start_ms > max_days * DAY_MS:
        raise Refusal(-1127, f"More than {max_days} days between startTime and endTime.")


def _is_signed_by(key: ApiKey, query: bytes) -> bool:
    """Return whether the query ends with the key's signature of the bytes before it.

    https://developers.binance.com/legacy-docs/institutional_loan/general-info
    """
    payload, _, sent = query.rpartition(b"&signature=")
    if key.secret is not None:
        expected = hmac.new(key.secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), sent.lower())
    text = unquote(sent.decode("latin-1"))
    if quote(text, safe="").encode() != sent:
        return False  # the + / = of base64 must be percent-encoded
    try:
        signature = base64.b64decode(text, validate=True)
        if isinstance(key.public_key, RSAPublicKey):
            key.public_key.verify(signature, payload, PKCS1v15(), SHA256())
        elif key.public_key is not None:
            key.public_key.verify(signature, payload)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return key.public_key is not None
