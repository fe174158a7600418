"""What no log may show: secrets, told to Airflow's masker, and signatures, cut out of HTTP clients' logs."""

from __future__ import annotations

import logging
import re
from typing import Any

from airflow.sdk.log import mask_secret

from airflow_provider_binance_loan.binance.signing import holds_pem, normalised_pem

# A PEM's last line may be short; what is shorter than this tells nothing, and would mask common words.
_SHORTEST_SECRET_LINE = 16

# These log the address of a request, with its query, at INFO or DEBUG.
_HTTP_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
)
# Of this package's requests alone, also where an address is quoted in another and so percent-encoded.
_EQUALS, _AND = "(?:=|%(?:25)*3D)", "(?:&|%(?:25)*26)"
_SIGNED = re.compile(
    rf"(timestamp{_EQUALS}-?\d+{_AND}signature{_EQUALS})(?:(?!%(?:25)*26)[^\s&\"'>)])+", re.IGNORECASE
)


def mask(secret: Any) -> None:
    """Mask a secret in each form in which it could be printed, a PEM also line by line."""
    if not isinstance(secret, str) or not secret:
        return
    forms = {secret, secret.strip(), normalised_pem(secret)}
    if holds_pem(secret):
        lines = {line for form in forms for line in form.replace("\\n", "\n").split()}
        forms |= {line for line in lines if len(line) >= _SHORTEST_SECRET_LINE}
    for form in forms:
        mask_secret(form)


def hide_signatures() -> None:
    """Let the HTTP clients log the requests of this package without their signatures."""
    for name in _HTTP_LOGGERS:
        logging.getLogger(name).addFilter(_without_signature)


def _without_signature(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if "signature" in text:
        record.msg, record.args = _SIGNED.sub(r"\1***", text), None
        record.exc_info = record.exc_text = None  # says the same again
    return True
