"""TLS contexts, and the certificates that they trust."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from airflow_provider_binance_loan.client.settings import Settings

# Environment variables that name a CA bundle, in the order in which `requests` and OpenSSL read them.
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for a connection: with its CA bundle, else the environment's, else certifi's.

    Contexts are shared by all clients of the process, since each costs much time and memory.

    :raises ConfigurationError: the CA bundle holds no certificates.
    """
    if not settings.is_https:
        return _shared_context(verify=False)  # never used
    if isinstance(settings.verify, str):
        bundles = {"verify": settings.verify}
    else:
        names = _BUNDLE_VARIABLES if settings.verify else ()
        bundles = {name: os.environ[name] for name in names if os.environ.get(name)}
    for name, path in bundles.items():
        try:
            return _shared_context(path)
        except OSError:
            raise ConfigurationError(
                f"Correct {name}, which is not a CA bundle: {shown(path)} holds no certificates.",
                conn_id=settings.conn_id,
            ) from None
    return _shared_context(settings.verify)


def _shared_context(verify: bool | str) -> ssl.SSLContext:
    # A bundle that is renewed in place is read again: a triggerer runs for weeks.
    changed_ns = Path(verify).stat().st_mtime_ns if isinstance(verify, str) else 0
    return _new_context(verify, changed_ns)


@lru_cache(maxsize=8)
def _new_context(verify: bool | str, changed_ns: int) -> ssl.SSLContext:  # noqa: ARG001 - the key
    if isinstance(verify, str):
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    if verify:
        return ssl.create_default_context(cafile=certifi.where())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
