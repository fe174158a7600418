"""Signatures, against the vectors that Binance publishes and others computed independently."""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from airflow_provider_binance_loan.binance.signing import (
    Credentials,
    encoded,
    hmac_signer,
    holds_pem,
    normalised_pem,
    private_key_signer,
    signed_query,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "signing-vectors.json").read_text())["vectors"]


def pem_of(der_base64: str, *, encrypted: bool) -> str:
    label = "ENCRYPTED PRIVATE KEY" if encrypted else "PRIVATE KEY"
    return "\n".join(
        [f"-----BEGIN {label}-----", *textwrap.wrap(der_base64, 64), f"-----END {label}-----", ""]
    )


def signer_of(key: dict[str, Any]) -> Any:
    if "secret" in key:
        return hmac_signer(key["secret"])
    passphrase = key.get("passphrase")
    pem = pem_of(key["pkcs8_der_base64"], encrypted=passphrase is not None)
    return private_key_signer(pem, passphrase, "private_key")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_signs_each_vector(vector: dict[str, Any]) -> None:
    """The signature of each vector's payload is the published one."""
    assert signer_of(vector["key"])(vector["payload"].encode()) == vector["signature"]


WITH_PARAMS = [vector for vector in VECTORS if vector["params"]]


@pytest.mark.parametrize("vector", WITH_PARAMS, ids=lambda vector: vector["id"])
def test_encodes_the_parameters_of_each_vector(vector: dict[str, Any]) -> None:
    """The parameters become the vector's payload, byte for byte."""
    assert encoded([tuple(param) for param in vector["params"]]) == vector["payload"]


@pytest.mark.parametrize(
    "vector",
    [vector for vector in WITH_PARAMS if vector["params"][-1][0] == "timestamp"],
    ids=lambda vector: vector["id"],
)
def test_builds_the_query_of_each_vector(vector: dict[str, Any]) -> None:
    """The query string is the vector's payload and its percent-encoded signature, byte for byte."""
    *params, (_, timestamp) = vector["params"]
    credentials = Credentials("key", signer_of(vector["key"]))
    query = signed_query([tuple(param) for param in params], credentials, int(timestamp))
    assert query == f"{vector['payload']}&signature={vector['signature_in_query']}"


ED25519 = ed25519.Ed25519PrivateKey.generate()
PEM = ED25519.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
RSA_PEM = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    .decode()
)
ENCRYPTED = ED25519.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")
).decode()
EC_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
PUBLIC = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "pasted",
    [
        PEM,
        PEM.strip(),
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", " "),
        PEM.replace("\n", ""),
        base64.b64encode(PEM.encode()).decode(),
        textwrap.fill(base64.b64encode(PEM.encode()).decode(), 64),
        f"\n  {PEM}  \n",
    ],
    ids=["as is", "no end", "crlf", "escaped", "spaces", "joined", "base64", "base64 lines", "indented"],
)
def test_reads_a_key_as_people_paste_it(pasted: str) -> None:
    """A private key signs the same in whatever form a form field left it."""
    assert holds_pem(pasted)
    signature = private_key_signer(pasted, None, "private_key")(b"payload")
    ED25519.public_key().verify(base64.b64decode(signature), b"payload")


def test_reads_an_old_style_rsa_key() -> None:
    """A PKCS#1 PEM signs too."""
    assert private_key_signer(RSA_PEM, None, "private_key")(b"payload")


@pytest.mark.parametrize(
    ("pem", "passphrase", "says"),
    [
        (PUBLIC, None, "private_key holds no private key.*not the public key"),
        ("garbage", None, "private_key holds no private key: paste the PEM"),
        (EC_PEM, None, "private_key holds a key of type ?E"),
        (ENCRYPTED, None, "private_key is encrypted: fill in private_key_passphrase"),
        (
            ENCRYPTED,
            "wrong",
            "private_key cannot be read with this private_key_passphrase.*passphrase is wrong",
        ),
        (PEM, "needless", "private_key is not encrypted: leave private_key_passphrase empty"),
        (PEM.replace("MC", "MD"), None, "private_key cannot be read: the PEM is damaged"),
    ],
    ids=["public", "garbage", "ec", "no passphrase", "wrong passphrase", "needless passphrase", "damaged"],
)
def test_refuses_what_is_no_usable_key(pem: str, passphrase: str | None, says: str) -> None:
    """Each wrong key has its own sentence, which names the field and repeats nothing of the key."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        private_key_signer(pem, passphrase, "private_key")
    assert "-----END" not in str(caught.value)
    assert passphrase is None or f" {passphrase}" not in str(caught.value).replace("is wrong", "")


def test_leaves_what_holds_no_pem_alone() -> None:
    """An HMAC secret is no PEM, also where it happens to be base64."""
    for secret in ("a" * 64, base64.b64encode(b"\xff" * 48).decode(), ""):
        assert not holds_pem(secret)
        assert normalised_pem(secret) == secret


def test_shows_no_secret_in_its_repr() -> None:
    """Credentials can be printed by accident without telling anything."""
    assert repr(Credentials("the-key", hmac_signer("the-secret"))) == "Credentials()"
