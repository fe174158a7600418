"""What the tests of bad input share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import reset_secrets_masker

from tests.support.bad_input import HUSH, VISIBLE, Environment, open_environment, raised


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Let Airflow's masker forget: each of so many secrets would slow each line of the log that follows."""
    reset_secrets_masker()


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """A local Binance that all these tests share, since none of them asks it."""
    with open_environment() as opened:
        yield opened


@pytest.fixture
def connection(environment: Environment) -> Iterator[None]:
    """The default connection, with nothing wrong."""
    with environment.connection():
        yield


@pytest.fixture
def refused(environment: Environment) -> Callable[..., Any]:
    """Return the error that a call ends in: its type, its field, no secret, and no request."""

    def refused(
        kind: type[Exception], field: str, run: Callable[[], Any], secrets: tuple[str, ...] = (HUSH,)
    ) -> Exception:
        environment.exchange.requests.clear()
        error = raised(kind, run, secrets)
        assert field in str(error)[:VISIBLE]
        assert environment.exchange.requests == []
        return error

    return refused
