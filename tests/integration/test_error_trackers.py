"""Error trackers and traces: the hooks of the documentation keep signatures out of what they record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support import docs
from tests.support.paths import ROOT

SENTRY, OPENTELEMETRY = (
    block.text
    for block in docs.BLOCKS
    if (block.page, block.language) == ("docs/error-trackers.md", "python")
)

# Sentry changes modules of the whole process, so a process of its own makes the pull. It prints what would
# be sent.
PULL = """
import asyncio, sys

import sentry_sdk
from sentry_sdk.transport import Transport

class Printing(Transport):
    def capture_envelope(self, envelope):
        print(envelope.serialize().decode())

sentry_sdk.init(
    "https://key@sentry.invalid/1", transport=Printing, traces_sample_rate=1.0, send_default_pii=True
)
exec(sys.argv[2])

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.client.base import RetryPolicy
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from tests.support.clock import HOUR, NOW, FakeClock

with sentry_sdk.start_transaction(name="pull"):
    hook = BinanceLoanHook(retry_policy=RetryPolicy(max_attempts=1), clock=FakeClock())
    for _ in range(2):
        try:
            if sys.argv[1] == "sync":
                hook.get_force_liquidations(NOW - HOUR, NOW)
            else:
                asyncio.run(hook.aget_force_liquidations(NOW - HOUR, NOW))
        except BinanceLoanError as error:
            sentry_sdk.capture_exception(error)
sentry_sdk.flush()
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("hook", ["", SENTRY], ids=["without", "with"])
def test_sentry_records_no_signature_with_the_hook(
    exchange: Exchange, connect: Any, kind: str, hook: str
) -> None:
    """What Sentry would be sent of the synchronous client has signatures without the hook alone."""
    exchange.fail(None, None, None, Fault("error", 401, -2015))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", PULL, kind, hook],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    signatures = {dict(request.params).get("signature", "") for request in exchange.requests} - {""}
    assert [request.status for request in exchange.requests] == [200, 200, 200, 401]
    assert "AuthRefusedError" in run.stdout
    is_recorded = kind == "sync" and not hook
    assert any(signature in run.stdout for signature in signatures) == is_recorded
    assert ("signature=***" in run.stdout) == bool(hook)
    assert not any(secret in run.stdout for secret in (SANDBOX_API_KEY, SANDBOX_API_SECRET))


def test_an_exporter_of_spans_passes_no_signature_on() -> None:
    """Attributes, event and status of a failed request lose their signature, and the rest is as it was."""
    names: dict[str, Any] = {}
    exec(OPENTELEMETRY, names)
    plain, clean = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(plain))
    provider.add_span_processor(SimpleSpanProcessor(names["WithoutSignatures"](clean)))
    address = "/sapi/v1/margin?size=100&timestamp=17&signature=Ab%2Fc%3D"
    attributes = {"http.url": f"https://api.example{address}", "http.status_code": 200}
    with (
        pytest.raises(ConnectionError),
        provider.get_tracer("requests").start_as_current_span("GET", attributes=attributes),
    ):
        raise ConnectionError(f"Max retries exceeded with url: {address} (Caused by …)")
    (before,), (after,) = plain.get_finished_spans(), clean.get_finished_spans()
    assert before.to_json().count("Ab%2Fc%3D") >= 4
    assert json.loads(after.to_json()) == json.loads(before.to_json().replace("Ab%2Fc%3D", "***"))
    provider.shutdown()
