"""Checks of what earlier tasks landed, by their manifests: windows, objects and numbers of records."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.time_range import TimeRange, parse_window
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.reconciliation.check import EXACT, build, compare
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_binance_loan.reconciliation.check import Check, Outcome

Manifest = Mapping[str, Any]

_OBJECT_FIELDS = {"uri": str, "records": int, "bytes": int, "sha256": str}


class StoredObject(NamedTuple):
    """An object as it is now: its size in bytes, its SHA-256 in hex, and the records its metadata states."""

    size: int
    sha256: str
    records: int | None


class Counted(NamedTuple):
    """The times of a dataset's records in the window, or why there are none to count.

    :param times: a time for each record, in order; empty times where Binance selects by an unknown one.
    """

    times: Sequence[int | None]
    missing: str | None = None


def parse_manifests(value: Any, read: Callable[[str], str]) -> list[Manifest | None]:
    """Return the manifests of an argument, each once, and None if a list holds that.

    :param value: a manifest, its address in S3, or any nesting of lists of them; None for none.
    :param read: returns the text of the object at an address.
    :raises ConfigurationError: it holds something else, or a manifest lacks a field.
    """
    found: list[Manifest | None] = []
    if value is None:
        return found
    for manifest in _manifests(value, read):
        if manifest not in found:
            found.append(manifest)
    return found


def landed_objects(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Yield the objects that manifests describe, with those of flat tables; each description once."""
    seen = set()
    for manifest in manifests:
        for described in (*_tables(manifest), manifest):
            description = tuple(described[name] for name in _OBJECT_FIELDS)
            if description not in seen:
                seen.add(description)
                yield described


def check_object(landed: Manifest, now: StoredObject | None) -> Iterator[Check]:
    """Yield the rows `landed_object`, the sizes then and now, and `landed_count`, the numbers of records.

    :param landed: the object as its manifest describes it.
    :param now: the object as it is; None where there is none.
    """
    uri, size, count = landed["uri"], Decimal(landed["bytes"]), Decimal(landed["records"])
    if now is None:
        yield build("landed_object", uri, "different", "there is no such object", size)
        return
    if now.sha256 == landed["sha256"]:
        yield compare("landed_object", uri, size, Decimal(now.size), "bytes, and the SHA-256 is that of then")
    else:
        note = f"bytes; the SHA-256 is {now.sha256}, and was {landed['sha256']}"
        yield build("landed_object", uri, "different", note, size, Decimal(now.size))
    if now.records is None:
        yield build("landed_count", uri, "not_compared", "the object's metadata has no number", count)
    else:
        note = "records by the manifest, and by the object's metadata"
        yield compare("landed_count", uri, count, Decimal(now.records), note)


def check_windows(manifests: Iterable[Manifest | None], window: TimeRange) -> Iterator[Check]:
    """Yield the rows `landed_window`: for each dataset one for each gap, or one without, and each overlap.

    A manifest that is None has a row, as what its task should have landed is unknown.

    The figures are seconds. Windows that overlap as those with `lookback` do, each a bit later than the one
    before, are not compared, as that may be meant.
    """
    check = "landed_window"
    of_dataset: defaultdict[str, list[TimeRange]] = defaultdict(list)
    for manifest in manifests:
        if manifest is None:
            note = "a manifest is None, as where its task was skipped or landed nothing"
            yield build(check, "manifests", "not_compared", note)
            continue
        landed, dataset = _window(manifest), manifest.get("dataset")
        if landed is None:
            yield build(check, manifest["uri"], "not_compared", "the manifest is not of a window")
        elif not isinstance(dataset, str):
            yield build(check, manifest["uri"], "not_compared", "the manifest does not name its dataset")
        else:
            of_dataset[dataset].append(landed)
    for dataset, windows in sorted(of_dataset.items()):
        yield from _check_gaps(dataset, sorted(windows), window)
        yield from _check_overlaps(dataset, sorted(windows))


def check_records(
    manifests: Iterable[Manifest], pulled: Mapping[str, Counted], window: TimeRange
) -> Iterator[Check]:
    """Yield a row `landed_records` for each landing of a part of the window: its records then and now.

    :param pulled: the records that each dataset has now.
    """
    check = "landed_records"
    for manifest in manifests:
        landed, dataset = _window(manifest), manifest.get("dataset")
        if landed is None or not isinstance(dataset, str):
            continue
        subject, then = f"{dataset} of {landed}, {manifest['uri']}", Decimal(manifest["records"])
        counted = pulled.get(dataset, Counted((), "it is no dataset that is read here"))
        if counted.missing:
            yield build(check, subject, "not_compared", counted.missing, then)
        elif landed.start_ms < window.start_ms or landed.end_ms > window.end_ms:
            note = "it is not all within the window that is reconciled"
            yield build(check, subject, "not_compared", note, then)
        elif None not in counted.times:
            first, last = (bisect_left(counted.times, bound) for bound in landed)  # type: ignore[type-var]
            yield compare(check, subject, then, Decimal(last - first), "records then, and now")
        elif landed == window and len(counted.times) == then:
            yield compare(check, subject, then, then, "records then, and now")
        else:
            note = "by which time Binance selects these records is unknown, and there may be more by now"
            yield build(check, subject, "not_compared", note, then)


