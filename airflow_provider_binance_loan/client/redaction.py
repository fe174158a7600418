"""Redaction: of secrets by Airflow's masker or by a digest, of signatures by a filter on loggers."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from typing import Any

from airflow.sdk.log import mask_secret

from airflow_provider_binance_loan.binance.pem import holds_pem, normalised_pem

# Of this process alone, so that a digest says nothing to others.
_FINGERPRINT_KEY = os.urandom(32)
# A PEM's last line may be short; a shorter one reveals nothing, and masking it would hide common words.
_MIN_SECRET_LINE = 16

# Loggers that write a request's URL, with its query, at INFO or DEBUG.
_HTTP_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
)
# The signature of this package's requests alone, also where a URL is quoted in another and percent-encoded.
_EQUALS, _AND = "(?:=|%(?:25)*3D)", "(?:&|%(?:25)*26)"
_SIGNED = re.compile(
    rf"(timestamp{_EQUALS}-?\d+{_AND}signature{_EQUALS})(?:(?!%(?:25)*26)[^\s&\"'>)])+", re.IGNORECASE
)


def is_asterisks(value: Any) -> bool:
    """Return whether a value is what Airflow shows in place of a secret."""
    return isinstance(value, str) and len(value.strip()) >= 3 and not value.strip().strip("*")


def mask(secret: Any) -> None:
    """Mask a secret in each form in which it could be printed, a PEM also line by line."""
    if not isinstance(secret, str) or not secret:
        return
    forms = {secret, secret.strip(), normalised_pem(secret)}
    if holds_pem(secret):
        lines = {line for form in forms for line in form.replace("\\n", "\n").split()}
        forms |= {line for line in lines if len(line) >= _MIN_SECRET_LINE}
    for form in forms:
        mask_secret(form)


def hide_signatures() -> None:
    """Remove the signatures of this package's requests from what the HTTP clients log."""
    for name in _HTTP_LOGGERS:
        logging.getLogger(name).addFilter(_remove_signature)


def _remove_signature(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if "signature" in text:
        record.msg, record.args = _SIGNED.sub(r"\1***", text), None
        record.exc_info = record.exc_text = None  # repeats the message
    return True


def fingerprint(*secrets: str | None) -> bytes:
    """Return a digest by which secrets can be compared in this process; it says nothing about them."""
    return hashlib.blake2b(repr(secrets).encode(), key=_FINGERPRINT_KEY).digest()
