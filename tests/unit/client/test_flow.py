"""One request's life, driven with `next()` and `.send()`, without network and on the fake clock."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import TIME, Request, Response
from airflow_provider_binance_loan.client.base import (
    BaseClient,
    Exclusive,
    Flow,
    Outcome,
    RetryPolicy,
    Send,
    Wait,
)
from airflow_provider_binance_loan.client.clock import ClockSkew
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from tests.support.clock import NOW, FakeClock
from tests.support.settings import new_settings

NOW_MS = int(NOW.timestamp() * 1000)
REQUEST = Request("/path", (("size", 100),))
# Without chance: after each attempt it backs off for as long.
STEADY = RetryPolicy(min_wait_s=0.5, max_wait_s=0.5)


@pytest.fixture
def client(clock: FakeClock) -> BaseClient:
    return BaseClient(new_settings(), clock=clock, retry_policy=STEADY)


def received(
    clock: FakeClock, payload: Any = None, status: int = 200, request: Request = REQUEST, **headers: str
) -> Response:
    """Return an answer that is received now. Underscores in names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"rows": []} if payload is None else payload).encode()
    return Response(request, status, named, body, clock.ms, clock.ms)


def refused(clock: FakeClock, status: int, code: int, text: str = "Text.", **headers: str) -> Response:
    return received(clock, {"code": code, "msg": text}, status, **headers)


def busy(clock: FakeClock) -> Response:
    return refused(clock, 503, -1008)


def clock_refused(clock: FakeClock) -> Response:
    return refused(clock, 400, -1021)


def result(flow: Flow[Any], outcome: Outcome | None = None) -> Any:
    """Return what a flow returns when it is sent an outcome; it must be the last one."""
    with pytest.raises(StopIteration) as stop:
        flow.send(outcome)
    return stop.value.value


def error(flow: Flow[Any], outcome: Outcome | None = None) -> BinanceLoanError:
    """Return what a flow raises when it is sent an outcome."""
    with pytest.raises(BinanceLoanError) as caught:
        flow.send(outcome)
    return caught.value


class TestSend:
    """A request without a fault."""

    def test_sends_at_once_and_returns_the_response(self, client: BaseClient, clock: FakeClock) -> None:
        """An undisturbed request is one step: it is sent, with the present as its timestamp."""
        flow = client._flow(REQUEST)
        assert next(flow)[:2] == (REQUEST, NOW_MS)
        response = received(clock)
        assert result(flow, response) is response

    def test_parses_the_content_before_it_returns(self, client: BaseClient, clock: FakeClock) -> None:
        """Content that Binance does not document is an error of the request, not of its later reader."""

        def parse(payload: Any) -> Any:
            raise BadResponseError("Check it.")

        request = REQUEST._replace(parse=parse)
        flow = client._flow(request)
        next(flow)
        bad = error(flow, received(clock, request=request))
        assert (type(bad), bad.path) == (BadResponseError, "/path")

    def test_notes_the_used_weight(self, client: BaseClient, clock: FakeClock) -> None:
        """The weight that an answer states is noted for its path, whether the answer is data or an error."""
        for used, status in (("700", 200), ("800", 401)):
            flow = client._flow(REQUEST)
            next(flow)
            answer = received(clock, {"rows": []}, status, x_sapi_used_ip_weight_1m=used)
            with pytest.raises((StopIteration, AuthRefusedError)):
                flow.send(answer)
            assert client.throttle.used_weight("/path") == int(used)
        assert client.throttle.used_weight("/other") == 0

    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (401, -2015, AuthRefusedError),
            (400, -1102, RequestRefusedError),
            (200, -1102, RequestRefusedError),
        ],
    )
    def test_raises_a_refusal_at_once(
        self, client: BaseClient, clock: FakeClock, status: int, code: int, kind: type[BinanceLoanError]
    ) -> None:
        """A refused request is not sent again."""
        flow = client._flow(REQUEST)
        next(flow)
        caught = error(flow, refused(clock, status, code))
        assert (type(caught), caught.status, caught.code, caught.path) == (kind, status, code, "/path")


