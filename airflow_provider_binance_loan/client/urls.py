"""URLs of hosts and proxies, taken only where both HTTP clients read them in the same way."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_binance_loan.client.redaction import is_asterisks, mask
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown, shown_unless_secret

DEFAULT_HOST = "https://api.binance.com"

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_MAX_HOSTNAME = 253
_SOCKS = re.compile(r"\s*socks\w*:", re.IGNORECASE)


def parse_base_url(host: str | None, port: int | None) -> str:
    """Return the base URL of a connection: scheme, host, port and path, without a slash at the end.

    :param host: a base URL, or a host name for https; Binance's when empty.
    :param port: the port; None or 0 for the scheme's own. The connection form's test button sends 0.
    :raises ConfigurationError: it is not a base URL, or its scheme is not safe for an API key.
    """
    text = (host or DEFAULT_HOST).strip()
    url = _split(text if "://" in text else f"https://{text}")
    if url is None or url.query or url.fragment or url.username is not None:
        # The value is not repeated: a key or a password may have been pasted there.
        raise ConfigurationError(
            "Give host as a host name or a base URL such as https://api.binance.com: it is neither."
        )
    hostname, written_port = url.hostname or "", url.port
    if url.scheme == "http" and not _is_loopback(hostname):
        raise ConfigurationError(
            f"Use https in host: it is {shown(text)}, which would send the API key in the clear. Plain http "
            "is accepted for this machine's own addresses alone."
        )
    if url.scheme not in {"http", "https"}:
        raise ConfigurationError(f"Use https in host: its scheme is {shown_unless_secret(url.scheme)}.")
    if port and not 0 < port < 65_536:
        raise ConfigurationError(f"Give port as a number from 1 to 65535, or leave it empty: it is {port}.")
    if port and written_port and port != written_port:
        raise ConfigurationError(
            f"Give the port once: port is {port}, and the one in host is {written_port}."
        )
    return f"{url.scheme}://{_netloc(hostname, port or written_port)}{url.path.rstrip('/')}"


def parse_proxy(value: Any, name: str) -> str:
    """Return the URL of a proxy; its password is masked in logs.

    :param value: the URL, with `user:password@` where the proxy asks for it.
    :param name: what an error message calls it. The message does not repeat the URL: it may hold a password.
    :raises ConfigurationError: it is not the URL of an http or https proxy.
    """
    url = _split(value) if isinstance(value, str) else None
    if isinstance(value, str) and _SOCKS.match(value):
        raise ConfigurationError(f"Give {name} as an http or https URL: SOCKS is not supported.")
    if url is None or url.scheme not in {"http", "https"} or url.path.strip("/") or url.query or url.fragment:
        raise ConfigurationError(
            f"Give {name} as an http or https URL: it is not one of a proxy, such as http://proxy:3128."
        )
    if (url.username is None) != (url.password is None):
        raise ConfigurationError(f"Write user:password@ in {name}: it has a user without a password.")
    if is_asterisks(url.password):
        raise ConfigurationError(
            f"Put the proxy's password into {name}: these are Airflow's asterisks, not the secret."
        )
    if not unquote(f"{url.username}{url.password}").isascii():
        raise ConfigurationError(f"Use ASCII for user and password in {name}: they have other characters.")
    for form in (url.password, unquote(url.password or "")):
        mask(form)
    return url.geturl()


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL; None where host or port are invalid, or may be read in two ways."""
    try:
        url = urlsplit(text)
        hostname, port = url.hostname or "", url.port
    except ValueError:
        return None
    user, _, rest = url.netloc.rpartition("@")
    sound = (
        text.isascii()
        and text.isprintable()
        and not set(" \\") & set(text)
        and "@" not in user
        and rest.lower() == _netloc(hostname, port)
        and port != 0
        and hostname not in {"http", "https"}  # from a misspelt scheme, as in https:/host
        and len(hostname) <= _MAX_HOSTNAME
        and (_HOSTNAME.fullmatch(hostname) or _is_address(hostname))
    )
    return url if sound else None


def _netloc(hostname: str, port: int | None) -> str:
    name = f"[{hostname}]" if ":" in hostname else hostname
    return name if port is None else f"{name}:{port}"


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True


def _is_loopback(hostname: str) -> bool:
    return hostname == "localhost" or (_is_address(hostname) and ipaddress.ip_address(hostname).is_loopback)
