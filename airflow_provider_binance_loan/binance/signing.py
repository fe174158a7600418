"""Credentials, and the query string that they sign. Reads no clock: the timestamp is an argument.

https://developers.binance.com/docs/institutional_loan/general-info
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airflow_provider_binance_loan.exceptions import ConfigurationError

Params = Sequence[tuple[str, str | int]]

# https://developers.binance.com/docs/binance-spot-api-docs/faqs/api_key_types
_LEAST_RSA_BITS = 2048

_ARMOUR = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL)
# The headers of an old-style encrypted PEM. Where the lines are lost, the length of the hex tells its end.
_ENCRYPTION = re.compile(
    r"\s*Proc-Type:\s*4,ENCRYPTED\s*DEK-Info:\s*"
    r"(?P<cipher>AES-\d+-CBC,[0-9A-Fa-f]{32}|DES-(?:EDE3-)?CBC,[0-9A-Fa-f]{16})"
)


@dataclass(frozen=True)
class Credentials:
    """An API key and the function that signs with its secret; its `repr` shows neither.

    :param api_key: the value of the `X-MBX-APIKEY` header.
    :param sign: returns the signature of a payload, not yet percent-encoded.
    """

    api_key: str = field(repr=False)
    sign: Callable[[bytes], str] = field(repr=False)


def signed_query(params: Params, credentials: Credentials, timestamp_ms: int) -> str:
    """Return the exact query string to send: the parameters, the timestamp, and the signature last.

    Binance signs the percent-encoded bytes in the order in which they are sent, so the returned text must
    go into the URL as it is.
    """
    payload = encoded([*params, ("timestamp", timestamp_ms)])
    return f"{payload}&signature={quote(credentials.sign(payload.encode('ascii')), safe='')}"


def encoded(params: Params) -> str:
    """Return parameters percent-encoded, in their order."""
    return urlencode(params, safe="", quote_via=quote)


def hmac_signer(secret: str) -> Callable[[bytes], str]:
    """Return the function that signs with an HMAC secret: SHA-256, in hex."""
    key = secret.encode()
    return lambda payload: hmac.new(key, payload, hashlib.sha256).hexdigest()


def private_key_signer(pem: str, passphrase: str | None, name: str) -> Callable[[bytes], str]:
    """Return the function that signs with a private key: Ed25519, or RSA (PKCS#1 v1.5, SHA-256), in base64.

    :param pem: the key as people paste it; see :func:`normalised_pem`.
    :param passphrase: what the PEM is encrypted with, or None.
    :param name: the connection field that held the key, for error texts.
    :raises ConfigurationError: it is no private key that Binance accepts, or the passphrase is wrong.
    """
    key = _load(normalised_pem(pem), passphrase, name)
    if isinstance(key, Ed25519PrivateKey):
        return lambda payload: base64.b64encode(key.sign(payload)).decode("ascii")
    if isinstance(key, RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ConfigurationError(
                f"{name} holds an RSA key of {key.key_size} bits: Binance accepts 2048 and 4096."
            )
        return lambda payload: base64.b64encode(
            key.sign(payload, padding.PKCS1v15(), hashes.SHA256())
        ).decode("ascii")
    raise ConfigurationError(
        f"{name} holds a key of type {type(key).__name__.removesuffix('PrivateKey')}: "
        "Binance accepts Ed25519 and RSA private keys."
    )


def holds_pem(text: str) -> bool:
    """Tell whether a text is a PEM, damaged or in any of the forms that :func:`normalised_pem` takes."""
    text = _unwrapped(text)
    return "-----" in text or "PRIVATE KEY" in text


def normalised_pem(text: str) -> str:
    r"""Return a PEM with its lines as they should be.

    People paste keys into one-line fields, so the line ends may be lost, turned into spaces or written out
    as `\n`, or the whole may be wrapped in base64. Of several PEMs in a file the private key counts. A text
    that holds no PEM comes back as it is.
    """
    text = _unwrapped(text)
    armours = list(_ARMOUR.finditer(text))
    private = (armour for armour in armours if "PRIVATE KEY" in armour["label"])
    armour = next(private, armours[0] if armours else None)
    if armour is None:
        return text
    body, head = armour["body"], ""
    if encryption := _ENCRYPTION.match(body):
        body = body[encryption.end() :]
        head = f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {encryption['cipher']}\n\n"
    lines = "\n".join(textwrap.wrap("".join(body.split()), 64))
    return f"-----BEGIN {armour['label']}-----\n{head}{lines}\n-----END {armour['label']}-----\n"


def _unwrapped(text: str) -> str:
    text = text.replace("\\r", "").replace("\\n", "\n")
    if "-----BEGIN" in text:
        return text
    wrapped = "".join(text.split()).rstrip("=")  # its padding gets lost easily
    try:
        unwrapped = base64.b64decode(wrapped + "=" * (-len(wrapped) % 4), validate=True).decode()
    except ValueError:
        return text
    return unwrapped if "-----BEGIN" in unwrapped else text


def _load(pem: str, passphrase: str | None, name: str) -> object:
    if "PRIVATE KEY-----" not in pem:
        raise ConfigurationError(
            f"{name} holds no private key: paste the PEM that begins with -----BEGIN PRIVATE KEY-----"
            + (", not the public key." if "PUBLIC KEY-----" in pem else ".")
        )
    if "OPENSSH PRIVATE KEY-----" in pem:
        raise ConfigurationError(
            f"{name} holds a key in the format of OpenSSH, which Binance does not take: make one with "
            "openssl genpkey -algorithm ed25519."
        )
    password = passphrase.encode() if passphrase else None
    # `from None` throughout: a chained error of the cryptography package could carry parts of the key.
    try:
        return load_pem_private_key(pem.encode(errors="replace"), password)
    except TypeError:
        raise ConfigurationError(
            f"{name} is encrypted: fill in private_key_passphrase."
            if password is None
            else f"{name} is not encrypted: leave private_key_passphrase empty."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"{name} cannot be read"
            + (" with this private_key_passphrase" if password else "")
            + ": the PEM is damaged"
            + (", or the passphrase is wrong." if password else " or of a kind that is not supported.")
        ) from None
