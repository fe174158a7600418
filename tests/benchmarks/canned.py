"""A Binance with prepared answers, so that the client is measured, and not the server.

It checks each signature, and answers the documented pages of the rows of a time range. An answer is
written and compressed at its first request, and then kept: measure from the second pull on. Weight is not
limited, as the limit would be all that is measured.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import ssl
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from tests.benchmarks.stage import UNITS, filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta
    from multiprocessing.connection import Connection
    from pathlib import Path

COUNTS_PATH = "/counts"
_HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Encoding: gzip\r\n"
    "X-SAPI-USED-IP-WEIGHT-1M: 1\r\nContent-Length: %d\r\n\r\n"
)


class CannedRow(NamedTuple):
    """A row, as it is sent, and what selects it.

    :param group_id: its risk unit.
    :param at_ms: its time.
    :param kind: the parameter `type` that asks for it; empty where there is none.
    """

    group_id: int
    at_ms: int
    body: bytes
    kind: str = ""


def canned(rows: Iterable[CannedRow], closed: bool) -> Callable[[str, str], bytes]:
    """Return the function that answers a path and a signed query; all risk units are active, or closed.

    :param rows: the rows, oldest first.
    """
    from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET

    # By kind and risk unit, and under 0 those of all units.
    all_times: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    all_rows: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
    for one in rows:
        for group_id in (one.group_id,) if closed else (0, one.group_id):
            all_times[one.kind, group_id].append(one.at_ms)
            all_rows[one.kind, group_id].append(one.body)

    @cache
    def page(kind: str, group_id: int, start_ms: int, end_ms: int, current: int, size: int) -> bytes:
        times, bodies = all_times[kind, group_id], all_rows[kind, group_id]
        first, end = bisect_left(times, start_ms), bisect_right(times, end_ms)
        end = max(first, end - (current - 1) * size)
        newest_first = reversed(bodies[max(first, end - size) : end])
        return _answer(b'{"total":%d,"rows":[%s]}' % (UNITS, b",".join(newest_first)))

    units = ",".join(f'{{"groupId":{number},"closeTime":null}}' for number in range(1, UNITS + 1) if closed)
    closed_units = _answer(f'{{"total":{UNITS if closed else 0},"rows":[{units}]}}'.encode())
    no_more_units = _answer(b'{"total":%d,"rows":[]}' % (UNITS if closed else 0))
    # To the key of a credit account, its own risk unit.
    ltvs = _answer(b"[]" if closed else b'[{"groupId":1,"ltv":"0.5"}]')

    def answer(path: str, query: str) -> bytes:
        if path.endswith("/time"):
            return _answer(b'{"serverTime":%d}' % (time.time_ns() // 1_000_000))
        payload, _, signature = query.rpartition("&signature=")
        signed = hmac.digest(SANDBOX_API_SECRET.encode(), payload.encode(), "sha256").hex()
        if not hmac.compare_digest(signature, signed):
            raise ValueError(query)
        params = {name: value for name, (value,) in parse_qs(payload).items()}
        if path.endswith("/ltv-details"):
            return ltvs
        if path.endswith("/closed"):
            return closed_units if params["current"] == "1" else no_more_units
        numbers = (
            int(params.get(name, "0")) for name in ("groupId", "startTime", "endTime", "current", "size")
        )
        return page(params.get("type", ""), *numbers)

    return answer


def _unusual(value: Any) -> Any:
    if isinstance(value, list):
        return [_unusual(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: _unusual(value[name]) for name in reversed(value)}
    texts = {name: str(item) if isinstance(item, int | Decimal) else item for name, item in fields.items()}
    return texts | {"newField": 1} | dict.fromkeys(texts.keys() & {"endLtv", "walletType", "interest"})


def liquidations(records: int, length: timedelta, *, unusual: bool = False) -> Iterator[CannedRow]:
    """Yield liquidations that are drawn at random.

    With `unusual` each object of a row has its fields in another order, numbers as texts, a null and a field
    that is not documented.
    """
    from airflow_provider_binance_loan.sandbox.exchange import write_json

    exchange = filled(records, length)
    for one in exchange.liquidations():
        row = _unusual(exchange.row(one)) if unusual else exchange.row(one)
        yield CannedRow(one.group_id, one.start_ms, write_json(row))


def _answer(body: bytes) -> bytes:
    zipped = gzip.compress(body)
    return (_HEAD % len(zipped)).encode() + zipped


class _Protocol(asyncio.Protocol):
    """One connection; an answer is sent a round trip after its request."""

    def __init__(
        self, answer: Callable[[str, str], bytes], round_trip_s: float, counts: dict[str, int]
    ) -> None:
        self._answer, self._round_trip_s, self._counts = answer, round_trip_s, counts
        self._buffer = b""
        self._known = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path, _, query = head.split(b" ", 2)[1].decode().partition("?")
            if path == COUNTS_PATH:
                self._transport.write(_answer(json.dumps(self._counts).encode()))
                self._counts.update(requests=0, connections=0)
                continue
            self._counts["requests"] += 1
            self._counts["connections"] += not self._known
            self._known = True
            reply = self._answer(path, query)
            if self._round_trip_s:
                asyncio.get_running_loop().call_later(self._round_trip_s, self._transport.write, reply)
            else:
                self._transport.write(reply)


def serve_canned(
    ready: Connection,
    records: int,
    length: timedelta,
    round_trips_s: list[float],
    closed: bool = False,
    unusual: bool = False,
    certificate: Path | None = None,
) -> None:
    """Serve liquidations under a URL for each round trip, and send the URLs."""
    serve_rows(ready, liquidations(records, length, unusual=unusual), round_trips_s, closed, certificate)


def serve_rows(
    ready: Connection,
    rows: Iterable[CannedRow],
    round_trips_s: list[float],
    closed: bool = False,
    certificate: Path | None = None,
) -> None:
    """Serve rows under a URL for each round trip, and send the URLs.

    :param certificate: a file with a certificate and its key, to serve with TLS.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate)

    async def serve() -> None:
        answer, loop = canned(rows, closed), asyncio.get_running_loop()
        urls = []
        for round_trip_s in round_trips_s:
            counts = {"requests": 0, "connections": 0}
            server = await loop.create_server(
                lambda s=round_trip_s, c=counts: _Protocol(answer, s, c),
                "127.0.0.1",
                0,
                ssl=tls,
                backlog=4096,
            )
            urls.append(f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.send(urls)
        await asyncio.to_thread(ready.recv)

    asyncio.run(serve())
