"""Bad input: cases, the environment that they run in, and what holds for the error that each ends in."""

from __future__ import annotations

import asyncio
import json
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import HOUR, NOW, FakeClock

E = TypeVar("E", bound=BaseException)

# A part of every secret below, and of no message.
HUSH = "hush"
# Where a log page cuts a line.
VISIBLE = 100

_CONNECTION = "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"


class Case(NamedTuple):
    """A bad input.

    :param id: what is given, as a short text.
    :param field: the name of the field or argument that is wrong, which the message must have.
    :param given: the fields or arguments, by name.
    """

    id: str
    field: str
    given: dict[str, Any]


def case(field: str, **given: Any) -> Case:
    """Return a case of several fields or arguments, one of which is wrong."""
    return Case(_describe(given), field, given)


def cases(field: str, *values: Any, **others: Any) -> list[Case]:
    """Return a case for each wrong value of a field or argument, beside other fields that are right."""
    return [case(field, **others, **{field: value}) for value in values]


def extras(field: str, *values: Any, **others: Any) -> list[Case]:
    """Return a case for each wrong value of an extra of a connection, beside other fields that are right."""
    return [case(field, **others, extra={field: value}) for value in values]


@dataclass(frozen=True)
class Environment:
    """Where a case runs.

    :param exchange: a local Binance, which no bad input may ask.
    :param host: its base URL.
    :param folder: a folder with files that hold no key.
    """

    exchange: Exchange
    host: str
    folder: Path

    @contextmanager
    def connection(self, **fields: Any) -> Iterator[None]:
        """Define the default connection, right but for the fields that are given."""
        right = {
            "conn_type": "binance_loan",
            "host": self.host,
            "login": f"{HUSH}-key",
            "password": f"{HUSH}-secret",
        }
        with patch.dict(os.environ, {_CONNECTION: json.dumps(right | self._within_folder(fields))}):
            yield

    def placeholders(self, text: str) -> str:
        """Return a text with placeholders for what differs from machine to machine."""
        text = text.replace(str(self.folder), "{folder}").replace(self.host, "{host}")
        return re.sub(r"\b0x[0-9a-f]{6,}\b", "{address}", text)

    def _within_folder(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._within_folder(item) for key, item in value.items()}
        return value.replace("{folder}", str(self.folder)) if isinstance(value, str) else value


@contextmanager
def open_environment() -> Iterator[Environment]:
    """Open a local Binance and a folder, for many cases."""
    with (
        SandboxServer(Exchange(clock=FakeClock().time, history=False)) as server,
        TemporaryDirectory() as folder,
    ):
        (Path(folder) / "binary").write_bytes(b"\xff\x00hush")
        (Path(folder) / "large").write_bytes(b"hush" * 16_385)
        (Path(folder) / "loop").symlink_to(Path(folder) / "loop")
        (Path(folder) / "link").symlink_to(Path(folder) / "pipe")
        os.mkfifo(Path(folder) / "pipe")
        yield Environment(server.exchange, server.url, Path(folder))


def raised(kind: type[E], run: Callable[[], Any], secrets: Iterable[str] = (HUSH,)) -> E:
    """Return the error that a call ends in: of exactly this type, and without a secret in it or behind it."""
    try:
        outcome = run()
    except BaseException as error:
        if type(error) is not kind:
            raise
        told = "".join(traceback.format_exception(error))
        leaked = [secret for secret in secrets if secret in told]
        if leaked:
            raise AssertionError(f"a secret in: {told}") from None
        return error
    raise AssertionError(f"no {kind.__name__}, but {outcome!r}")


def pull_sync(start: Any = NOW - HOUR, end: Any = NOW, **arguments: Any) -> Any:
    """Pull through the synchronous client."""
    return BinanceLoanHook(clock=FakeClock()).get_force_liquidations(start, end, **arguments)


def pull_async(start: Any = NOW - HOUR, end: Any = NOW, **arguments: Any) -> Any:
    """Pull through the asynchronous client."""
    return asyncio.run(BinanceLoanHook(clock=FakeClock()).aget_force_liquidations(start, end, **arguments))


PULLS = [pull_sync, pull_async]


def _describe(given: dict[str, Any]) -> str:
    extra = given.get("extra")
    flat = {**given, **extra} if isinstance(extra, dict) else given
    shown = {name: value for name, value in flat.items() if not (name == "extra" and flat is not given)}
    return " ".join(f"{_short(name)}={_short(value, quoted=True)}" for name, value in shown.items())


def _short(value: Any, *, quoted: bool = False) -> str:
    try:
        text = repr(value) if quoted else str(value)
    except Exception:  # noqa: BLE001 - of what cannot be written out
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 40 else f"{text[:39]}…"
