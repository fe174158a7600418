"""A driver of request plans without network: it sends what a plan asks for, and answers in a chosen order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import Plan


class PlanRunner:
    """Run plans as a client does, with up to so many requests under way.

    :param answer: returns the response to a request, when the request is sent.
    :param max_concurrency: how many requests may be under way.
    :param seed: in which order answers are received; None for the order of the requests.
    """

    def __init__(
        self, answer: Callable[[Request], Response], max_concurrency: int = 1, seed: int | None = None
    ) -> None:
        self._answer = answer
        self._max_concurrency = max_concurrency
        self._dice = None if seed is None else random.Random(seed)
        self.most_under_way = 0

    def run(self, plan: Plan[Any]) -> Any:
        """Return the plan's result."""
        under_way: list[Response] = []
        response: Response | None = None
        while True:
            try:
                request = plan.send(response)
            except StopIteration as stop:
                assert not under_way, "the plan has left answers behind"
                return stop.value
            response = None
            if request is not None:
                under_way.append(self._answer(request))
                self.most_under_way = max(self.most_under_way, len(under_way))
            if request is None or len(under_way) >= self._max_concurrency:
                assert under_way, "the plan waits for an answer, and no request is under way"
                response = under_way.pop(self._dice.randrange(len(under_way)) if self._dice else 0)