class TestThrottle:
    """What the throttle holds back."""

    def test_waits_for_the_throttle(self, client: BaseClient, clock: FakeClock) -> None:
        """A request waits as long as the throttle is held, also when that is prolonged meanwhile."""
        client.throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 7000))
        flow = client._flow(REQUEST)
        assert next(flow) == Wait(7)
        clock.sleep(7)
        client.throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 9000))
        assert next(flow) == Wait(2)
        clock.sleep(2)
        assert next(flow)[:2] == (REQUEST, NOW_MS + 9000)

    def test_waits_its_share_of_the_minute(self, client: BaseClient, clock: FakeClock) -> None:
        """At 11,000 of 12,000 used, a request of weight 200 is followed by a pause of twelve seconds."""
        heavy = REQUEST._replace(weight=200)
        client.throttle.note_weight("/path", 11_000)
        first, second = client._flow(heavy), client._flow(heavy)
        assert next(first)[:2] == (heavy, NOW_MS)
        assert next(second) == Wait(12)
        clock.sleep(12)
        assert next(second)[:2] == (heavy, NOW_MS + 12_000)

    def test_sends_nothing_during_a_ban(self, client: BaseClient) -> None:
        """A ban that another request met is raised before anything is sent."""
        client.throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 1000, banned=True))
        with pytest.raises(RateLimitedError, match="Wait") as caught:
            next(client._flow(REQUEST))
        assert caught.value.banned


class TestRateLimit:
    """What Binance answers with 429 and 418."""

    def test_waits_as_long_as_retry_after_states(self, client: BaseClient, clock: FakeClock) -> None:
        """After a 429 with `Retry-After: 7` the request is sent again seven seconds later."""
        flow = client._flow(REQUEST)
        next(flow)
        assert flow.send(refused(clock, 429, -1003, retry_after="7")) == Wait(7)
        clock.sleep(7)
        assert next(flow)[:2] == (REQUEST, NOW_MS + 7000)
        response = received(clock)
        assert result(flow, response) is response

    def test_holds_back_other_requests(self, client: BaseClient, clock: FakeClock) -> None:
        """A 429 that one request meets holds back the others of the client."""
        flow = client._flow(REQUEST)
        next(flow)
        flow.send(refused(clock, 429, -1003, retry_after="7"))
        assert next(client._flow(REQUEST)) == Wait(7)

    def test_gives_up_a_wait_beyond_max_wait(self, clock: FakeClock) -> None:
        """A wait that is longer than the connection's `max_wait` is raised at once, with its end."""
        client = BaseClient(new_settings(max_wait=6), clock=clock)
        flow = client._flow(REQUEST)
        next(flow)
        caught = error(flow, refused(clock, 429, -1003, retry_after="7"))
        assert isinstance(caught, RateLimitedError)
        assert (caught.banned, caught.ends_at_ms) == (False, NOW_MS + 7000)

    @pytest.mark.parametrize(
        ("text", "headers", "wait_ms"),
        [
            ("Banned.", {"retry_after": "3"}, 3000),
            ("Banned.", {}, 120_000),
            (f"IP banned until {NOW_MS + 5000}.", {}, 5000),
        ],
    )
    def test_gives_up_at_a_ban(
        self, client: BaseClient, clock: FakeClock, text: str, headers: dict[str, str], wait_ms: int
    ) -> None:
        """A ban is never waited out, however short it is."""
        flow = client._flow(REQUEST)
        next(flow)
        caught = error(flow, refused(clock, 418, -1003, text, **headers))
        assert isinstance(caught, RateLimitedError)
        assert (caught.banned, caught.ends_at_ms) == (True, NOW_MS + wait_ms)


