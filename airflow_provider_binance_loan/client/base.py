"""One request's life, as a generator that both HTTP clients drive.

It decides when to wait, send, correct the clock, back off and give up, and is written once. A client does
what a step says: it waits, or signs and sends. Every attempt is signed anew.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from airflow_provider_binance_loan.binance.messages import TIME, Request, Response
from airflow_provider_binance_loan.binance.signing import signed_query
from airflow_provider_binance_loan.binance.time_range import EARLIEST_MS
from airflow_provider_binance_loan.client.clock import SYSTEM_CLOCK, Clock, ClockSkew
from airflow_provider_binance_loan.client.redaction import hide_signatures
from airflow_provider_binance_loan.client.retry_log import RetryLog, described_skew
from airflow_provider_binance_loan.client.session import proxy_url
from airflow_provider_binance_loan.client.throttle import shared_throttle
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    ClockError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.validation import LATEST_S, shown_from_answer

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.client.settings import Settings

# Binance may take ten seconds to process a request, so only connecting has a shorter timeout.
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and how long, a request that met a passing fault is sent again.

    :param max_attempts: how many attempts a request has.
    :param deadline_s: how many seconds after the first attempt the last one may begin, and how many an answer
        may take.
    :param min_wait_s: the minimum back-off, so that every attempt gets a new timestamp and signature.
    :param max_wait_s: the maximum back-off; it doubles from one second with each attempt, and is drawn at
        random between the two.
    """

    max_attempts: int = 5
    deadline_s: float = 180.0
    min_wait_s: float = 0.1
    max_wait_s: float = 10.0

    def back_off_s(self, attempts: int) -> float:
        """Return how long to wait after so many attempts, in seconds."""
        longest_s = max(self.min_wait_s, min(self.max_wait_s, 2.0 ** (attempts - 1)))
        return random.uniform(self.min_wait_s, longest_s)  # noqa: S311 - not a secret


DEFAULT_RETRY_POLICY = RetryPolicy()


class Wait(NamedTuple):
    """A step: wait for so many seconds."""

    seconds: float


class Send(NamedTuple):
    """A step: sign a request with a timestamp, and send it. The generator is sent the outcome.

    :param request: the request.
    :param timestamp_ms: the time by Binance's clock, as far as it is known.
    :param clock_offset_ms: how far that is ahead of this machine's clock.
    """

    request: Request
    timestamp_ms: int
    clock_offset_ms: int


class Exclusive(NamedTuple):
    """A step: drive another generator to its end, while no other exclusive one of the client runs.

    The generator that yields it is sent the error of the other, or None.
    """

    flow: Flow[None]


T = TypeVar("T")
Outcome = Response | BinanceLoanError
Flow = Generator[Wait | Send | Exclusive, Outcome | None, T]


