"""From an Airflow connection to checked settings; every secret in it is masked. No socket, no request."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_binance_loan.binance.signing import (
    Credentials,
    hmac_signer,
    holds_pem,
    private_key_signer,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.masking import mask

if TYPE_CHECKING:
    from airflow.sdk import Connection

DEFAULT_HOST = "https://api.binance.com"

# What came is not repeated: a key or a password may have been pasted there.
_NO_HOST = "host is not a host name or a base URL such as https://api.binance.com."

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")

EXTRAS = (
    "recv_window",
    "timeout",
    "max_wait",
    "private_key",
    "private_key_passphrase",
    "private_key_file",
    "proxies",
    "verify",
    "max_concurrency",
)


@dataclass(frozen=True)
class Settings:
    """What a connection says, checked; its `repr` shows no secret.

    :param base_url: scheme, host, port and any path before Binance's own, without a slash at the end.
    :param credentials: the API key and its signer.
    :param recv_window: how old a request may be when Binance reads it, in milliseconds.
    :param timeout: how long to wait for an answer, in seconds.
    :param max_wait: the longest wait, in seconds, that Binance may ask for and a request sits out.
    :param proxy: the proxy's URL, or None for the environment's.
    :param verify: whether to check certificates, or the path of a CA bundle.
    :param max_concurrency: how many requests may run side by side.
    """

    base_url: str
    credentials: Credentials
    recv_window: int
    timeout: float
    max_wait: float
    proxy: str | None
    verify: bool | str
    max_concurrency: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"


def to_settings(connection: Connection) -> Settings:
    """Return the settings that a connection of type `binance_loan` holds.

    :raises ConfigurationError: a field is wrong; the message names the connection and the field.
    """
    conn_id = connection.conn_id
    try:
        return _checked(connection)
    except ConfigurationError as error:
        problem = str(error)
    # Outside the handler, and from a frame that holds no secret: error trackers record the variables of every
    # frame that an error came through.
    del connection
    raise ConfigurationError(f"Connection {conn_id!r}: {problem}")


def _checked(connection: Connection) -> Settings:
    extra = _extra(connection.extra)
    for secret in (
        connection.login,
        connection.password,
        extra.get("private_key"),
        extra.get("private_key_passphrase"),
    ):
        mask(secret)
    base_url = _base_url(connection.host, connection.port)
    if connection.schema:
        raise ConfigurationError("schema is not used: leave it empty and put https:// into host.")
    return Settings(
        base_url=base_url,
        credentials=Credentials(_api_key(connection.login), _signer(connection.password, extra)),
        # https://developers.binance.com/docs/institutional_loan/general-info says "not greater than 60000" in
        # one place and "less than" in another.
        recv_window=int(_number(extra, "recv_window", 5000, 1, 59_999, whole=True)),
        timeout=_number(extra, "timeout", 15, 1, 600),
        max_wait=_number(extra, "max_wait", 60, 0, 3600),
        proxy=_proxy(extra.get("proxies"), urlsplit(base_url).scheme),
        verify=_verify(extra.get("verify")),
        max_concurrency=int(_number(extra, "max_concurrency", 8, 1, 32, whole=True)),
    )


def _extra(text: str | None) -> dict[str, Any]:
    """Return the extras that are filled in; the connection form stores untouched fields as null."""
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        raise ConfigurationError("extra is not JSON.") from None
    if not isinstance(extra, dict):
        raise ConfigurationError("extra is not a JSON object.")
    unknown = sorted(extra.keys() - set(EXTRAS))
    if unknown:
        raise ConfigurationError(f"extra has {', '.join(unknown)}: it knows {', '.join(EXTRAS)} only.")
    return {name: value for name, value in extra.items() if value is not None and value != ""}


def _base_url(host: str | None, port: int | None) -> str:
    text = (host or DEFAULT_HOST).strip()
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        written_port = url.port
    except ValueError:
        raise ConfigurationError(_NO_HOST) from None
    hostname = url.hostname or ""
    named = _HOSTNAME.fullmatch(hostname) or _is_address(hostname)
    if not named or url.query or url.fragment or url.username is not None:
        raise ConfigurationError(_NO_HOST)
    if url.scheme == "http" and not _is_loopback(hostname):
        raise ConfigurationError(
            f"host is {text!r}: plain http would send the API key in the clear, and is taken for this "
            "machine's own addresses only; use https."
        )
    if url.scheme not in {"http", "https"}:
        raise ConfigurationError(f"host has the scheme {url.scheme!r}: use https.")
    if port and not 0 < port < 65_536:
        raise ConfigurationError(f"port is {port}: give one from 1 to 65535, or leave it empty.")
    if port and written_port and port != written_port:
        raise ConfigurationError(f"port is {port}, and host says {written_port}: give one of them.")
    name = f"[{hostname}]" if ":" in hostname else hostname
    effective_port = port or written_port  # the form's test button sends port 0 for none
    return f"{url.scheme}://{name}{f':{effective_port}' if effective_port else ''}{url.path.rstrip('/')}"


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True


def _is_loopback(hostname: str) -> bool:
    return hostname == "localhost" or (_is_address(hostname) and ipaddress.ip_address(hostname).is_loopback)


def _api_key(login: str | None) -> str:
    if not login:
        raise ConfigurationError("login is empty: put the API key there.")
    return _token(login, "login (the API key)")


def _signer(password: str | None, extra: Mapping[str, Any]) -> Any:
    """Return the signing function of the one secret that is filled in; its kind is found by reading it."""
    sources = {
        name: value
        for name, value in (
            ("password", password),
            ("private_key", extra.get("private_key")),
            ("private_key_file", extra.get("private_key_file")),
        )
        if value
    }
    passphrase = extra.get("private_key_passphrase")
    if len(sources) != 1:
        raise ConfigurationError(
            f"{' and '.join(sources)} are both filled in: keep one, the one that belongs to the API key."
            if sources
            else "password is empty: put the HMAC secret there, or a private key into private_key."
        )
    ((name, value),) = sources.items()
    for field, text in ((name, value), ("private_key_passphrase", passphrase)):
        if text is not None and not isinstance(text, str):
            raise ConfigurationError(f"{field} is not a text.")
    if name == "private_key_file":
        value = _read_key_file(value)
        mask(value)
    elif name == "password" and not holds_pem(value):
        if passphrase:
            raise ConfigurationError("private_key_passphrase is filled in, but there is no private key.")
        return hmac_signer(_token(value, "password (the HMAC secret)"))
    return private_key_signer(value, passphrase, name)


def _read_key_file(path: str) -> str:
    if holds_pem(path):
        mask(path)
        raise ConfigurationError("private_key_file holds a PEM and not its path: put it into private_key.")
    try:
        return Path(path).expanduser().read_text(encoding="ascii")
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text file, or no path"
        raise ConfigurationError(f"private_key_file {path!r} cannot be read: {reason}.") from None


def _token(text: str, name: str) -> str:
    if text.strip() != text:
        raise ConfigurationError(f"{name} has white space around it: paste it again without.")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigurationError(f"{name} has a character that no Binance key has: paste it again.")
    return text


def _number(
    extra: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = extra.get(name, default)
    try:
        number = float("no" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name} is {value!r}: give {kind} from {low} to {high}.")
    return number


def _proxy(value: Any, scheme: str) -> str | None:
    """Return the proxy for a scheme, from a URL or from an object such as `{"https": URL}`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            raise ConfigurationError("proxies begins with { and is not JSON.") from None
    if isinstance(value, Mapping):
        unknown = sorted(str(name) for name in value.keys() - {"http", "https"})
        if unknown:
            raise ConfigurationError(f"proxies has {', '.join(unknown)}: it knows http and https only.")
        value = value.get(scheme)
    if value is None:
        return None
    # What came is not repeated: a proxy's URL may hold a password.
    wrong = ConfigurationError("proxies is not the URL of an http or https proxy, nor an object of those.")
    if not isinstance(value, str):
        raise wrong
    try:
        url = urlsplit(value)
        hostname, password, _ = url.hostname, url.password, url.port
    except ValueError:
        raise wrong from None
    if url.scheme not in {"http", "https"} or not hostname:
        raise wrong
    for form in (password, unquote(password or "")):
        mask(form)
    return value


def _verify(value: Any) -> bool | str:
    if value is None:
        return True
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.strip().lower() in {"true", "false"}:
            return value.strip().lower() == "true"
        if Path(value).is_file():
            return value
    raise ConfigurationError(f"verify is {value!r}: give true, false, or the path of a CA bundle.")
