"""Settings: what each field of a connection may hold, and what is masked in logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_loan.client.settings import Settings, parse_connection
from airflow_provider_binance_loan.exceptions import ConfigurationError

PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KEY, SECRET = "the-api-key", "the-hmac-secret"


def settings(**fields: Any) -> Settings:
    extra = fields.pop("extra", {})
    defaults = {"conn_id": "c", "conn_type": "binance_loan", "login": KEY, "password": SECRET}
    text = extra if isinstance(extra, str) else json.dumps(extra)
    return parse_connection(Connection(**{**defaults, **fields, "extra": text}))


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://api.binance.com"),
        ({"host": ""}, "https://api.binance.com"),
        ({"host": "api1.binance.com"}, "https://api1.binance.com"),
        ({"host": "https://api1.binance.com/"}, "https://api1.binance.com"),
        ({"host": " api1.binance.com "}, "https://api1.binance.com"),
        ({"host": "api1.binance.com:8443"}, "https://api1.binance.com:8443"),
        ({"host": "api1.binance.com", "port": 8443}, "https://api1.binance.com:8443"),
        ({"port": 0}, "https://api.binance.com"),
        ({"host": "https://gateway.example/binance/"}, "https://gateway.example/binance"),
        ({"host": "http://127.0.0.1", "port": 8099}, "http://127.0.0.1:8099"),
        ({"host": "http://localhost:8099"}, "http://localhost:8099"),
        ({"host": "http://[::1]:8099"}, "http://[::1]:8099"),
    ],
)
def test_builds_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    """The host may be a name or a base URL, with the port in it or in its own field."""
    assert settings(**fields).base_url == base_url


def test_has_defaults_for_all_that_is_optional() -> None:
    """A key and a secret are enough."""
    made = settings()
    assert (made.recv_window, made.timeout, made.max_wait, made.max_concurrency) == (5000, 15, 60, 16)
    assert (made.proxy, made.verify, made.conn_id) == (None, True, "c")
    assert made.credentials.api_key == KEY


@pytest.mark.parametrize("conn_type", ["binance_loan", "binance-loan", None, ""])
def test_needs_no_connection_type(conn_type: str | None) -> None:
    """Secrets backends may give a connection without a type."""
    assert settings(conn_type=conn_type).credentials.api_key == KEY


@pytest.mark.parametrize(
    "extra",
    [
        {"recv_window": 100, "timeout": 2.5, "max_concurrency": 3, "verify": False},
        {"recv_window": "100", "timeout": "2.5", "max_concurrency": "3", "verify": "false"},
        {"recv_window": 100.0, "timeout": "2.50", "max_concurrency": "3.0", "verify": "False"},
    ],
)
def test_takes_numbers_as_the_form_stores_them(extra: dict[str, Any]) -> None:
    """Numbers and switches may be texts."""
    made = settings(extra=extra)
    assert (made.recv_window, made.timeout, made.max_concurrency, made.verify) == (100, 2.5, 3, False)


def test_takes_untouched_fields_as_unset() -> None:
    """The form stores a field that nobody filled in as null, or as an empty text."""
    untouched = settings(extra={"recv_window": None, "timeout": "", "private_key": None, "verify": None})
    plain = settings()
    assert (untouched.recv_window, untouched.timeout, untouched.verify) == (
        plain.recv_window,
        plain.timeout,
        plain.verify,
    )


@pytest.mark.parametrize(
    ("proxies", "proxy"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ({"https": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ('{"https": "http://proxy.example:3128"}', "http://proxy.example:3128"),
        ({"http": "http://proxy.example:3128"}, None),
    ],
)
def test_finds_the_proxy(proxies: Any, proxy: str | None) -> None:
    """A proxy is a URL, or an object that names one for the scheme in use."""
    assert settings(extra={"proxies": proxies}).proxy == proxy


def test_takes_a_ca_bundle(tmp_path: Path) -> None:
    """Certificates may be checked against a bundle of one's own."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert settings(extra={"verify": str(bundle)}).verify == str(bundle)


def test_shows_no_secret_in_its_repr() -> None:
    """Settings can be printed by accident without showing a secret."""
    assert repr(settings()) == "Settings(conn_id='c', base_url='https://api.binance.com')"


@pytest.mark.parametrize(
    "form", [PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", " "), PEM.replace("\n", "")]
)
def test_masks_every_secret_in_every_form(form: str, mocker: Any) -> None:
    """The masker is given the key, the secret and the passphrase, and a PEM whole and line by line."""
    masker = mocker.patch("airflow_provider_binance_loan.client.redaction.mask_secret")
    settings(password="the-hmac-secret", extra={"proxies": "http://user:the-proxy-secret@proxy"})
    settings(password=None, extra={"private_key": form})
    with pytest.raises(ConfigurationError, match="is not encrypted"):
        settings(password=None, extra={"private_key": form, "private_key_passphrase": "the-passphrase"})
    masked = {call.args[0] for call in masker.call_args_list}
    assert {KEY, SECRET, "the-proxy-secret", "the-passphrase", form, PEM} <= masked
    assert PEM.splitlines()[1] in masked
    assert "PRIVATE" not in masked


def test_reads_a_key_file_by_a_link(tmp_path: Path) -> None:
    """A key file may be a link, as Kubernetes mounts secrets."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key.pem").write_text(PEM)
    (tmp_path / "key.pem").symlink_to(tmp_path / "..data" / "key.pem")
    by_file = settings(password=None, extra={"private_key_file": str(tmp_path / "key.pem")})
    by_text = settings(password=None, extra={"private_key": PEM})
    assert by_file.credentials.sign(b"text") == by_text.credentials.sign(b"text")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"login": "***"}, "Put the API key into login: these are Airflow's asterisks, not the secret."),
        (
            {"password": "***"},
            "Put the secret into password: these are Airflow's asterisks, not the secret.",
        ),
        (
            {"password": None, "extra": {"private_key": "***"}},
            "Put the private key into private_key: these are Airflow's asterisks, not the secret.",
        ),
        (
            {"password": None, "extra": {"private_key": PEM, "private_key_passphrase": "***"}},
            "Put the passphrase into private_key_passphrase: these are Airflow's asterisks, not the secret.",
        ),
    ],
)
def test_refuses_the_asterisks_of_airflow(fields: dict[str, Any], message: str) -> None:
    """What Airflow shows in place of a secret is not signed with."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**fields)
    assert caught.value.message == message