class BaseClient:
    """What both clients share: what is sent, what an answer means, and when to send again.

    :param settings: the connection.
    :param clock: the clock to go by.
    :param skew: how far that clock is from Binance's.
    :param retry_policy: how often to send again.
    :param log: where each retry and each wait for a rate limit leaves a line.
    :param shares_log: whether several clients write to that log: what holds for all of them is logged once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        skew: ClockSkew | None = None,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        log: Logger | None = None,
        shares_log: bool = False,
    ) -> None:
        hide_signatures()
        self._settings = settings
        self._clock = clock
        self._skew = skew or ClockSkew()
        self._retry_policy = retry_policy
        self._proxy_url = proxy_url(settings)
        self.throttle = shared_throttle(settings.base_url, self._proxy_url, clock)
        self._log = RetryLog(log, settings.conn_id, self.throttle, clock, is_shared=shares_log)

    def _flow(self, request: Request) -> Flow[Response]:
        """Return the generator of one request's life; it returns the response, or raises the last error."""
        ends_at = self._clock.monotonic() + self._retry_policy.deadline_s
        attempts = 0
        while True:
            attempts += 1
            try:
                return (yield from self._attempt(request))
            except (TransientError, BadResponseError) as error:
                wait_s = max(self.throttle.held_for_s(), self._retry_policy.back_off_s(attempts))
                now_s = self._clock.monotonic()
                # A wait that Binance asks for, and that the connection allows, may end after the deadline.
                limited = isinstance(error, RateLimitedError)
                too_late = now_s >= ends_at if limited else now_s + wait_s > ends_at
                if too_late or attempts >= self._retry_policy.max_attempts or not self._may_pass(error):
                    error.attempts = attempts
                    raise
                self._log.retry(error, attempts + 1, self._retry_policy.max_attempts, wait_s)
            yield Wait(wait_s)

    def _may_pass(self, error: TransientError | BadResponseError) -> bool:
        """Return whether to send again here and now: a ban or a long wait is not waited out."""
        if isinstance(error, BadResponseError):
            return error.may_pass
        if isinstance(error, RateLimitedError):
            return not error.banned and self.throttle.held_for_s() <= self._settings.max_wait
        return not isinstance(error, ClockError)

    def _attempt(self, request: Request) -> Flow[Response]:
        """Send a request, and again after correcting the clock if Binance refuses its timestamp."""
        if request.dated and self._skew.is_stale(self._clock):
            yield from self._exclusively(self._correct_clock(self._skew.corrections))
        corrections = self._skew.corrections
        try:
            return (yield from self._send(request))
        except ClockError:
            pass
        yield from self._exclusively(self._correct_clock(corrections, refused=True))
        try:
            return (yield from self._send(request))
        except ClockError as error:
            refused = self._still_refused(error)
        raise refused

    def _send(self, request: Request) -> Flow[Response]:
        for wait_s in self.throttle.waits(request, self._settings.max_wait):
            self._log.pause(request, wait_s)
            yield Wait(wait_s)
        try:
            offset_ms = self._skew.offset_ms
            outcome = yield Send(request, self._clock.now_ms() + offset_ms, offset_ms)
            if isinstance(outcome, Response):
                return self._accept(outcome)
        finally:  # also when a client gives the request up
            self.throttle.end(request)
        raise outcome or TransientError("Try again later: the request was given up.")

    def _accept(self, response: Response) -> Response:
        used = response.used_weight
        if used is not None:
            self.throttle.note_weight(response.request.path, used)
        try:
            response.raise_for_error()
            _ = response.content  # parsed here, while other requests are under way
        except RateLimitedError as error:
            self.throttle.hold(error)
            raise
        except RequestRefusedError as error:
            if error.code not in response.request.handled_codes:
                raise
            response.refusal = error.with_traceback(None)
        else:
            if response.request.signed:
                self._skew.note_accepted(response.sent_ms)
        return response

    def _exclusively(self, flow: Flow[None]) -> Flow[None]:
        failure = yield Exclusive(flow)
        if isinstance(failure, BinanceLoanError):
            raise failure

    def _correct_clock(self, corrections: int, *, refused: bool = False) -> Flow[None]:
        """Correct the clock by Binance's time, unless a concurrent request has done so by now.

        :param corrections: how often it was corrected when the need for it was seen.
        :param refused: whether Binance has refused a timestamp, which leaves a line in the log.
        """
        if self._skew.corrections != corrections:
            return
        response = yield from self._send(TIME)
        server_ms = response.payload.get("serverTime") if isinstance(response.payload, dict) else None
        if type(server_ms) is not int or not EARLIEST_MS <= server_ms < LATEST_S * 1000:
            no_time = f"{shown_from_answer(server_ms)}, which is not a time"
            received = "absent" if server_ms is None else no_time
            raise BadResponseError(
                f"Check the host: the serverTime of its answer is {received}.",
                status=response.status,
                path=TIME.path,
            )
        # By this machine's clock, from when the request was sent: before that, it may have had to wait.
        sent_ms = response.sent_ms - response.clock_offset_ms
        self._skew.correct(self._clock, sent_ms, response.received_ms, server_ms)
        if refused:
            self._log.correction(self._skew.ahead_s)

    def _still_refused(self, error: ClockError) -> ClockError:
        """Return the error for a timestamp that Binance refuses even by its own clock."""
        ahead_s = self._skew.ahead_s
        if abs(ahead_s) < 1:
            recv_window = self._settings.recv_window
            advice = f"Raise recv_window, {recv_window} ms, on a slow network, or check the clock"
        else:
            advice = f"Set this machine's clock, {described_skew(ahead_s)}"
        return ClockError(
            f"{advice}: Binance refused the timestamp also after a correction by its own time.",
            status=error.status,
            code=error.code,
            path=error.path,
        )

    def _url(self, step: Send) -> str:
        """Return the address to send as it is: the signature covers the exact bytes of its query."""
        address = self._settings.base_url + step.request.path
        if not step.request.signed:
            return address
        params = (*step.request.params, ("recvWindow", self._settings.recv_window))
        return f"{address}?{signed_query(params, self._settings.credentials, step.timestamp_ms)}"

    def _response(self, body: bytes, step: Send, status: int, headers: Mapping[str, str]) -> Response:
        lowered = {name.lower(): value for name, value in headers.items()}
        return Response(
            step.request,
            status,
            lowered,
            body,
            step.timestamp_ms,
            self._clock.now_ms(),
            step.clock_offset_ms,
        )

    def _unreachable(self, request: Request, error: Exception) -> TransientError:
        """Return the error for a missing answer; without the HTTP client's text, which has the signature."""
        causes = list(_causes(error))
        host = self._settings.base_url
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            message = (
                f"Check verify, the host, and what intercepts its certificates: {host} failed its TLS check."
            )
        elif any(isinstance(cause, TimeoutError) for cause in causes):
            message = f"Check the host, the network and the timeout: {host} gave no answer in time."
        else:
            message = f"Check the host, the network and the proxy: {host} could not be reached, or hung up."
        return TransientError(message, path=request.path)

    @contextmanager
    def _naming_connection(self) -> Iterator[None]:
        """Set the connection's id on every error that leaves the client."""
        try:
            yield
        except BinanceLoanError as error:
            error.conn_id = self._settings.conn_id
            raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__
