"""Slices of time that are still to be read, the newest last."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.pace import Pace


class Slice(NamedTuple):
    """A slice of time that is still to be read.

    :param halve: whether it is the newer part of a slice that was cut: if it is still full, the times of its
        rows are no guide to cutting it, so it is halved.
    :param dense: whether it holds more than a page of rows of one millisecond, so that cutting it is no use.
    :param whole: whether it is asked for as it is, whatever the pace.
    """

    start_ms: int
    end_ms: int
    halve: bool = False
    dense: bool = False
    whole: bool = False

    @property
    def width_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms


def before(end_ms: int, todo: list[Slice]) -> list[Slice]:
    """Return what of some slices lies before the end of a part, which may have moved back."""
    return [
        time_slice._replace(end_ms=min(time_slice.end_ms, end_ms))
        for time_slice in todo
        if time_slice.start_ms < end_ms
    ]


def take(todo: list[Slice], pace: Pace) -> Slice:
    """Take the next slice, about as wide as the pace says, from the newest end."""
    taken = todo.pop()
    width_ms = ceil(taken.width_ms / ceil(taken.width_ms / pace.width_ms))  # even, without a remainder
    if taken.halve or taken.dense or taken.whole or width_ms == taken.width_ms:
        return taken
    todo.append(Slice(taken.start_ms, taken.end_ms - width_ms))
    return taken._replace(start_ms=taken.end_ms - width_ms)


def isolate(todo: list[Slice], time_slice: Slice, time_ms: int) -> None:
    """Put a slice back as three, so that only the middle one's request covers a dense millisecond.

    A request covers a millisecond before its slice, and Binance may include the end.
    """
    first_ms, last_ms = max(time_ms - 1, time_slice.start_ms), min(time_ms + 2, time_slice.end_ms)
    pieces = (
        Slice(time_slice.start_ms, first_ms),
        Slice(first_ms, last_ms, dense=True),
        Slice(last_ms, time_slice.end_ms),
    )
    todo += [piece for piece in pieces if piece.width_ms > 0]


def put_back(todo: list[Slice], time_slice: Slice, cut_ms: int) -> None:
    """Put a slice back as two, the older of which is joined with what lies before it."""
    start_ms = time_slice.start_ms
    if todo and todo[-1].end_ms == start_ms and not (todo[-1].halve or todo[-1].dense):
        start_ms = todo.pop().start_ms
    todo += [Slice(start_ms, cut_ms), Slice(cut_ms, time_slice.end_ms, halve=True)]
