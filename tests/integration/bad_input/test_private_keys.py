"""Private keys: each is taken in whatever form it is pasted, and what is wrong with one is named."""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from tests.support.bad_input import HUSH, Case, Environment, pull_sync, raised


def pem_of(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, encryption).decode())


def certificate_of(key: ed25519.Ed25519PrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mine")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    return made.public_bytes(Encoding.PEM).decode()


ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
ED25519_PEM, RSA_PEM = pem_of(ED25519), pem_of(RSA)
SHORT_RSA_PEM = pem_of(rsa.generate_private_key(65537, 1024))
PASSPHRASE = "hush-passphrase"
ENCRYPTED = pem_of(ED25519, passphrase=PASSPHRASE.encode())
TRADITIONAL = PrivateFormat.TraditionalOpenSSL
PUBLIC = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Pem(NamedTuple):
    """A PEM, its passphrase, and the private key that it holds."""

    text: str
    passphrase: str | None = None
    key: Any = None


KEYS = {
    "ed25519": Pem(ED25519_PEM, key=ED25519),
    "rsa": Pem(RSA_PEM, key=RSA),
    "old-style rsa": Pem(pem_of(RSA, TRADITIONAL), key=RSA),
    "behind its certificate": Pem(certificate_of(ED25519) + ED25519_PEM, key=ED25519),
    "with a byte order mark": Pem("\ufeff" + ED25519_PEM, key=ED25519),
    "encrypted ed25519": Pem(ENCRYPTED, PASSPHRASE, ED25519),
    "encrypted rsa": Pem(pem_of(RSA, passphrase=PASSPHRASE.encode()), PASSPHRASE, RSA),
    "old-style encrypted rsa": Pem(pem_of(RSA, TRADITIONAL, PASSPHRASE.encode()), PASSPHRASE, RSA),
}
WRONG_KEYS = {
    "public": Pem(PUBLIC),
    "certificate": Pem(certificate_of(ED25519)),
    "ec": Pem(pem_of(ec.generate_private_key(ec.SECP256R1()))),
    "dsa": Pem(pem_of(dsa.generate_private_key(1024))),
    "ed448": Pem(pem_of(ed448.Ed448PrivateKey.generate())),
    "openssh": Pem(pem_of(ED25519, PrivateFormat.OpenSSH)),
    "short rsa": Pem(SHORT_RSA_PEM),
    "damaged": Pem(ED25519_PEM.replace("MC", "MD")),
    "cut short": Pem(ED25519_PEM.replace(ED25519_PEM[60:70], "")),
    "empty": Pem("-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n"),
    "mislabelled": Pem(ED25519_PEM.replace(" PRIVATE", " RSA PRIVATE")),
    "no passphrase": Pem(ENCRYPTED),
    "wrong passphrase": Pem(ENCRYPTED, "hush"),
    "wrong passphrase of old style": Pem(pem_of(RSA, TRADITIONAL, PASSPHRASE.encode()), "hush"),
    "spaced passphrase": Pem(ENCRYPTED, f"{PASSPHRASE} "),
    "needless passphrase": Pem(ED25519_PEM, PASSPHRASE),
}
# As people paste it.
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda pem: pem,
    "no last line end": lambda pem: pem.strip(),
    "of windows": lambda pem: pem.replace("\n", "\r\n"),
    "written out": lambda pem: pem.replace("\n", "\\n"),
    "written out, of windows": lambda pem: pem.replace("\n", "\\r\\n"),
    "spaces": lambda pem: pem.replace("\n", " "),
    "joined": lambda pem: pem.replace("\n", ""),
    "indented": lambda pem: textwrap.indent(f"\n{pem}\n", "    "),
    "quoted": json.dumps,
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 without padding": lambda pem: base64.b64encode(pem.encode()).decode().rstrip("="),
    "base64 lines": lambda pem: base64.encodebytes(pem.encode()).decode(),
}
# Each form in each field that it may be pasted into, and a file.
PASTED = [
    *(
        pytest.param(place, form, id=f"{name} in {place}")
        for name, form in FORMS.items()
        for place in ("password", "private_key")
    ),
    pytest.param("private_key_file", FORMS["as it is"], id="file"),
]

CASES = [Case(name, "password", {"pem": pem}) for name, pem in WRONG_KEYS.items()]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a wrong key in the field `password`."""
    pem = case.given["pem"]
    with pasted(environment, case.field, pem.text, pem.passphrase):
        pull_sync()


@contextmanager
def pasted(environment: Environment, place: str, text: str, passphrase: str | None) -> Iterator[None]:
    """Define the connection with a key in one of the places for it."""
    fields: dict[str, Any] = {"extra": {"private_key_passphrase": passphrase}}
    if place == "password":
        fields["password"] = text
    else:
        fields["password"] = None
        if place == "private_key_file":
            (environment.folder / "key.pem").write_text(text)
            text = "{folder}/key.pem"
        fields["extra"][place] = text
    with environment.connection(**fields):
        yield


@pytest.fixture(autouse=True)
def unmasked(mocker: Any) -> None:
    """Leave the masker out: it would take longer over the lines of so many keys than all else does."""
    mocker.patch("airflow_provider_binance_loan.client.redaction.mask_secret")


@cache
def message_in_password(name: str, environment: Environment) -> str:
    """Return the message for a wrong key that was pasted unchanged into `password`."""
    wrong = Case(name, "password", {"pem": WRONG_KEYS[name]})
    return raised(ConfigurationError, lambda: provoke(wrong, environment)).message


@pytest.mark.parametrize(("place", "form"), PASTED)
@pytest.mark.parametrize("pem", KEYS.values(), ids=KEYS)
def test_takes_a_key_as_people_paste_it(pem: Pem, form: Any, place: str, environment: Environment) -> None:
    """A private key signs the same in whatever form a form field left it, and in whichever field it is."""
    with pasted(environment, place, form(pem.text), pem.passphrase):
        credentials = BinanceLoanHook()._settings().credentials
    scheme = (padding.PKCS1v15(), SHA256()) if pem.key is RSA else ()
    signature = base64.b64decode(credentials.sign(b"payload"))
    pem.key.public_key().verify(signature, b"payload", *scheme)


@pytest.mark.parametrize(("place", "form"), PASTED)
@pytest.mark.parametrize("name", WRONG_KEYS)
def test_names_the_field_of_a_wrong_key(
    name: str, form: Any, place: str, environment: Environment, refused: Any
) -> None:
    """A wrong key is described alike in whatever form it is pasted, and no line of it is shown."""
    pem = WRONG_KEYS[name]
    text = form(pem.text)
    lines = (line for line in f"{pem.text}\n{text}".split() if len(line) > 16 and "-----" not in line)
    with pasted(environment, place, text, pem.passphrase):
        error = refused(ConfigurationError, place, pull_sync, (HUSH, *lines))
    assert error.conn_id == "binance_loan_default"
    assert re.sub(rf"\b{place}\b", "password", error.message) == message_in_password(name, environment)
