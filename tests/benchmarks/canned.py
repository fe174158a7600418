"""A Binance with prepared answers, so that the client is measured, and not the server.

It checks each signature, and answers the documented pages of the records of a time range. An answer is
written and compressed at its first request, and then kept: measure from the second pull on. Weight is not
limited, as the limit would be all that is measured.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.benchmarks.stage import UNITS, filled

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from multiprocessing.connection import Connection

COUNTS_PATH = "/counts"
_HEAD = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nContent-Encoding: gzip\r\n"
    "X-SAPI-USED-IP-WEIGHT-1M: 1\r\nContent-Length: %d\r\n\r\n"
)


def canned(records: int, length: timedelta, closed: bool, unusual: bool) -> Callable[[str, str], bytes]:
    """Return the function that answers a path and a signed query; all risk units are active, or closed.

    With `unusual` each object of a row has its fields in another order, numbers as texts, a null and a field
    that is not documented.
    """
    from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET, write_json

    exchange = filled(records, length)
    # By risk unit, and under 0 all of them.
    all_starts: defaultdict[int, list[int]] = defaultdict(list)
    all_rows: defaultdict[int, list[bytes]] = defaultdict(list)
    for one in exchange.liquidations():
        row = write_json(_unusual(exchange.row(one)) if unusual else exchange.row(one))
        for group_id in (one.group_id,) if closed else (0, one.group_id):
            all_starts[group_id].append(one.start_ms)
            all_rows[group_id].append(row)

    @cache
    def page(group_id: int, start_ms: int, end_ms: int, current: int, size: int) -> bytes:
        starts, rows = all_starts[group_id], all_rows[group_id]
        first, end = bisect_left(starts, start_ms), bisect_right(starts, end_ms)
        end = max(first, end - (current - 1) * size)
        newest_first = reversed(rows[max(first, end - size) : end])
        return _answer(b'{"total":%d,"rows":[%s]}' % (UNITS, b",".join(newest_first)))

    units = ",".join(f'{{"groupId":{number},"closeTime":null}}' for number in range(1, UNITS + 1) if closed)
    closed_units = _answer(f'{{"total":{UNITS if closed else 0},"rows":[{units}]}}'.encode())
    no_more_units = _answer(b'{"total":%d,"rows":[]}' % (UNITS if closed else 0))

    def answer(path: str, query: str) -> bytes:
        payload, _, signature = query.rpartition("&signature=")
        signed = hmac.digest(SANDBOX_API_SECRET.encode(), payload.encode(), "sha256").hex()
        if not hmac.compare_digest(signature, signed):
            raise ValueError(query)
        params = {name: int(value) for name, (value,) in parse_qs(payload).items()}
        if path.endswith("/closed"):
            return closed_units if params["current"] == 1 else no_more_units
        group_id = params.get("groupId", 0)
        return page(group_id, params["startTime"], params["endTime"], params["current"], params["size"])

    return answer


def _unusual(value: Any) -> Any:
    if isinstance(value, list):
        return [_unusual(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {name: _unusual(value[name]) for name in reversed(value)}
    texts = {name: str(item) if isinstance(item, int | Decimal) else item for name, item in fields.items()}
    return texts | {"newField": 1} | dict.fromkeys(texts.keys() & {"endLtv", "walletType", "interest"})


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
) -> None:
    """Serve the records under a URL for each round trip, and send the URLs."""

    async def serve() -> None:
        answer, loop = canned(records, length, closed, unusual), asyncio.get_running_loop()
        urls = []
        for round_trip_s in round_trips_s:
            counts = {"requests": 0, "connections": 0}
            server = await loop.create_server(
                lambda s=round_trip_s, c=counts: _Protocol(answer, s, c), "127.0.0.1", 0
            )
            urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.send(urls)
        await asyncio.to_thread(ready.recv)

    asyncio.run(serve())