class TestRetries:
    """What is sent again, how often and for how long."""

    def test_gives_up_after_five_attempts(self, client: BaseClient, clock: FakeClock) -> None:
        """A host that stays busy is asked five times, each time with a new timestamp."""
        flow = client._flow(REQUEST)
        timestamps = []
        step: Any = next(flow)
        for _ in range(4):
            timestamps.append(step.timestamp_ms)
            assert flow.send(busy(clock)) == Wait(0.5)
            clock.sleep(0.5)
            step = next(flow)
        timestamps.append(step.timestamp_ms)
        caught = error(flow, busy(clock))
        assert (type(caught), caught.status, caught.code) == (TransientError, 503, -1008)
        assert timestamps == [NOW_MS + 500 * number for number in range(5)]

    @pytest.mark.parametrize("attempts", [1, 2, 3])
    def test_gives_up_after_as_many_attempts_as_the_policy_has(self, clock: FakeClock, attempts: int) -> None:
        """The retry policy says how many attempts a request has."""
        client = BaseClient(new_settings(), clock=clock, retry_policy=RetryPolicy(max_attempts=attempts))
        flow = client._flow(REQUEST)
        for _ in range(attempts - 1):
            assert isinstance(next(flow), Send)
            assert isinstance(flow.send(busy(clock)), Wait)
        assert isinstance(next(flow), Send)
        assert type(error(flow, busy(clock))) is TransientError

    def test_sends_again_without_an_answer(self, client: BaseClient, clock: FakeClock) -> None:
        """A missing answer, which a client reports as an error, is met with another attempt."""
        flow = client._flow(REQUEST)
        next(flow)
        assert flow.send(TransientError("Check the network.")) == Wait(0.5)
        clock.sleep(0.5)
        assert next(flow)[:2] == (REQUEST, NOW_MS + 500)
        response = received(clock)
        assert result(flow, response) is response

    def test_begins_no_attempt_after_the_deadline(self, clock: FakeClock) -> None:
        """An attempt that could only begin after the deadline is not waited for."""
        policy = RetryPolicy(deadline_s=10, min_wait_s=1, max_wait_s=1)
        client = BaseClient(new_settings(), clock=clock, retry_policy=policy)
        flow = client._flow(REQUEST)
        next(flow)
        clock.sleep(9)
        assert flow.send(busy(clock)) == Wait(1)  # begins at the deadline
        clock.sleep(1)
        next(flow)
        assert type(error(flow, busy(clock))) is TransientError

    def test_waits_for_one_limit_beyond_the_deadline(self, clock: FakeClock) -> None:
        """A wait that the connection allows may end after the deadline; another one is not begun then."""
        policy = RetryPolicy(deadline_s=10)
        client = BaseClient(new_settings(max_wait=600), clock=clock, retry_policy=policy)
        flow = client._flow(REQUEST)
        next(flow)
        assert flow.send(refused(clock, 429, -1003, retry_after="200")) == Wait(200)
        clock.sleep(200)
        assert next(flow)[0] == REQUEST
        assert type(error(flow, refused(clock, 429, -1003, retry_after="1"))) is RateLimitedError

    def test_backs_off_for_longer_each_time(self) -> None:
        """The back-off is at least a tenth of a second, and at most a second, then two, four, … and ten."""
        policy = RetryPolicy()
        for attempts, longest_s in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)):
            waits = [policy.back_off_s(attempts) for _ in range(300)]
            assert min(waits) >= 0.1
            assert longest_s * 0.8 < max(waits) <= longest_s

    def test_signs_each_attempt_anew(self, client: BaseClient, clock: FakeClock) -> None:
        """Two attempts differ in timestamp and signature; the signature is that of the bytes before it."""
        flow = client._flow(REQUEST)
        first = client._url(next(flow))  # type: ignore[arg-type]
        clock.sleep(flow.send(busy(clock)).seconds)  # type: ignore[union-attr]
        second = client._url(next(flow))  # type: ignore[arg-type]
        texts = [f"size=100&recvWindow=5000&timestamp={NOW_MS + wait_ms}" for wait_ms in (0, 500)]
        assert [first, second] == [
            f"https://api.binance.com/path?{text}&signature=signed-{len(text)}-{text[-3:]}" for text in texts
        ]

    def test_signs_no_request_for_the_time(self, client: BaseClient) -> None:
        """The request for Binance's time has neither parameters nor a signature."""
        assert client._url(Send(TIME, NOW_MS, 0)) == "https://api.binance.com/api/v3/time"


class Log:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *arguments: object) -> None:
        self.lines.append(text % arguments)


