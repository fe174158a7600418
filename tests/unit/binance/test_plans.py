"""Request plans: several requests under way, answers in any order, and nothing asked for twice."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import Plan, gather, interleave
from tests.support.plans import PlanRunner


def answered(request: Request) -> Response:
    return Response(request, 200, {}, b"{}", 0)


def requests(*names: str) -> list[Request]:
    return [Request(name) for name in names]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("max_concurrency", [1, 2, 5])
def test_gather_keeps_the_order_of_the_requests(max_concurrency: int, seed: int | None) -> None:
    """Whichever answer is received first, each response is at its request's place."""
    runner = PlanRunner(answered, max_concurrency, seed)
    responses = runner.run(gather(requests("/a", "/b", "/a", "/c")))
    assert [response.request.path for response in responses] == ["/a", "/b", "/a", "/c"]
    assert runner.most_under_way == min(max_concurrency, 4)


def test_gather_of_nothing_asks_nothing() -> None:
    """Without requests the result is there at once."""
    assert PlanRunner(answered).run(gather([])) == []


def rounds(name: str, sizes: list[int], done: list[str]) -> Plan[None]:
    """A plan of several rounds, each of which needs all answers of the one before."""
    for number, size in enumerate(sizes):
        responses = yield from gather(requests(*[f"/{name}/{number}"] * size))
        assert {response.request.path for response in responses} == {f"/{name}/{number}"}
    done.append(name)


@pytest.mark.parametrize("seed", [None, *range(20)])
@pytest.mark.parametrize("max_concurrency", [1, 3, 100])
def test_interleave_runs_each_plan_to_its_end(max_concurrency: int, seed: int | None) -> None:
    """Plans of different lengths, empty ones among them, each get exactly their own answers."""
    sent: list[str] = []
    done: list[str] = []

    def answer(request: Request) -> Response:
        sent.append(request.path)
        return answered(request)

    sizes: dict[str, list[int]] = {"a": [1, 1, 1], "b": [], "c": [4], "d": [2, 1], "e": [1]}
    plans = (rounds(name, counts, done) for name, counts in sizes.items())
    PlanRunner(answer, max_concurrency, seed).run(interleave(plans))
    assert sorted(done) == sorted(sizes)
    assert sorted(sent) == sorted(
        f"/{name}/{number}"
        for name, counts in sizes.items()
        for number, size in enumerate(counts)
        for _ in range(size)
    )


def test_interleave_starts_a_plan_only_when_there_is_room() -> None:
    """Thousands of plans may be given, and only those that have room are started."""
    started: list[int] = []

    def plan(number: int) -> Plan[None]:
        started.append(number)
        yield from gather(requests(f"/{number}"))

    running = interleave(plan(number) for number in range(1000))
    under_way: list[Any] = [running.send(None) for _ in range(3)]
    assert [request.path for request in under_way] == ["/0", "/1", "/2"]
    assert started == [0, 1, 2]


def test_interleave_fills_the_room_while_a_plan_waits() -> None:
    """A plan that waits for its own answers does not keep the others from asking."""
    done: list[str] = []
    runner = PlanRunner(answered, 4)
    runner.run(interleave(rounds(name, [1, 1, 1], done) for name in "abcdefgh"))
    assert runner.most_under_way == 4
    assert len(done) == 8
