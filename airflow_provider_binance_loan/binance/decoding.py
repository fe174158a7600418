"""The JSON of an answer, decoded so that no digit changes and no key hides another."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import msgspec

# A number with a fraction or an exponent stays the text that was sent.
_decode = msgspec.json.Decoder(float_hook=str).decode


class Flaw(Enum):
    """Why a body cannot be used; the value completes a sentence that begins with "the answer"."""

    NOT_JSON = "is not JSON"
    CUT_OFF = "is cut off or damaged"
    TOO_LARGE = "has a number that is too long, or too many levels"
    NOT_STRICT = "has a number that is not finite, or an unpaired surrogate"
    KEY_TWICE = "has a key twice in one object"


class DecodingError(Exception):
    """A body cannot be used.

    :param flaw: why.
    """

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


def decode(body: bytes) -> Any:
    """Return the JSON of a body.

    :raises DecodingError: it is not JSON, or an object in it has a key twice.
    """
    try:
        payload = _decode(body)
    except (msgspec.ValidationError, RecursionError):
        flaw = Flaw.TOO_LARGE
    except (msgspec.DecodeError, UnicodeDecodeError):
        flaw = _flaw_of(body)
    else:
        if not may_have_key_twice(body, payload) or not _has_key_twice(body):
            return payload
        flaw = Flaw.KEY_TWICE
    raise DecodingError(flaw)


def _flaw_of(body: bytes) -> Flaw:
    if body.lstrip()[:1] not in {b"{", b"["}:
        return Flaw.NOT_JSON
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return Flaw.CUT_OFF
    return Flaw.NOT_STRICT  # Python's parser is more lenient, so the text is complete


def may_have_key_twice(body: bytes, payload: Any) -> bool:
    """Return whether a body has a key that its payload lacks, or may have one.

    Each key is followed by a colon, so a lost key shows by a missing colon in what the payload is written as.
    Where texts are escaped, a colon may be written otherwise, so that the numbers say nothing.

    :param payload: what the body was decoded to, with all its fields: dicts, or typed records.
    """
    return b"\\" in body or body.count(b":") != msgspec.json.encode(payload).count(b":")


class _KeyTwiceError(Exception):
    """An object has a key twice."""


def _has_key_twice(body: bytes) -> bool:
    """Return whether any object has a key twice. It takes four times as long as decoding."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise _KeyTwiceError

    try:
        json.loads(body, object_pairs_hook=check)
    except _KeyTwiceError:
        return True
    return False
