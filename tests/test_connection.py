"""The connection: what each field may hold, and the sentence for what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_loan.connection import Settings, to_settings
from airflow_provider_binance_loan.exceptions import ConfigurationError

PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KEY, SECRET = "the-api-key", "the-hmac-secret"


def settings(**fields: Any) -> Settings:
    extra = fields.pop("extra", {})
    defaults = {"conn_id": "c", "conn_type": "binance_loan", "login": KEY, "password": SECRET}
    text = extra if isinstance(extra, str) else json.dumps(extra)
    return to_settings(Connection(**{**defaults, **fields, "extra": text}))


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
def test_finds_the_address(fields: dict[str, Any], base_url: str) -> None:
    """The host may be a name or a base URL, with the port in it or beside it."""
    assert settings(**fields).base_url == base_url


def test_has_defaults_for_all_that_is_optional() -> None:
    """A key and a secret are enough."""
    made = settings()
    assert (made.recv_window, made.timeout, made.proxy, made.verify, made.max_concurrency) == (
        5000,
        15,
        None,
        True,
        8,
    )
    assert made.credentials.api_key == KEY


@pytest.mark.parametrize(
    "extra",
    [
        {"recv_window": 100, "timeout": 2.5, "max_concurrency": 3, "verify": False},
        {"recv_window": "100", "timeout": "2.5", "max_concurrency": "3", "verify": "false"},
        {"recv_window": 100.0, "timeout": "2.50", "max_concurrency": "3.0", "verify": "False"},
    ],
)
def test_takes_numbers_as_the_form_stores_them(extra: dict[str, Any]) -> None:
    """Numbers and switches may come as text."""
    made = settings(extra=extra)
    assert (made.recv_window, made.timeout, made.max_concurrency, made.verify) == (100, 2.5, 3, False)


def test_takes_untouched_fields_as_unset() -> None:
    """The form stores what nobody filled in as null, or as an empty text."""
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


@pytest.mark.parametrize("where", ["password", "private_key", "private_key_file"])
def test_finds_a_private_key_wherever_it_is(where: str, tmp_path: Path) -> None:
    """The kind of key is found by reading it, in whichever field it is."""
    file = tmp_path / "key.pem"
    file.write_text(PEM)
    fields: dict[str, dict[str, Any]] = {
        "password": {"password": PEM},
        "private_key": {"password": None, "extra": {"private_key": PEM}},
        "private_key_file": {"password": None, "extra": {"private_key_file": str(file)}},
    }
    assert len(settings(**fields[where]).credentials.sign(b"payload")) == 88  # an Ed25519 signature


def test_takes_a_ca_bundle(tmp_path: Path) -> None:
    """Certificates may be checked against a bundle of one's own."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert settings(extra={"verify": str(bundle)}).verify == str(bundle)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": None}, "login is empty"),
        ({"login": ""}, "login is empty"),
        ({"login": "key "}, r"login \(the API key\) has white space around it"),
        ({"login": "ke\ny"}, r"login \(the API key\) has a character that no Binance key has"),
        ({"login": "ke y"}, r"login \(the API key\) has a character"),
        ({"login": "kéy"}, r"login \(the API key\) has a character"),
        ({"password": None}, "password is empty: put the HMAC secret there"),
        ({"password": "\tsecret"}, r"password \(the HMAC secret\) has white space around it"),
        ({"password": "sec\x00ret"}, r"password \(the HMAC secret\) has a character"),
        (
            {"host": "http://api.binance.com"},
            "host is 'http://api.binance.com': plain http would send the API key in the clear",
        ),
        ({"host": "http://127.0.0.1.example.com"}, "host is .*: plain http"),
        ({"host": "ftp://api.binance.com"}, "host has the scheme 'ftp'"),
        ({"host": "https://user:pass@api.binance.com"}, "host is not a host name or a base URL"),
        ({"host": "https://api.binance.com?x=1"}, "host is not a host name or a base URL"),
        ({"host": "https://api.binance.com#x"}, "host is not a host name or a base URL"),
        ({"host": "https://"}, "host is not a host name or a base URL"),
        ({"host": "api binance com"}, "host is not a host name or a base URL"),
        ({"host": "api.binance.com:http"}, "host is 'api.binance.com:http'"),
        ({"host": "api.binance.com:99999"}, "host is 'api.binance.com:99999'"),
        ({"host": "api.binance.com:1", "port": 2}, "port is 2, and host says 1"),
        ({"host": "a..b.com"}, "host is not a host name or a base URL"),
        ({"host": "xn--a.éxample"}, "host is not a host name or a base URL"),
        ({"host": "a" * 64 + ".com"}, "host is not a host name or a base URL"),
        ({"port": 70000}, "port is 70000"),
        ({"port": -1}, "port is -1"),
        ({"schema": "https"}, "schema is not used"),
        ({"extra": "{"}, "extra is not JSON"),
        ({"extra": "[]"}, "extra is not a JSON object"),
        ({"extra": {"recvWindow": 1}}, "extra has recvWindow: it knows recv_window, timeout"),
        ({"extra": {"b": 1, "a": 1}}, "extra has a, b: it knows"),
        ({"extra": {"recv_window": 0}}, "recv_window is 0: give a whole number from 1 to 59999"),
        ({"extra": {"recv_window": 60000}}, "recv_window is 60000"),
        ({"extra": {"recv_window": 1.5}}, "recv_window is 1.5: give a whole number"),
        ({"extra": {"recv_window": "soon"}}, "recv_window is 'soon'"),
        ({"extra": {"recv_window": True}}, "recv_window is True"),
        ({"extra": {"timeout": 0}}, "timeout is 0: give a number from 1 to 600"),
        ({"extra": {"timeout": "nan"}}, "timeout is 'nan'"),
        ({"extra": {"timeout": [1]}}, r"timeout is \[1\]"),
        ({"extra": {"max_concurrency": 10**400}}, "max_concurrency is 1000"),
        ({"extra": {"max_concurrency": 33}}, "max_concurrency is 33: give a whole number from 1 to 32"),
        ({"extra": {"verify": "/no/such/file"}}, "verify is '/no/such/file': give true, false, or the path"),
        ({"extra": {"verify": 1}}, "verify is 1"),
        ({"extra": {"proxies": "proxy:3128"}}, "proxies is not the URL of an http or https proxy"),
        ({"extra": {"proxies": "ftp://proxy"}}, "proxies is not the URL"),
        ({"extra": {"proxies": "http://proxy:abc"}}, "proxies is not the URL"),
        ({"extra": {"proxies": 3128}}, "proxies is not the URL"),
        ({"extra": {"proxies": "{"}}, "proxies begins with { and is not JSON"),
        ({"extra": {"proxies": {"all": "http://proxy"}}}, "proxies has all: it knows http and https only"),
        ({"extra": {"private_key": PEM}}, "password and private_key are both filled in"),
        (
            {"password": None, "extra": {"private_key": PEM, "private_key_file": "/k"}},
            "private_key and private_key_file are both filled in",
        ),
        ({"extra": {"private_key_passphrase": "p"}}, "private_key_passphrase is filled in, but there is no"),
        ({"password": None, "extra": {"private_key": 5}}, "private_key is not a text"),
        (
            {"password": None, "extra": {"private_key": PEM, "private_key_passphrase": 5}},
            "private_key_passphrase is not a text",
        ),
        ({"password": None, "extra": {"private_key": "garbage"}}, "private_key holds no private key"),
        ({"password": None, "extra": {"private_key_file": 5}}, "private_key_file is not a text"),
        (
            {"password": None, "extra": {"private_key_file": "/no/such/file"}},
            "private_key_file '/no/such/file' cannot be read: No such file",
        ),
        (
            {"password": None, "extra": {"private_key_file": "~nobody-here/key"}},
            "private_key_file '~nobody-here/key' cannot be read: it is no text file, or no path",
        ),
        ({"password": None, "extra": {"private_key_file": "/"}}, "private_key_file '/' cannot be read"),
    ],
)
def test_says_which_field_is_wrong(fields: dict[str, Any], says: str) -> None:
    """Each wrong field has its own sentence, which names the connection and repeats no secret."""
    with pytest.raises(ConfigurationError, match=f"^Connection 'c': {says}") as caught:
        settings(**fields)
    for secret in (KEY, SECRET, "user:pass", PEM.splitlines()[1]):
        assert secret not in str(caught.value)


def test_shows_no_secret_in_its_repr() -> None:
    """Settings can be printed by accident without telling anything."""
    assert repr(settings()) == "Settings(base_url='https://api.binance.com')"


@pytest.mark.parametrize(
    "form", [PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", " "), PEM.replace("\n", "")]
)
def test_masks_every_secret_in_every_form(form: str, mocker: Any) -> None:
    """The masker is told the key, the secret and the passphrase, and a PEM whole and line by line."""
    told = mocker.patch("airflow_provider_binance_loan.masking.mask_secret")
    settings(password="the-hmac-secret", extra={"proxies": "http://user:the-proxy-secret@proxy"})
    settings(password=None, extra={"private_key": form})
    with pytest.raises(ConfigurationError, match="is not encrypted"):
        settings(password=None, extra={"private_key": form, "private_key_passphrase": "the-passphrase"})
    masked = {call.args[0] for call in told.call_args_list}
    assert {KEY, SECRET, "the-proxy-secret", "the-passphrase", form, PEM} <= masked
    assert PEM.splitlines()[1] in masked
    assert "PRIVATE" not in masked