class TestLog:
    """Each retry and each wait for a rate limit leaves one line, with its reason and end."""

    @pytest.fixture
    def log(self) -> Log:
        return Log()

    @pytest.fixture
    def client(self, clock: FakeClock, log: Log) -> BaseClient:
        return BaseClient(new_settings(), clock=clock, retry_policy=STEADY, log=log)  # type: ignore[arg-type]

    def test_logs_each_retry(self, client: BaseClient, clock: FakeClock, log: Log) -> None:
        """The line says when it sends again, which attempt that is, and why; the error says how many."""
        flow = client._flow(REQUEST)
        for _ in range(4):
            next(flow)
            flow.send(busy(clock))
            clock.sleep(0.5)
        next(flow)
        caught = error(flow, busy(clock))
        reason = (
            "Try again later: Binance says 'Text' "
            "(connection 'binance_loan_default', HTTP 503, code -1008, /path)."
        )
        assert log.lines == [
            f"Sending again at 2026-03-01T12:00:{second}+00:00, in 0.5 s, attempt {attempt} of 5: {reason}"
            for attempt, second in ((2, "00"), (3, "01"), (4, "01"), (5, "02"))
        ]
        assert caught.attempts == 5
        assert str(caught).endswith("HTTP 503, code -1008, 5 attempts, /path).")

    def test_states_no_number_of_attempts_when_there_was_one(
        self, client: BaseClient, clock: FakeClock, log: Log
    ) -> None:
        """A request that was sent once leaves no line, and its error no number."""
        flow = client._flow(REQUEST)
        next(flow)
        caught = error(flow, refused(clock, 418, -1003, retry_after="300"))
        assert "attempts" not in str(caught)
        assert log.lines == []

    def test_logs_a_rate_limit_once(self, client: BaseClient, clock: FakeClock, log: Log) -> None:
        """Of several requests that wait for one limit, the one that met it says so."""
        flow = client._flow(REQUEST)
        next(flow)
        assert flow.send(refused(clock, 429, -1003, retry_after="7")) == Wait(7)
        assert next(client._flow(REQUEST)) == Wait(7)
        (line,) = log.lines
        assert line.startswith(
            "Sending again at 2026-03-01T12:00:07+00:00, in 7.0 s, attempt 2 of 5: "
            "Wait until 2026-03-01T12:00:07+00:00: Binance limits this IP address"
        )

    def test_logs_the_limit_of_another_client_once(
        self, client: BaseClient, clock: FakeClock, log: Log
    ) -> None:
        """A limit that another client of the process met is logged by the first request that waits for it."""
        client.throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 7000))
        for _ in range(3):
            assert next(client._flow(REQUEST)) == Wait(7)
        assert log.lines == [
            (
                "Waiting until 2026-03-01T12:00:07+00:00, for 7.0 s: Binance limits this IP address "
                "(connection 'binance_loan_default', /path)."
            )
        ]
        clock.sleep(7)
        client.throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 10_000))
        assert next(client._flow(REQUEST)) == Wait(3)
        assert len(log.lines) == 2

    @pytest.mark.parametrize(("weight", "lines"), [(200, 1), (1, 0)])
    def test_logs_a_long_pause(
        self, client: BaseClient, clock: FakeClock, log: Log, weight: int, lines: int
    ) -> None:
        """A pause before the weight of a minute is used up is logged when it takes seconds."""
        client.throttle.note_weight("/path", 11_000)
        request = REQUEST._replace(weight=weight)
        next(client._flow(request))
        assert isinstance(next(client._flow(request)), Wait)
        assert len(log.lines) == lines
        assert [
            line for line in log.lines if "for 12.0 s: 11000 of the minute's weight of 12000" in line
        ] == (log.lines)

    def test_logs_a_correction_of_the_clock(self, client: BaseClient, clock: FakeClock, log: Log) -> None:
        """A request that is sent again by Binance's time says how far this machine's clock is off."""
        flow = client._flow(REQUEST)
        next(flow)
        step = flow.send(clock_refused(clock))
        assert isinstance(step, Exclusive)
        next(step.flow)
        result(step.flow, received(clock, {"serverTime": NOW_MS - 60_000}, request=TIME))
        assert log.lines == [
            (
                "Sending again by Binance's time: it refused a timestamp of this machine's clock, "
                "which is 60.0 s ahead."
            )
        ]


