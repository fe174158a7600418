"""Compression: both clients read an answer alike, and none makes more of it than a page can have."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from typing import Any, NamedTuple

import pytest

from airflow_provider_binance_loan.client.base import RetryPolicy
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    RateLimitedError,
    TransientError,
)
from tests.support.clock import FakeClock
from tests.support.hook_client import one_by_one, run_plan
from tests.support.raw import EMPTY, answer, raw_server

PAGE = b'{"total":0,"rows":[],"note":"' + b"page" * 50_000 + b'"}'
MIB = 2**20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


BOMB = gzip.compress(b" " * (256 * MIB), 1)
SMALL_BOMB = gzip.compress(gzip.compress(BOMB))  # of less than 10 kB


READ = {
    "gzip": (gzip.compress(PAGE), "Content-Encoding: gzip"),
    "x-gzip": (gzip.compress(PAGE), "Content-Encoding: X-GZip"),
    "gzip of two members": (gzip.compress(PAGE[:9]) + gzip.compress(PAGE[9:]), "Content-Encoding: gzip"),
    "gzip of many members": (
        b"".join(gzip.compress(PAGE[at : at + 999]) for at in range(0, len(PAGE), 999)),
        "Content-Encoding: gzip",
    ),
    "gzip with an empty member": (gzip.compress(PAGE) + gzip.compress(b""), "Content-Encoding: gzip"),
    "deflate": (zlib.compress(PAGE), "Content-Encoding: deflate"),
    "deflate without zlib's header": (raw_deflate(PAGE), "Content-Encoding: deflate"),
    "identity": (PAGE, "Content-Encoding: identity"),
    "no coding": (PAGE, "Content-Encoding: "),
    "gzip and identity": (gzip.compress(PAGE), "Content-Encoding: gzip, identity"),
}


@pytest.mark.parametrize(("body", "header"), READ.values(), ids=READ)
def test_reads_what_it_accepts(client_kind: str, connect: Any, body: bytes, header: str) -> None:
    """An answer in a coding that was asked for is read whole."""
    with raw_server([answer("200 OK", body, header)]) as (url, lines):
        connect(host=url)
        (got,) = run_plan(client_kind, one_by_one("/1"), clock=FakeClock())
    assert got.body == PAGE
    assert len(lines) == 1


class Case(NamedTuple):
    """An answer that cannot be read, and the error that it ends in.

    :param answer: the answer to every request.
    :param error: the error's type.
    :param message: a part of its message.
    :param requests: how many requests are sent.
    """

    answer: bytes
    error: type[BinanceLoanError]
    message: str
    requests: int = 1


def coded(body: bytes, coding: str, status: str = "200 OK", *headers: str) -> bytes:
    return answer(status, body, f"Content-Encoding: {coding}", *headers)


CASES = {
    "bomb": Case(coded(BOMB, "gzip"), BadResponseError, "more than 32 MiB"),
    "bomb of three layers": Case(
        coded(SMALL_BOMB, "gzip, gzip, gzip"), BadResponseError, "'gzip, gzip, gzip'"
    ),
    "bomb of three headers": Case(
        coded(SMALL_BOMB, "gzip", "200 OK", "Content-Encoding: gzip", "Content-Encoding: gzip"),
        BadResponseError,
        "'gzip, gzip, gzip'",
    ),
    "bomb of deflate": Case(
        coded(zlib.compress(b" " * (64 * MIB)), "deflate"), BadResponseError, "more than 32 MiB"
    ),
    "bomb of members": Case(
        coded(gzip.compress(b" " * MIB) * 99, "gzip"), BadResponseError, "more than 32 MiB"
    ),
    "unknown coding": Case(coded(b"page", "br"), BadResponseError, "'br', which was not asked for"),
    "two codings": Case(
        coded(zlib.compress(gzip.compress(PAGE)), "gzip, deflate"), BadResponseError, "'gzip, deflate'"
    ),
    "not gzip": Case(coded(PAGE, "gzip"), BadResponseError, "cannot be decompressed", 2),
    "damaged": Case(
        coded(gzip.compress(PAGE)[:-6] + b"\0" * 6, "gzip"), BadResponseError, "cannot be decompressed", 2
    ),
    "cut off": Case(coded(gzip.compress(PAGE)[:-9], "gzip"), BadResponseError, "cut off", 2),
    "more behind gzip": Case(
        coded(gzip.compress(PAGE) + b"more", "gzip"), BadResponseError, "cannot be decompressed", 2
    ),
    "more behind deflate": Case(
        coded(zlib.compress(PAGE) + b"more", "deflate"), BadResponseError, "cannot be decompressed", 2
    ),
    "refusal in an unknown coding": Case(
        coded(b"x" * 99, "br", "403 Forbidden"), AuthRefusedError, "firewall"
    ),
    "limit in an unknown coding": Case(
        coded(b"x" * 99, "br", "429 Too Many", "Retry-After: 3600"), RateLimitedError, "Wait until"
    ),
    "ban that is a bomb": Case(
        coded(BOMB, "gzip", "418 Banned", "Retry-After: 3600"), RateLimitedError, "Wait until"
    ),
    "busy, damaged": Case(coded(b"x" * 99, "gzip", "502 Bad Gateway"), TransientError, "Try again later", 2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_refuses_what_cannot_be_read(client_kind: str, connect: Any, case: Case) -> None:
    """A body that is too long, damaged or of another coding is an error that says so, at little cost."""
    with raw_server([case.answer] * case.requests) as (url, lines):
        connect(host=url)
        tracemalloc.start()
        began = time.process_time()
        try:
            with pytest.raises(BinanceLoanError) as caught:
                run_plan(
                    client_kind, one_by_one("/1"), clock=FakeClock(), retry_policy=RetryPolicy(max_attempts=2)
                )
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert type(caught.value) is case.error
    assert case.message in caught.value.message
    assert len(lines) == case.requests
    assert most < 100 * MIB
    assert time.process_time() - began < 5


def test_asks_for_what_it_reads(client_kind: str, connect: Any) -> None:
    """Both clients ask for the same codings, whatever else is installed."""
    with raw_server([EMPTY]) as (url, lines):
        connect(host=url)
        run_plan(client_kind, one_by_one("/1"), clock=FakeClock())
    assert "accept-encoding: gzip, deflate" in [header.lower() for header in lines.headers]
