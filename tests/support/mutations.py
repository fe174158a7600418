"""Answers that are nearly as documented: each is drawn from a seed, with some changes anywhere in its body.

A body is changed as a tree of JSON texts, so that a key may come twice, and a number may be written as no
encoder would write it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from airflow_provider_binance_loan.binance.declaration import Listing, Snapshot
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.parser import Page
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.binance.typed_records import TypedRecord, plain
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import Described, Event

START_MS = 1_772_366_400_000
SPAN = TimeRange(START_MS - 1000, START_MS + 1000)


class Pairs(list[list[Any]]):
    """An object, as its keys and values; these are JSON texts, `Pairs`, or lists."""


def _parsed(text: bytes) -> Any:
    """Return JSON as a tree."""

    def number(digits: str) -> Any:
        return _Raw(digits)

    document = json.loads(
        text, object_pairs_hook=lambda pairs: Pairs(map(list, pairs)), parse_int=number, parse_float=number
    )
    return _raw(document)


class _Raw(str):
    """A number, as it is written."""

    __slots__ = ()


def _raw(value: Any) -> Any:
    if isinstance(value, Pairs):
        return Pairs([json.dumps(key), _raw(inner)] for key, inner in value)
    if isinstance(value, list):
        return [_raw(item) for item in value]
    return str(value) if isinstance(value, _Raw) else json.dumps(value)


def _written(value: Any, separator: str = "") -> str:
    if isinstance(value, Pairs):
        inner = (f"{key}{separator}:{separator}{_written(item, separator)}" for key, item in value)
        return f"{{{f'{separator},'.join(inner)}{separator}}}"
    if isinstance(value, list):
        return f"[{f',{separator}'.join(_written(item, separator) for item in value)}]"
    return str(value)


# What may stand anywhere instead of a value.
NUMBERS = [
    *("0", "-0", "1", "-1", "1.0", "1.50", "0E-8", "0e0", "1.5E+3", "1e-7", "1e100", "1e101", "1e999999"),
    *("9" * 18, "9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 400, "9" * 5000),
    *("18446744073709551616", f"0.{'1' * 40}", str(START_MS), str(START_MS * 1000), "1748381716906.0"),
]
TEXTS = [f'"{number}"' for number in NUMBERS] + [
    *('""', '" 1"', '"1 "', '"+1"', '".5"', '"5."', '"1\\n"', '"1\\u000a2"', '"INF"', '"NaN"', '"x"'),
    *('"{\\"a\\":1}"', '"\\u0041"', '"\\ud83d"', '"\\ud83d\\ude00"', '"例え"', '"٣"', '"BORROW"', '"REPAY"'),
    *('"1_000"', '"0x1"', '"-"', '"1E"', '"E"', '"0E-8E"', '"\\u0030"', '"true"', '"1:2"', f'"{"x" * 300}"'),
]
OTHERS = [
    *("null", "true", "false", "[]", "{}", "[[]]", "[{}]", "[{},{}]", '{"a":1}', "[1,2]", '["1"]', "[null]"),
    *("[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300, "[" * 100_000, "NaN", "-Infinity", "01", "1."),
    *("+1", "'1'", "nul", "", "t", "{]"),
]


def _objects(value: Any) -> Iterator[Pairs]:
    if isinstance(value, Pairs):
        yield value
        for _, inner in value:
            yield from _objects(inner)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _places(value: Any) -> Iterator[tuple[list[Any], int]]:
    """Yield every place of a value, as the list that holds it and the index in it."""
    if isinstance(value, Pairs):
        for pair in value:
            yield pair, 1
            yield from _places(pair[1])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def _replace(dice: random.Random, holder: list[Any], index: int) -> None:
    holder[index] = dice.choice(dice.choice([NUMBERS, TEXTS, OTHERS]))


def _nullify(dice: random.Random, holder: list[Any], index: int) -> None:
    holder[index] = "null"


def _requote(dice: random.Random, holder: list[Any], index: int) -> None:
    """Write a number as a text, or a text as a number."""
    value = holder[index]
    if isinstance(value, str):
        holder[index] = value[1:-1] if value.startswith('"') else f'"{value}"'


def _rewrite(dice: random.Random, holder: list[Any], index: int) -> None:
    """Write an amount with an exponent."""
    holder[index] = dice.choice(['"0E-8"', "0E-8", '"1.25E+3"', "1.25e3", '"-1e-18"', '"7e2"'])


def _escape(dice: random.Random, holder: list[Any], index: int) -> None:
    """Write a character of a text as an escape."""
    value = holder[index]
    if isinstance(value, str) and value.startswith('"') and len(value) > 2 and "\\" not in value:
        at = dice.randrange(1, len(value) - 1)
        holder[index] = f"{value[:at]}\\u{ord(value[at]) % 2**16:04x}{value[at + 1 :]}"


def _wrap(dice: random.Random, holder: list[Any], index: int) -> None:
    """Put a value in a list, or take an item of a list out of it."""
    value = holder[index]
    listed = isinstance(value, list) and not isinstance(value, Pairs)
    holder[index] = dice.choice(value) if listed and value and dice.random() < 0.7 else [value]


def _repeat(dice: random.Random, holder: list[Any], index: int) -> None:
    """Put an item into its list once more."""
    if not isinstance(holder, Pairs) and len(holder) != 2:
        holder.append(copy.deepcopy(holder[index]))


def _drop(dice: random.Random, pairs: Pairs) -> None:
    if pairs:
        pairs.pop(dice.randrange(len(pairs)))


def _add(dice: random.Random, pairs: Pairs) -> None:
    name = dice.choice(["newField", "", "a:b", "groupId", "asked_at", "occurrence", "window_end", "total"])
    value = dice.choice(dice.choice([NUMBERS, TEXTS, OTHERS]))
    pairs.insert(dice.randrange(len(pairs) + 1), [json.dumps(name), value])


def _reorder(dice: random.Random, pairs: Pairs) -> None:
    dice.shuffle(pairs)


def _double(dice: random.Random, pairs: Pairs) -> None:
    """Write a key twice, with the same value or another one."""
    if pairs:
        key, value = copy.deepcopy(dice.choice(pairs))
        if dice.random() < 0.5:
            value = dice.choice(dice.choice([NUMBERS, TEXTS, OTHERS]))
        pairs.insert(dice.randrange(len(pairs) + 1), [key, value])


def _rename(dice: random.Random, pairs: Pairs) -> None:
    """Write a key in other capitals, or with an escape."""
    if pairs:
        pair = dice.choice(pairs)
        key = pair[0]
        changes = [key.upper(), key.lower(), key.swapcase(), f'"\\u{ord(key[1]):04x}{key[2:]}', f'"{key[2:]}']
        pair[0] = dice.choice(changes)


IN_PLACES = [_replace, _replace, _nullify, _requote, _requote, _rewrite, _rewrite, _escape, _wrap, _repeat]
IN_OBJECTS = [_drop, _add, _reorder, _reorder, _double, _double, _rename]
SPACES = ["", "", "", "", " ", "\n", "\r\n\t", "\x0b", "\u00a0"]


def _damage(dice: random.Random, body: bytes) -> bytes:
    """Return a body that is cut off, or has another byte somewhere, or more at either end."""
    at = dice.randrange(len(body))
    odd = dice.choice([b"\xff", b"\x00", b"\xed\xa0\x80", b"\xc3", b'"', b"\\", b":", b",", b"1", b" "])
    cut = [body[:at], body[at:]]
    changed = [body[:at] + odd + body[at:], body[:at] + odd + body[at + 1 :]]
    longer = [b"\xef\xbb\xbf" + body, b" \n" + body + b"\t", body + odd, body + body]
    return dice.choice(cut + changed + longer)


class Bodies:
    """Bodies of a dataset's answers, drawn at random.

    :param described: the dataset.
    """

    def __init__(self, described: Described) -> None:
        self._documents = []
        parts = getattr(described, "parts", 1)
        for count in (0, 1, 2, 3):
            for row in (described.documented_row, described.row):
                events = [
                    Event(START_MS - number, 1, number % parts, end_ms=START_MS, transfers_ms=[1, 2])
                    for number in range(count)
                ]
                document = described.payload(*map(row, events))
                self._documents.append(write_json(document))
        # As documented more often than not, and one row: most changes then hit a field.
        self._weights = [1, 1, 12, 3, 4, 1, 4, 1]

    def draw(self, dice: random.Random) -> bytes:
        """Return another body."""
        (text,) = dice.choices(self._documents, self._weights)
        document = [_parsed(text)]
        for _ in range(dice.choice([0, 1, 1, 1, 1, 2, 2, 3])):
            if dice.random() < 0.6:
                holder, index = dice.choice(list(_places(document)))
                dice.choice(IN_PLACES)(dice, holder, index)
            elif objects := list(_objects(document)):
                dice.choice(IN_OBJECTS)(dice, dice.choice(objects))
        body = _written(document[0], dice.choice(SPACES)).encode("utf-8", "surrogatepass")
        return _damage(dice, body) if body and dice.random() < 0.05 else body


class Outcome(NamedTuple):
    """What a client gets for an answer: its content, or the error and all that it says."""

    content: str
    was_typed: bool


def requests_of(described: Described) -> list[Request]:
    """Return requests that may have the same answer: of all risk units or one, and of each kind."""
    dataset = described.dataset
    if isinstance(dataset, WindowedDataset):
        return [
            dataset.span_request(SPAN, group_id, kind=kind)
            for kind in dataset.kinds
            for group_id in ((None, 1) if dataset.by_risk_unit else (None,))
        ]
    if isinstance(dataset, Listing):
        return [dataset.page_request(1)]
    assert isinstance(dataset, Snapshot)
    return [dataset.request()]


def carefully(request: Request) -> Request:
    """Return a request whose answer is parsed by the careful parser, whatever it is."""
    return request._replace(parse_documented=_none)


def _none(_: bytes) -> None:
    return None


def outcome(request: Request, body: bytes, status: int = 200) -> Outcome:
    """Return what a client gets for a body."""
    response = Response(request, status, {}, body, START_MS)
    try:
        response.raise_for_error()
        content = response.content
    except BinanceLoanError as error:
        return Outcome(f"{type(error).__name__}: {error} {vars(error)}", was_typed=False)
    rows = content.rows if isinstance(content, Page) else content
    total = content.total if isinstance(content, Page) else None
    # With all types, and the order of the fields.
    return Outcome(
        f"{total!r} {[plain(row) for row in rows]!r}", any(isinstance(row, TypedRecord) for row in rows)
    )


def compare(requests: list[Request], body: bytes) -> Outcome:
    """Return what a client gets for a body, the same with and without the typed parser; typed if any is.

    :raises AssertionError: it is not the same.
    """
    outcomes = []
    for request in requests:
        found = outcome(request, body)
        careful = outcome(carefully(request), body)
        assert found.content == careful.content, f"{body!r}: {found.content} and {careful.content}"
        outcomes.append(found)
    return max(outcomes, key=lambda found: found.was_typed)