def _manifests(value: Any, read: Callable[[str], str]) -> Iterator[Manifest | None]:
    if value is None:
        yield None
    elif isinstance(value, Mapping):
        for described in (value, *_tables(value)):
            _require_object(described)
        yield value
    elif isinstance(value, str) and value.startswith("s3://"):
        try:
            content = json.loads(read(value))
        except ValueError:
            raise ConfigurationError(
                f"Give manifests as JSON, each as a landing task returned it: {shown(value)} is none."
            ) from None
        if isinstance(content, str):  # it could be an address again, without end
            raise ConfigurationError(f"Give manifests that landing tasks returned: {shown(value)} is a text.")
        yield from _manifests(content, read)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield from _manifests(item, read)
    else:
        raise ConfigurationError(
            "Give manifests as what landing tasks returned, such as [land.output], or as addresses "
            f"s3://bucket/key of that as JSON: it holds {shown(value)}."
        )


def _tables(manifest: Manifest) -> Sequence[Any]:
    tables = manifest.get("tables")
    return list(tables.values()) if isinstance(tables, Mapping) else []


def _require_object(described: Any) -> None:
    for name, kind in _OBJECT_FIELDS.items():
        value = described.get(name) if isinstance(described, Mapping) else None
        if type(value) is not kind:
            # Records are shown without their values, which may be e-mail addresses.
            flaw = "missing" if value is None else f"of type {type(value).__name__}"
            raise ConfigurationError(
                "Give manifests that landing tasks returned, and set s3_key on those tasks: "
                f"{name} is {flaw} in {_outline(described)}."
            )


def _outline(described: Any) -> str:
    """Return a value by its type and its keys alone."""
    if not isinstance(described, Mapping):
        return f"an object of type {type(described).__name__}"
    return f"an object with the keys {shown(', '.join(map(str, described)))}" if described else "{}"


def _window(manifest: Manifest) -> TimeRange | None:
    """Return the window of a manifest; None where it has none.

    :raises ConfigurationError: its bounds are no instants.
    """
    bounds = manifest.get("window_start"), manifest.get("window_end")
    if bounds == (None, None):
        return None
    try:
        start, end = (datetime.fromisoformat(bound) for bound in bounds)  # type: ignore[arg-type]
        return parse_window(start, end)
    except (TypeError, ValueError, ConfigurationError):
        raise ConfigurationError(
            "Give manifests a window in ISO 8601 with time zone: window_start and window_end are "
            f"{shown(bounds)}."
        ) from None


def _check_gaps(dataset: str, landed: Iterable[TimeRange], window: TimeRange) -> Iterator[Check]:
    """Yield a row for each time of the window that no landing covers, or one for the whole window."""
    check, covered_ms, is_whole = "landed_window", window.start_ms, True
    for start_ms, end_ms in (*landed, TimeRange(window.end_ms, window.end_ms)):
        if start_ms > covered_ms < window.end_ms:
            gap = TimeRange(covered_ms, min(start_ms, window.end_ms))
            is_whole = False
            note = "no landing covers these seconds"
            yield build(check, f"{dataset} of {gap}", "different", note, _seconds(gap.length_ms), Decimal(0))
        covered_ms = max(covered_ms, end_ms)
    if is_whole:
        whole = _seconds(window.length_ms)
        yield build(check, f"{dataset} of {window}", "equal", "seconds, without a gap", whole, whole)


def _check_overlaps(dataset: str, landed: Sequence[TimeRange]) -> Iterator[Check]:
    """Yield a row for each window that begins before the end of those before it."""
    latest = TimeRange(0, 0)
    for one in landed:
        if one.start_ms < latest.end_ms:
            overlap = TimeRange(one.start_ms, min(one.end_ms, latest.end_ms))
            is_staircase = latest.start_ms < one.start_ms and latest.end_ms < one.end_ms
            note = "two landings cover these seconds"
            if is_staircase:
                note += ", as windows with lookback do: the record of the later one replaces the other"
            outcome: Outcome = "not_compared" if is_staircase else "different"
            once, twice = _seconds(overlap.length_ms), _seconds(2 * overlap.length_ms)
            yield build("landed_window", f"{dataset} of {overlap}", outcome, note, once, twice)
        latest = max(latest, one, key=lambda each: each.end_ms)


def _seconds(ms: int) -> Decimal:
    return EXACT.divide(Decimal(ms), Decimal(1000))
