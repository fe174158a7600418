"""The file of a private key, read with bounds: what it names may be a pipe, a device or a large file."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown_unless_secret

# A PEM of the longest RSA key has some 13 kB.
_MAX_BYTES = 64_000


def read_key_file(path: str) -> str:
    """Return the text of `private_key_file`: of a regular file, or of one that a link leads to.

    :raises ConfigurationError: it cannot be read, or is no such file.
    """
    try:
        return _read(path)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text, or not a path"
    except _UnusableError as error:
        reason = str(error)
    # Only a value that cannot be a pasted key is repeated.
    value = shown_unless_secret(path) if path.startswith(("/", "~", ".")) else "the file"
    raise ConfigurationError(f"Correct private_key_file: {value} cannot be read: {reason}.")


def key_file_warnings(path: str | None) -> tuple[str, ...]:
    """Return what should be changed about `private_key_file`, which was read before."""
    warning = "Warning: others on this machine can read private_key_file; restrict it to Airflow's user."
    with suppress(OSError):
        if path and Path(path).expanduser().stat().st_mode & stat.S_IROTH:
            return (warning,)
    return ()


class _UnusableError(Exception):
    """A file is not one of a key."""


def _read(path: str) -> str:
    # Opened without waiting for whoever might write into a pipe, and then looked at: a path may change.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(Path(path).expanduser(), flags), "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise _UnusableError("Is a directory")
        if not stat.S_ISREG(mode):
            raise _UnusableError("it is not a regular file")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _UnusableError(f"it has more than {_MAX_BYTES // 1000} kB, which no private key has")
    return data.decode("utf-8-sig")
