"""Errors, searched for secrets."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET


def with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and each that it was raised from or while handling."""
    while error:
        yield error
        if error.__cause__ and error.__context__ is not error.__cause__:
            yield from with_causes(error.__context__)
        error = error.__cause__ or error.__context__


def assert_no_secret(error: BaseException) -> None:
    """Neither the error nor its causes show the sandbox's key, its secret or a signature."""
    for each in with_causes(error):
        text = f"{each!s} {each!r} {vars(each)}"
        assert not any(part in text for part in (SANDBOX_API_KEY, SANDBOX_API_SECRET, "signature="))
