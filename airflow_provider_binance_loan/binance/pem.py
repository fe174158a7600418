"""Private keys as people paste them, restored to valid PEM."""

from __future__ import annotations

import base64
import re
import textwrap

_ARMOUR = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL)
# The headers of an old-style encrypted PEM. Where line ends are lost, the length of the hex marks its end.
_ENCRYPTION = re.compile(
    r"\s*Proc-Type:\s*4,ENCRYPTED\s*DEK-Info:\s*"
    r"(?P<cipher>AES-\d+-CBC,[0-9A-Fa-f]{32}|DES-(?:EDE3-)?CBC,[0-9A-Fa-f]{16})"
)


def holds_pem(text: str) -> bool:
    """Return whether a text is a PEM, damaged or in any of the forms that :func:`normalised_pem` takes."""
    text = _unwrapped(text)
    return "-----" in text or "PRIVATE KEY" in text


def normalised_pem(text: str) -> str:
    r"""Return a PEM with its line ends restored; a text that holds no PEM is returned unchanged.

    People paste keys into one-line fields, so line ends may be lost, turned into spaces or written out as
    `\n`, or the whole may be encoded in base64. Of several PEMs in a text the private key is returned.
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
    wrapped = "".join(text.split()).rstrip("=")  # the padding is often lost
    try:
        unwrapped = base64.b64decode(wrapped + "=" * (-len(wrapped) % 4), validate=True).decode()
    except ValueError:
        return text
    return unwrapped if "-----BEGIN" in unwrapped else text
