"""S3 with scripted answers: what the local S3 endpoint never says, on the way of real requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from botocore.awsrequest import AWSResponse

from airflow_provider_binance_loan.landing.s3 import S3Destination


class Refusal(NamedTuple):
    """An answer that is an error, as S3 writes it."""

    status: int
    code: str
    message: str = "No."

    def build(self, url: str) -> AWSResponse:
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()
        raw: Any = io.BytesIO(body)
        raw.stream = lambda *_, **__: iter([body])
        return AWSResponse(url, self.status, {}, raw)


# Replaces the answer to a request; with None the request goes to the local S3 endpoint.
Answer = Refusal | Callable[[], Refusal | None] | None


class ScriptedDestination(S3Destination):
    """A bucket whose answers to final writes and removals are scripted, in their order, and real after that.

    `conditions` holds the If-None-Match or If-Match of each of these requests.

    :param answers: the answers.
    """

    def __init__(self, answers: Sequence[Answer] = (), **arguments: Any) -> None:
        self._answers = list(answers)
        self.conditions: list[str | None] = []
        super().__init__("lake", **{"conflict_waits": (0, 0), **arguments})

    def _open_hook(self) -> Any:
        hook = super()._open_hook()
        events = hook.get_conn().meta.events
        for operation in ("PutObject", "CompleteMultipartUpload", "DeleteObject"):
            events.register(f"before-send.s3.{operation}", self._answer)
        return hook

    def _answer(self, request: Any, **_: Any) -> AWSResponse | None:
        condition = request.headers.get("If-None-Match") or request.headers.get("If-Match")
        self.conditions.append(condition.decode() if isinstance(condition, bytes) else condition)
        answer = self._answers.pop(0) if self._answers else None
        found = answer() if callable(answer) and not isinstance(answer, Refusal) else answer
        return found.build(request.url) if found else None
