"""Settings, parsed and validated from an Airflow connection; every secret in it is masked in logs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.pem import holds_pem
from airflow_provider_binance_loan.binance.signing import Credentials, hmac_signer
from airflow_provider_binance_loan.client.key_file import key_file_warnings, read_key_file
from airflow_provider_binance_loan.client.redaction import fingerprint, is_asterisks, mask
from airflow_provider_binance_loan.client.urls import parse_base_url, parse_proxy
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import is_number, shown_unless_secret

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "binance_loan"

_NUMERAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# Which characters Binance's keys have is not documented; quotes are often copied along with a key.
_TOKEN = re.compile(r"[!#-&(-~]+")
# How keys begin in base64: Ed25519, private and public, and any that is too long for an HMAC secret.
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
    """The settings of a connection; its `repr` shows no secret.

    :param conn_id: the id of the connection, for error messages.
    :param base_url: scheme, host, port and any path before Binance's own, without a slash at the end.
    :param credentials: the API key and its signer.
    :param recv_window: how old a request may be when Binance reads it, in milliseconds.
    :param timeout: how long to wait for an answer, in seconds.
    :param max_wait: the longest wait, in seconds, that Binance may ask for and a request waits out.
    :param proxy: the proxy's URL, or None for the environment's.
    :param verify: whether to check certificates, or the path of a CA bundle.
    :param max_concurrency: how many requests of a pull may run concurrently.
    :param fingerprint: a digest of all that they were parsed from, also of the secrets and a key's file.
    :param warnings: what works, and should be changed.
    """

    conn_id: str
    base_url: str
    credentials: Credentials
    recv_window: int
    timeout: float
    max_wait: float
    proxy: str | None
    verify: bool | str
    max_concurrency: int
    fingerprint: bytes
    warnings: tuple[str, ...] = ()

    @property
    def is_https(self) -> bool:
        """Whether requests are encrypted; those to this machine's own addresses need not be."""
        return self.base_url.startswith("https:")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(conn_id={self.conn_id!r}, base_url={self.base_url!r})"


def conn_id_to_show(conn_id: Any) -> str:
    """Return the id of a connection for error messages, unless a secret may have been pasted there."""
    shown = shown_unless_secret(conn_id)
    return conn_id if isinstance(conn_id, str) and shown == repr(conn_id) else shown


def parse_connection(connection: Connection) -> Settings:
    """Return the settings that a connection of type `binance_loan` holds.

    :raises ConfigurationError: a field is wrong; the message names it, and the error the connection.
    """
    conn_id = conn_id_to_show(connection.conn_id)
    try:
        return _parse(connection, conn_id)
    except ConfigurationError as error:
        message = error.message
    # Raised from a frame without secrets: error trackers record the locals of every frame of an error.
    del connection
    raise ConfigurationError(message, conn_id=conn_id)


def _parse(connection: Connection, conn_id: str) -> Settings:
    if connection.conn_type and connection.conn_type.replace("-", "_") != CONN_TYPE:
        raise ConfigurationError(
            f"Use a connection of type {CONN_TYPE}: conn_type is {shown_unless_secret(connection.conn_type)}."
        )
    extra = _parse_extra(connection.extra)
    for secret in (
        connection.login,
        connection.password,
        extra.get("private_key"),
        extra.get("private_key_passphrase"),
    ):
        mask(secret)
    _refuse_asterisks(connection.login, connection.password, extra)
    base_url = parse_base_url(connection.host, connection.port)
    if connection.schema:
        raise ConfigurationError("Leave schema empty, and put https:// into host: schema is not used.")
    api_key = _parse_api_key(connection.login)
    name, secret = _find_secret(connection.password, extra)
    return Settings(
        conn_id=conn_id,
        base_url=base_url,
        credentials=Credentials(api_key, _parse_signer(name, secret, extra.get("private_key_passphrase"))),
        # https://developers.binance.com/legacy-docs/institutional_loan/general-info says "not greater than
        # 60000" in one place and "less than" in another.
        recv_window=int(_parse_number(extra, "recv_window", 5000, 1, 59_999, whole=True)),
        timeout=_parse_number(extra, "timeout", 15, 1, 600),
        max_wait=_parse_number(extra, "max_wait", 60, 0, 3600),
        proxy=_parse_proxies(extra.get("proxies"), base_url),
        verify=_parse_verify(extra.get("verify")),
        max_concurrency=int(_parse_number(extra, "max_concurrency", 16, 1, 64, whole=True)),
        fingerprint=fingerprint(base_url, connection.login, secret, connection.extra),
        warnings=key_file_warnings(extra.get("private_key_file")),
    )


def _parse_extra(text: str | None) -> dict[str, Any]:
    """Return the extras that are filled in; the connection form stores untouched fields as null."""
    extra = _parse_json(text or "{}", "extra")
    if not isinstance(extra, dict):
        raise ConfigurationError("Give extra as a JSON object: it is JSON of another type.")
    _refuse_unknown(extra, "extra", EXTRAS)
    return {name: value for name, value in extra.items() if value is not None and value != ""}


