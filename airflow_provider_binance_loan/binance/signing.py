"""Credentials, and the query string that they sign. Reads no clock: the timestamp is an argument.

https://developers.binance.com/legacy-docs/institutional_loan/general-info
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

Params = Sequence[tuple[str, str | int]]


@dataclass(frozen=True)
class Credentials:
    """An API key and the function that signs with its secret; its `repr` shows neither.

    :param api_key: the value of the `X-MBX-APIKEY` header.
    :param sign: returns the signature of a payload, not yet percent-encoded.
    """

    api_key: str = field(repr=False)
    sign: Callable[[bytes], str] = field(repr=False)


def signed_query(params: Params, credentials: Credentials, timestamp_ms: int) -> str:
    """Return the exact query string to send: the parameters, the timestamp, and the signature last.

    Binance checks the signature against the percent-encoded bytes in the order in which they are sent, so the
    returned text must go into the URL as it is.
    """
    payload = encode_params([*params, ("timestamp", timestamp_ms)])
    return f"{payload}&signature={quote(credentials.sign(payload.encode('ascii')), safe='')}"


def encode_params(params: Params) -> str:
    """Return parameters percent-encoded, in their order."""
    return urlencode(params, safe="", quote_via=quote)


def hmac_signer(secret: str) -> Callable[[bytes], str]:
    """Return the function that signs with an HMAC secret: SHA-256, in hex."""
    key = secret.encode()
    return lambda payload: hmac.new(key, payload, hashlib.sha256).hexdigest()
