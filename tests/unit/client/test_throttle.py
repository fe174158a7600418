"""The throttle: how requests are spaced out, what holds them back, and who shares it."""

from __future__ import annotations

import pytest

from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.client.base import BaseClient
from airflow_provider_binance_loan.client.throttle import WEIGHT_LIMIT, Throttle, shared_throttle
from airflow_provider_binance_loan.exceptions import RateLimitedError
from tests.support.clock import NOW, FakeClock
from tests.support.settings import new_settings

NOW_MS = int(NOW.timestamp() * 1000)
LIGHT, HEAVY = Request("/path"), Request("/path", weight=200)
PROXY, OTHER_PROXY = "http://proxy:3128", "http://other:3128"


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(clock)


def limited(wait_s: float, *, banned: bool = False) -> RateLimitedError:
    return RateLimitedError("Wait.", ends_at_ms=NOW_MS + round(1000 * wait_s), banned=banned)


def sent_at(throttle: Throttle, clock: FakeClock, request: Request) -> float:
    """Wait until a request may be sent and has been answered, and return when that is."""
    for wait_s in throttle.waits(request, 60):
        clock.sleep(wait_s)
    throttle.end(request)
    return clock.monotonic()


class TestWeight:
    """Beyond 80 % of a minute's weight, each request waits for its share of the minute."""

    @pytest.mark.parametrize(
        ("used", "request_", "pause_s"),
        [
            (0, HEAVY, 0),
            (9_600, HEAVY, 0),
            (9_601, HEAVY, 60 * 200 / 2399),
            (9_601, LIGHT, 60 / 2399),
            (11_000, LIGHT, 0.06),
            (11_000, HEAVY, 12),
            (11_800, HEAVY, 60),
            (11_900, HEAVY, 60),
            (11_999, LIGHT, 60),
            (12_000, LIGHT, 60),
            (15_000, HEAVY, 60),
        ],
    )
    def test_eleven_requests_take_ten_pauses(
        self, throttle: Throttle, clock: FakeClock, used: int, request_: Request, pause_s: float
    ) -> None:
        """The first request is sent at once, and each of the others after a pause of a minute at most."""
        throttle.note_weight("/path", used)
        times = [sent_at(throttle, clock, request_) for _ in range(11)]
        assert times == pytest.approx([pause_s * number for number in range(11)])

    @pytest.mark.parametrize("rolling", [False, True], ids=["minutes of the clock", "last 60 s"])
    @pytest.mark.parametrize("weight", [20, 200, 1000])
    def test_stays_within_the_limit(
        self, throttle: Throttle, clock: FakeClock, weight: int, rolling: bool
    ) -> None:
        """However Binance counts a minute, requests one after another never use more than its weight."""
        request = Request("/path", weight=weight)
        sent: list[float] = []
        for _ in range(2 * WEIGHT_LIMIT // weight):
            now_s = sent_at(throttle, clock, request)
            sent.append(now_s)
            from_s = now_s - 60 if rolling else now_s // 60 * 60
            used = weight * sum(time_s >= from_s for time_s in sent)
            assert used <= WEIGHT_LIMIT
            throttle.note_weight("/path", used)
            clock.sleep(0.001)

    def test_counts_what_is_under_way(self, throttle: Throttle, clock: FakeClock) -> None:
        """Requests whose answers have not come yet count as used, however many are sent at once."""
        throttle.note_weight("/path", 9_000)
        waits = [next(throttle.waits(HEAVY, 60), 0) for _ in range(6)]
        assert waits == [0, 0, 0, 0, 0, pytest.approx(60 * 200 / (12_000 - 9_800))]
        for _ in range(5):
            throttle.end(HEAVY)
        throttle.note_weight("/path", 9_400)
        assert list(throttle.waits(HEAVY, 60)) == []

    def test_is_mentioned_once_in_ten_minutes(self, throttle: Throttle, clock: FakeClock) -> None:
        """Whoever shares a log says once that requests are spaced out, for each path."""
        assert [throttle.mention_spacing("/path") for _ in range(2)] == [True, False]
        assert throttle.mention_spacing("/other")
        clock.sleep(600)
        assert throttle.mention_spacing("/path")

    def test_spaces_out_each_path_on_its_own(self, throttle: Throttle, clock: FakeClock) -> None:
        """The weight of one endpoint does not slow down the requests to another."""
        throttle.note_weight("/path", 11_000)
        sent_at(throttle, clock, HEAVY)
        assert list(throttle.waits(HEAVY._replace(path="/other"), 60)) == []
        assert next(throttle.waits(HEAVY, 60)) == 12

    def test_is_quick_again_when_the_weight_is_low(self, throttle: Throttle, clock: FakeClock) -> None:
        """A pause ends with the first answer that states less than 80 %."""
        throttle.note_weight("/path", 11_000)
        sent_at(throttle, clock, HEAVY)
        throttle.note_weight("/path", 200)
        assert list(throttle.waits(HEAVY, 60)) == []


class TestHold:
    """A wait that Binance asks for holds back every request."""

    def test_the_longest_wait_counts(self, throttle: Throttle) -> None:
        """Of several waits that concurrent requests are told, the one that ends last counts."""
        for seconds in (30, 7, 50, 1):
            throttle.hold(limited(seconds))
        assert throttle.held_for_s() == 50
        assert next(throttle.waits(LIGHT, 60)) == 50

    def test_holds_back_all_paths(self, throttle: Throttle, clock: FakeClock) -> None:
        """A limit or ban is one of the IP address, and not of an endpoint."""
        throttle.hold(limited(7))
        assert sent_at(throttle, clock, LIGHT._replace(path="/other")) == 7
        assert throttle.held_for_s() == 0

    def test_is_measured_on_the_monotonic_clock(self, throttle: Throttle, clock: FakeClock) -> None:
        """Setting the time of day neither ends nor prolongs a wait."""
        throttle.hold(limited(30))
        clock.ms += 3_600_000
        assert throttle.held_for_s() == 30
        clock.ms -= 7_200_000
        assert throttle.held_for_s() == 30

    @pytest.mark.parametrize(("error", "max_wait_s"), [(limited(7), 6.9), (limited(1, banned=True), 60)])
    def test_raises_a_copy_of_the_error(
        self, throttle: Throttle, clock: FakeClock, error: RateLimitedError, max_wait_s: float
    ) -> None:
        """A ban, or a wait longer than allowed, is raised anew each time, and no more after its end."""
        throttle.hold(error)
        raised = []
        for conn_id in ("first", "second"):
            with pytest.raises(RateLimitedError) as caught:
                next(throttle.waits(LIGHT, max_wait_s))
            raised.append(caught.value)
            assert caught.value.conn_id is None
            caught.value.conn_id = conn_id
        assert raised[0] is not raised[1]
        for one in raised:
            assert (one.message, one.ends_at_ms, one.banned) == (
                error.message,
                error.ends_at_ms,
                error.banned,
            )
        clock.sleep(7)
        assert list(throttle.waits(LIGHT, max_wait_s)) == []

    def test_keeps_no_traceback(self, throttle: Throttle) -> None:
        """The throttle lives as long as the process, and keeps nothing of the frames that met an error."""
        with pytest.raises(RateLimitedError) as caught:
            raise limited(7)
        throttle.hold(caught.value)
        assert throttle._held_by is not caught.value
        assert throttle._held_by
        assert throttle._held_by.__traceback__ is None


class TestSharing:
    """What Binance told one client counts for the others that leave by the same address."""

    def test_clients_of_one_host_and_proxy_share(self, clock: FakeClock) -> None:
        """Weight and wait of one client are those of another one, whatever its connection."""
        first, second = (
            BaseClient(new_settings(conn_id=conn_id, proxy=PROXY), clock=clock) for conn_id in ("a", "b")
        )
        first.throttle.note_weight("/path", 11_000)
        first.throttle.hold(limited(7))
        assert second.throttle.used_weight("/path") == 11_000
        assert second.throttle.held_for_s() == 7

    @pytest.mark.parametrize(
        "other",
        [{"proxy": OTHER_PROXY}, {"proxy": None}, {"base_url": "https://api1.binance.com", "proxy": PROXY}],
    )
    def test_another_proxy_or_host_does_not_share(
        self, clock: FakeClock, other: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another egress address has limits of its own, and so has another host."""
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        first = BaseClient(new_settings(proxy=PROXY), clock=clock)
        second = BaseClient(new_settings(**other), clock=clock)
        first.throttle.note_weight("/path", 11_000)
        first.throttle.hold(limited(7))
        assert second.throttle.used_weight("/path") == 0
        assert second.throttle.held_for_s() < 0

    def test_the_environments_proxy_counts(self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy from the environment is the same egress address as that proxy in a connection."""
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        monkeypatch.setenv("HTTPS_PROXY", PROXY)
        first = BaseClient(new_settings(), clock=clock)
        second = BaseClient(new_settings(proxy=PROXY), clock=clock)
        assert first.throttle is second.throttle is shared_throttle("https://api.binance.com", PROXY, clock)

    def test_names_the_connection_that_meets_it(self, clock: FakeClock) -> None:
        """A ban is raised in the name of the client that meets it, not of the one that caused it."""
        first, second = (BaseClient(new_settings(conn_id=conn_id), clock=clock) for conn_id in ("a", "b"))
        first.throttle.hold(limited(7, banned=True))
        errors = []
        for client in (first, second, first):
            with pytest.raises(RateLimitedError) as caught, client._naming_connection():
                next(client._flow(LIGHT))
            errors.append(caught.value)
        assert [error.conn_id for error in errors] == ["a", "b", "a"]
