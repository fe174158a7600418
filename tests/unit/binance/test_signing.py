"""Signatures, against the vectors that Binance publishes and others computed independently."""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.pem import holds_pem, normalised_pem
from airflow_provider_binance_loan.binance.private_key import private_key_signer
from airflow_provider_binance_loan.binance.signing import (
    Credentials,
    encode_params,
    hmac_signer,
    signed_query,
)

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "signing-vectors.json").read_text())["vectors"]


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
    assert encode_params([tuple(param) for param in vector["params"]]) == vector["payload"]


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


def test_leaves_a_text_without_a_pem_unchanged() -> None:
    """An HMAC secret is not a PEM, even if it happens to be base64."""
    for secret in ("a" * 64, base64.b64encode(b"\xff" * 48).decode(), ""):
        assert not holds_pem(secret)
        assert normalised_pem(secret) == secret


def test_shows_no_secret_in_its_repr() -> None:
    """Credentials that are printed by accident reveal nothing."""
    assert repr(Credentials("the-key", hmac_signer("the-secret"))) == "Credentials()"
