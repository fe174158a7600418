"""Kept connections: one that has bytes left when its answer ends is closed, in both clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.hook_client import one_by_one, run_plan
from tests.support.raw import EMPTY, answer, error, raw_server
from tests.support.relay import TunnelProxy

# An answer that ends the pull if it is taken for that of the next request.
STRAY = answer("401 Unauthorized", error(-2015)).replace(b"Connection: close\r\n", b"")
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n{"total":0,"rows":[]}\r\n0\r\n\r\n'
# OpenSSL sends 16 kB in a record, and some clients read 8 kB at once.
RECORD = 2**14


def padded(length: int) -> bytes:
    """Return an answer without records of exactly so many bytes, head and all."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %05d\r\n\r\n"
    body = b'{"total":0,"rows":[]}'
    size = length - len(head % 0)
    return head % size + body.ljust(size)


FIRST = {
    "answered twice": EMPTY + EMPTY,
    "another answer": EMPTY + STRAY,
    "another chunked answer": CHUNKED + STRAY,
    "another chunked answer twice": CHUNKED + CHUNKED,
    "half an answer": EMPTY + STRAY[:20],
    "a byte": EMPTY + b"H",
    "an empty line": EMPTY + b"\r\n",
    "another answer after 8 kB": padded(2**13) + STRAY,
    "another answer after a record": padded(RECORD) + STRAY,
    "another answer within a record": padded(RECORD - len(STRAY)) + STRAY,
    "another answer across records": padded(RECORD - 9) + STRAY,
    "another answer after many records": padded(5 * RECORD) + STRAY,
}


def ports_of_two_requests(
    client_kind: str, connect: Any, certificate: Path, way: str, sent: list[bytes]
) -> list[int]:
    """Send two requests one after the other, each answered without records, and return their ports."""
    trusted = None if way == "plain" else certificate
    with (
        raw_server(sent, trusted) as (url, lines),
        TunnelProxy(url, certificate if way == "tunnel in tls" else None) as proxy,
    ):
        extra = {"timeout": 2} | ({} if way == "plain" else {"verify": str(certificate)})
        connect(host=url, extra=extra | ({"proxies": proxy.url} if "tunnel" in way else {}))
        answers = run_plan(client_kind, one_by_one("/1", "/2"), clock=FakeClock())
    assert [(answer.status, answer.payload) for answer in answers] == [(200, {"total": 0, "rows": []})] * 2
    assert len(lines) == len(set(lines)) == 2
    return lines.ports


@pytest.mark.parametrize("way", ["plain", "tls", "tunnel", "tunnel in tls"])
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_closes_a_connection_with_bytes_left(
    client_kind: str, connect: Any, certificate: Path, way: str, first: bytes
) -> None:
    """Bytes behind an answer are never taken for the next answer: the next request has a new connection."""
    ports = ports_of_two_requests(client_kind, connect, certificate, way, [first, EMPTY])
    assert len(set(ports)) == 2


@pytest.mark.parametrize("way", ["plain", "tls", "tunnel", "tunnel in tls"])
@pytest.mark.parametrize("first", [EMPTY, CHUNKED, padded(2**13), padded(RECORD), padded(5 * RECORD)])
def test_keeps_a_connection_without_bytes_left(
    client_kind: str, connect: Any, certificate: Path, way: str, first: bytes
) -> None:
    """A connection whose answer ends with its last byte serves the next request too."""
    ports = ports_of_two_requests(client_kind, connect, certificate, way, [first, first])
    assert len(set(ports)) == 1