def _parse_json(text: str, name: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        raise ConfigurationError(f"Give {name} as JSON: it cannot be parsed.") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(
            f"Correct {name}: it has an unpaired surrogate, a number too long, or too many levels."
        ) from None
    return value


def _refuse_unknown(given: Mapping[str, Any], name: str, known: Sequence[str]) -> None:
    if unknown := sorted(given.keys() - set(known)):
        raise ConfigurationError(
            f"Correct or remove {shown_unless_secret(unknown[0])} in {name}: it may have {', '.join(known)}."
        )


def _parse_api_key(login: str | None) -> str:
    if not login:
        raise ConfigurationError("Put the API key into login: it is empty.")
    return _parse_token(login, "the API key", "login")


def _refuse_asterisks(login: str | None, password: str | None, extra: Mapping[str, Any]) -> None:
    """Refuse what Airflow shows in place of a secret, and somebody has copied."""
    for value, what, name in (
        (login, "the API key", "login"),
        (password, "the secret", "password"),
        (extra.get("private_key"), "the private key", "private_key"),
        (extra.get("private_key_passphrase"), "the passphrase", "private_key_passphrase"),
        (extra.get("private_key_file"), "the path", "private_key_file"),
    ):
        if is_asterisks(value):
            raise ConfigurationError(
                f"Put {what} into {name}: these are Airflow's asterisks, not the secret."
            )


def _find_secret(password: str | None, extra: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the text of the one secret that is filled in; of a key's file, what it holds."""
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
    if not sources:
        raise ConfigurationError(
            "Put the HMAC secret into password, or a private key into private_key: both are empty."
        )
    if len(sources) > 1:
        raise ConfigurationError(
            f"Keep only the one that belongs to the API key: {' and '.join(sources)} are filled in."
        )
    ((name, value),) = sources.items()
    for field, text in ((name, value), ("private_key_passphrase", passphrase)):
        if text is not None and not isinstance(text, str):
            raise ConfigurationError(f"Give {field} as text: it is of type {type(text).__name__}.")
    if name == "private_key_file":
        value = _read_key_file(value)
        mask(value)
    return name, value


def _parse_signer(name: str, value: str, passphrase: str | None) -> Callable[[bytes], str]:
    """Return the signing function of a secret, whose type is found by reading it."""
    if name == "password" and not holds_pem(value):
        if passphrase:
            raise ConfigurationError("Leave private_key_passphrase empty: there is no private key.")
        bare = "".join(value.split())
        if _KEY_BODY.match(bare):
            raise ConfigurationError(
                "Paste all of the private key, with its -----BEGIN and -----END lines: password has a key "
                "without them."
            )
        return hmac_signer(_parse_token(value, "the HMAC secret", "password"))
    from airflow_provider_binance_loan.binance.private_key import private_key_signer

    return private_key_signer(value, passphrase, name)


def _read_key_file(path: str) -> str:
    if holds_pem(path):
        mask(path)
        raise ConfigurationError("Put the PEM into private_key: private_key_file holds it, and not its path.")
    return read_key_file(path)


def _parse_token(text: str, what: str, name: str) -> str:
    if text.strip() != text:
        raise ConfigurationError(f"Paste {what} again without white space around it: {name} has some.")
    if not _TOKEN.fullmatch(text):
        raise ConfigurationError(f"Paste {what} again: {name} has a character that no key of Binance has.")
    if text.lower() in {"none", "null"}:
        raise ConfigurationError(f"Put {what} into {name}: it is the text {text}.")
    return text


def _parse_number(
    extra: Mapping[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    value = extra.get(name, default)
    number = float(value) if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()) else value
    if not is_number(number, low, high) or (whole and number != int(number)):
        number_type = "a whole number" if whole else "a number"
        raise ConfigurationError(
            f"Give {name} as {number_type} from {low} to {high}: it is {shown_unless_secret(value)}."
        )
    return float(number)


def _parse_proxies(value: Any, base_url: str) -> str | None:
    """Return the proxy for the host's scheme, from a URL or from an object such as `{"https": URL}`."""
    scheme = base_url.partition(":")[0]
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _parse_json(value, "proxies")
    if isinstance(value, Mapping):
        _refuse_unknown(value, "proxies", ("http", "https"))
        value = value.get(scheme)
    if value is None:
        return None
    proxy = parse_proxy(value, "proxies")
    if scheme == "http":
        raise ConfigurationError(
            "Leave proxies empty, or use https in host: a proxy would be given the API key in the clear."
        )
    return proxy


def _parse_verify(value: Any) -> bool | str:
    if value is None:
        return True
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.strip().lower() in {"true", "false"}:
            return value.strip().lower() == "true"
        with suppress(OSError, ValueError):  # of a text that cannot be a path
            if Path(value).is_file():
                return value
    raise ConfigurationError(
        f"Give verify as true, false, or the path of a CA bundle: it is {shown_unless_secret(value)}."
    )
