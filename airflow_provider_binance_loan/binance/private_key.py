"""Signing with a private key.

Imports cryptography, which DAG parsing need not pay for, so nothing imports this module before there is one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airflow_provider_binance_loan.binance.pem import normalised_pem
from airflow_provider_binance_loan.exceptions import ConfigurationError

# https://developers.binance.com/docs/binance-spot-api-docs/faqs/api_key_types
_MIN_RSA_BITS = 2048


def private_key_signer(pem: str, passphrase: str | None, name: str) -> Callable[[bytes], str]:
    """Return the function that signs with a private key: Ed25519, or RSA (PKCS#1 v1.5, SHA-256), in base64.

    :param pem: the key as people paste it; see :func:`normalised_pem`.
    :param passphrase: the passphrase of an encrypted PEM, or None.
    :param name: the connection field that held the key, for error messages.
    :raises ConfigurationError: it is not a private key that Binance accepts, or the passphrase is wrong.
    """
    key = _load(normalised_pem(pem), passphrase, name)
    if isinstance(key, Ed25519PrivateKey):
        return lambda payload: base64.b64encode(key.sign(payload)).decode("ascii")
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            raise ConfigurationError(
                f"Use an RSA key of 2048 or 4096 bits in {name}: this one has {key.key_size}."
            )
        return lambda payload: base64.b64encode(
            key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
        ).decode("ascii")
    key_type = type(key).__name__.removesuffix("PrivateKey")
    raise ConfigurationError(f"Use an Ed25519 or RSA private key in {name}: this one is of type {key_type}.")


def _load(pem: str, passphrase: str | None, name: str) -> object:
    if "PRIVATE KEY-----" not in pem:
        raise ConfigurationError(
            f"Paste into {name} a PEM that begins -----BEGIN PRIVATE KEY-----: it holds "
            + ("the public key." if "PUBLIC KEY-----" in pem else "no private key.")
        )
    if "OPENSSH PRIVATE KEY-----" in pem:
        raise ConfigurationError(
            f"Make a key for {name} with openssl genpkey -algorithm ed25519: it holds one in OpenSSH's "
            "format, which Binance does not take."
        )
    password = passphrase.encode() if passphrase else None
    # `from None` throughout: a chained error of the cryptography package could hold parts of the key.
    try:
        return load_pem_private_key(pem.encode(errors="replace"), password)
    except TypeError:
        raise ConfigurationError(
            f"Fill in private_key_passphrase: the key in {name} is encrypted."
            if password is None
            else f"Leave private_key_passphrase empty: the key in {name} is not encrypted."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"Check private_key_passphrase, and that the key in {name} is complete: it cannot be read."
            if password
            else f"Replace the key in {name}: its PEM is damaged, or of a type that is not supported."
        ) from None
