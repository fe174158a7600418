"""A Binance of a few lines that answers with the LTVs that a test gives it, byte for byte."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.paths import DATA

DOCUMENTED = json.loads((DATA / "documented-ltv.json").read_text())
PATH = "/sapi/v1/margin/loan-group/ltv-details"
ACTIVE_PATH = "/sapi/v1/margin/loan-groups/activated"
CLOSED_PATH = "/sapi/v1/margin/loan-groups/closed"
TIME_PATH = "/api/v3/time"


def unit(group_id: int, ltv: Any, **fields: Any) -> dict[str, Any]:
    """Return the documented risk unit with another id and LTV."""
    return {**DOCUMENTED[0], "groupId": group_id, "ltv": ltv, **fields}


class LtvServer:
    """What the server answers, and the paths that it was asked for.

    :param now_ms: returns Binance's time.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.body = b"[]"
        self.active = b"[]"
        self.closed = b'{"total":0,"rows":[]}'
        self.paths: list[str] = []
        self.script: list[dict[int, Any]] = []
        self.url = ""

    def show(self, **ltvs: Any) -> None:
        """Answer with risk units and their LTVs, by names such as `u6`."""
        self.body = json.dumps([unit(int(name[1:]), ltv) for name, ltv in ltvs.items()]).encode()

    def asked(self, path: str = PATH) -> int:
        """Return how often a path was asked for."""
        return self.paths.count(path)

    def answer(self, path: str) -> bytes:
        self.paths.append(path)
        if path == TIME_PATH:
            return json.dumps({"serverTime": self.now_ms()}).encode()
        if path in {ACTIVE_PATH, CLOSED_PATH}:
            return self.active if path == ACTIVE_PATH else self.closed
        if self.script:  # one entry for each poll, and the last one again and again
            ltvs = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            self.show(**{f"u{group_id}": ltv for group_id, ltv in ltvs.items()})
        return self.body


@contextmanager
def ltv_server(now_ms: Callable[[], int]) -> Iterator[LtvServer]:
    """Serve LTVs for as long as the `with` block lasts."""
    server = LtvServer(now_ms)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = server.answer(self.path.partition("?")[0])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{listener.server_port}"
        yield server
        listener.shutdown()
