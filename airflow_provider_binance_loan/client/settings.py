"""From an Airflow connection to checked settings; every secret in it is masked. No socket, no request."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_binance_loan.binance.signing import (
    Credentials,
    hmac_signer,
    holds_pem,
    private_key_signer,
)
from airflow_provider_binance_loan.client.redaction import mask
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import is_number, shown, shown_unless_secret

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "binance_loan"
DEFAULT_HOST = "https://api.binance.com"

# What came is not repeated: a key or a password may have been pasted there.
_NO_HOST = "host is not a host name or a base URL such as https://api.binance.com."

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LONGEST_HOSTNAME = 253

_NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# Which characters Binance's keys have is not documented; quotes come along from where one was copied.
_TOKEN = re.compile(r"[!#-&(-~]+")
# How keys begin in base64: of Ed25519, private and public, and whatever is too long for an HMAC secret.
_KEY_BODY = re.compile(r"MC4CAQAwBQYDK2Vw|MCowBQYDK2Vw|MI[A-Za-z0-9+/=]{150}")

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


def parse_connection(connection: Connection) -> Settings:
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
    raise ConfigurationError(f"Connection {shown_unless_secret(conn_id)}: {problem}")


def _checked(connection: Connection) -> Settings:
    if connection.conn_type and connection.conn_type.replace("-", "_") != CONN_TYPE:
        raise ConfigurationError(
            f"conn_type is {shown_unless_secret(connection.conn_type)}: give one of type {CONN_TYPE}."
        )
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
        max_concurrency=int(_number(extra, "max_concurrency", 16, 1, 32, whole=True)),
    )


def _extra(text: str | None) -> dict[str, Any]:
    """Return the extras that are filled in; the connection form stores untouched fields as null."""
    extra = _json(text or "{}", "extra")
    if not isinstance(extra, dict):
        raise ConfigurationError("extra is not a JSON object.")
    _refuse_unknown(extra, "extra", EXTRAS)
    return {name: value for name, value in extra.items() if value is not None and value != ""}


def _json(text: str, name: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise ConfigurationError(f"{name} is not JSON.") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"{name} is JSON with half of a character, a number too long, or too many levels: mend it."
        ) from None
    return value


def _refuse_unknown(given: Mapping[str, Any], name: str, known: Sequence[str]) -> None:
    if unknown := sorted(given.keys() - set(known)):
        raise ConfigurationError(
            f"{name} has {shown_unless_secret(unknown[0])}: it knows {', '.join(known)} only."
        )


def _base_url(host: str | None, port: int | None) -> str:
    text = (host or DEFAULT_HOST).strip()
    url = _split(text if "://" in text else f"https://{text}")
    if url is None or url.query or url.fragment or url.username is not None:
        raise ConfigurationError(_NO_HOST)
    hostname, written_port = url.hostname or "", url.port
    if url.scheme == "http" and not _is_loopback(hostname):
        raise ConfigurationError(
            f"host is {shown(text)}: plain http would send the API key in the clear, and is taken for this "
            "machine's own addresses only; use https."
        )
    if url.scheme not in {"http", "https"}:
        raise ConfigurationError(f"host has the scheme {shown_unless_secret(url.scheme)}: use https.")
    if port and not 0 < port < 65_536:
        raise ConfigurationError(f"port is {port}: give one from 1 to 65535, or leave it empty.")
    if port and written_port and port != written_port:
        raise ConfigurationError(f"port is {port}, and host says {written_port}: give one of them.")
    # The form's test button sends port 0 for none.
    return f"{url.scheme}://{_netloc(hostname, port or written_port)}{url.path.rstrip('/')}"


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL; None where its host or its port is none, or may be read in two ways."""
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
        and hostname not in {"http", "https"}  # of an address whose scheme is written wrong
        and len(hostname) <= _LONGEST_HOSTNAME
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
        bare = "".join(value.split())
        if _KEY_BODY.match(bare):
            raise ConfigurationError(
                "password is a key without its first and last line: paste all of the private key, from "
                "-----BEGIN to -----END and the dashes after it."
            )
        return hmac_signer(_token(value, "password (the HMAC secret)"))
    return private_key_signer(value, passphrase, name)


def _read_key_file(path: str) -> str:
    if holds_pem(path):
        mask(path)
        raise ConfigurationError("private_key_file holds a PEM and not its path: put it into private_key.")
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8, or no path"
    # Only what cannot be a key that was pasted there is repeated.
    came = (
        f"private_key_file {shown_unless_secret(path)}"
        if path.startswith(("/", "~", "."))
        else "private_key_file"
    )
    raise ConfigurationError(f"{came} cannot be read: {reason}.")


def _token(text: str, name: str) -> str:
    if text.strip() != text:
        raise ConfigurationError(f"{name} has white space around it: paste it again without.")
    if not _TOKEN.fullmatch(text):
        raise ConfigurationError(f"{name} has a character that no Binance key has: paste it again.")
    if text.lower() in {"none", "null"}:
        raise ConfigurationError(f"{name} says {text}: put the key there.")
    return text


def _number(
    extra: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = extra.get(name, default)
    number = float(value) if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()) else value
    if not is_number(number, low, high) or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{name} is {shown_unless_secret(value)}: give {kind} from {low} to {high}.")
    return float(number)


def _proxy(value: Any, scheme: str) -> str | None:
    """Return the proxy for the host's scheme, from a URL or from an object such as `{"https": URL}`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _json(value, "proxies")
    if isinstance(value, Mapping):
        _refuse_unknown(value, "proxies", ("http", "https"))
        value = value.get(scheme)
    if value is None:
        return None
    proxy = parse_proxy(value, "proxies")
    if scheme == "http":
        raise ConfigurationError(
            "proxies is filled in, and host is plain http, to this machine: a proxy would be given the API "
            "key in the clear; leave it empty, or use https."
        )
    return proxy


def parse_proxy(value: Any, name: str) -> str:
    """Return the URL of a proxy that both HTTP clients take alike; its password is masked.

    :raises ConfigurationError: it is none; the message calls it `name` and does not repeat it, as it may hold
        a password.
    """
    url = _split(value) if isinstance(value, str) else None
    if url is None or url.scheme not in {"http", "https"} or url.path.strip("/") or url.query or url.fragment:
        raise ConfigurationError(f"{name} is not the URL of an http or https proxy.")
    if (url.username is None) != (url.password is None):
        raise ConfigurationError(f"{name} has a user without a password: write user:password@.")
    if not unquote(f"{url.username}{url.password}").isascii():
        raise ConfigurationError(f"{name} has a user or password beyond ASCII: give the proxy another.")
    for form in (url.password, unquote(url.password or "")):
        mask(form)
    return url.geturl()


def _verify(value: Any) -> bool | str:
    if value is None:
        return True
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.strip().lower() in {"true", "false"}:
            return value.strip().lower() == "true"
        with suppress(OSError, ValueError):  # of a text that no path can be
            if Path(value).is_file():
                return value
    raise ConfigurationError(
        f"verify is {shown_unless_secret(value)}: give true, false, or the path of a CA bundle."
    )