class TestClock:
    """A timestamp that Binance refuses."""

    def correction(self, flow: Flow[Any], clock: FakeClock) -> Flow[None]:
        """Return the flow that corrects the clock, after a refused timestamp."""
        assert isinstance(next(flow), Send)
        step = flow.send(clock_refused(clock))
        assert isinstance(step, Exclusive)
        return step.flow

    def time(self, clock: FakeClock, server_ms: Any) -> Response:
        return received(clock, {"serverTime": server_ms}, request=TIME)

    def test_corrects_the_clock_once(self, client: BaseClient, clock: FakeClock) -> None:
        """After a refusal the time is requested, and the request is sent by that time without a back-off."""
        flow = client._flow(REQUEST)
        correction = self.correction(flow, clock)
        assert next(correction)[:2] == (TIME, NOW_MS)
        assert result(correction, self.time(clock, NOW_MS + 60_000)) is None
        assert next(flow)[:2] == (REQUEST, NOW_MS + 60_000 - 250)
        response = received(clock)
        assert result(flow, response) is response

    def test_gives_up_at_a_second_refusal(self, client: BaseClient, clock: FakeClock) -> None:
        """A timestamp that is refused again, by Binance's own time, is an error that states the drift."""
        flow = client._flow(REQUEST)
        correction = self.correction(flow, clock)
        next(correction)
        result(correction, self.time(clock, NOW_MS - 60_000))
        next(flow)
        caught = error(flow, clock_refused(clock))
        assert (type(caught), caught.status, caught.code, caught.path) == (ClockError, 400, -1021, "/path")
        assert "60.0 s ahead" in caught.message
        assert caught.__context__ is None

    def test_corrects_a_corrected_clock(self, client: BaseClient, clock: FakeClock) -> None:
        """A further correction is counted from this machine's clock, and not from the corrected one."""
        for server_ms in (NOW_MS + 60_000, NOW_MS + 3_600_000):
            flow = client._flow(REQUEST)
            correction = self.correction(flow, clock)
            step = next(correction)
            assert isinstance(step, Send)
            body = json.dumps({"serverTime": server_ms}).encode()
            result(correction, client._response(body, step, 200, {}))
            assert next(flow)[:2] == (REQUEST, server_ms - 250)

    def test_two_clients_of_a_hook_correct_the_clock_alike(self, clock: FakeClock) -> None:
        """Each correction is counted from the offset that its own request was sent with."""
        skew = ClockSkew()
        clients = [BaseClient(new_settings(), clock=clock, skew=skew) for _ in range(2)]
        corrections = [self.correction(client._flow(REQUEST), clock) for client in clients]
        steps = [next(correction) for correction in corrections]
        for client, correction, step in zip(clients, corrections, steps, strict=True):
            assert isinstance(step, Send)
            body = json.dumps({"serverTime": NOW_MS - 60_000}).encode()
            result(correction, client._response(body, step, 200, {}))
        assert skew.offset_ms == -60_000 - 250

    def test_uses_the_correction_of_a_concurrent_request(self, client: BaseClient, clock: FakeClock) -> None:
        """Of two requests that are refused at once, the second does not request the time again."""
        first, second = client._flow(REQUEST), client._flow(REQUEST)
        corrections = [self.correction(flow, clock) for flow in (first, second)]
        next(corrections[0])
        result(corrections[0], self.time(clock, NOW_MS + 60_000))
        assert result(corrections[1]) is None
        assert next(second)[:2] == (REQUEST, NOW_MS + 59_750)

    def test_backs_off_when_the_time_cannot_be_read(self, client: BaseClient, clock: FakeClock) -> None:
        """A passing fault of the request for the time counts as one attempt of the request."""
        flow = client._flow(REQUEST)
        correction = self.correction(flow, clock)
        next(correction)
        failure = error(correction, refused(clock, 503, -1008))
        assert flow.send(failure) == Wait(0.5)
        clock.sleep(0.5)
        assert next(flow)[:2] == (REQUEST, NOW_MS + 500)

    @pytest.mark.parametrize("server_ms", [None, "1772366400000", -1, 1.5, True, 10**18])
    def test_refuses_a_time_that_is_none(self, client: BaseClient, clock: FakeClock, server_ms: Any) -> None:
        """An answer without a time is an error of the request, which is not sent again."""
        flow = client._flow(REQUEST)
        correction = self.correction(flow, clock)
        next(correction)
        failure = error(correction, self.time(clock, server_ms))
        assert (type(failure), failure.path) == (BadResponseError, TIME.path)
        assert error(flow, failure) is failure
