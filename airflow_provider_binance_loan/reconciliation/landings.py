"""Checks of what earlier tasks landed, by their manifests: no window is missing, no object has changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.time_range import TimeRange, parse_window
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.reconciliation.check import EXACT, build, compare
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_binance_loan.reconciliation.check import Check

Manifest = Mapping[str, Any]

_OBJECT_FIELDS = {"uri": str, "records": int, "bytes": int, "sha256": str}


class LandedObject(NamedTuple):
    """An object as a manifest describes it."""

    uri: str
    size: int
    sha256: str


def parse_manifests(value: Any) -> list[Manifest]:
    """Return the manifests of an argument: a manifest, or any nesting of lists of them; None is left out.

    :raises ConfigurationError: it holds something else, or a manifest lacks a field.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        for described in (value, *_tables(value)):
            _require_object(described)
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [manifest for item in value for manifest in parse_manifests(item)]
    raise ConfigurationError(
        "Give manifests as what landing tasks returned, such as manifests=land.output, or by a template of a "
        f"DAG with render_template_as_native_obj=True: it holds {shown(value)}."
    )


def landed_objects(manifests: Iterable[Manifest]) -> list[LandedObject]:
    """Return the objects of manifests, with those of flat tables, each as it is described once."""
    described = [one for manifest in manifests for one in (manifest, *_tables(manifest))]
    return list(dict.fromkeys(LandedObject(one["uri"], one["bytes"], one["sha256"]) for one in described))


def check_object(landed: LandedObject, now: tuple[int, str] | None) -> Check:
    """Return the row `landed_object`: the sizes of an object, then and now, and whether its hash is the same.

    :param now: the size and SHA-256 of the object as it is now; None where there is none.
    """
    check, size = "landed_object", Decimal(landed.size)
    if now is None:
        return build(check, landed.uri, "different", "there is no such object", size)
    size_now, sha256_now = now
    note = f"sizes in bytes; the SHA-256 is {sha256_now}"
    if sha256_now == landed.sha256 and size_now == landed.size:
        return build(check, landed.uri, "equal", note, size, Decimal(size_now))
    note += f", and was {landed.sha256} when it was landed"
    return build(check, landed.uri, "different", note, size, Decimal(size_now))


def check_windows(manifests: Iterable[Manifest], window: TimeRange) -> Iterator[Check]:
    """Yield the rows `landed_window`: for each dataset one for each gap in the window, or one without gaps.

    The figures are seconds.
    """
    check = "landed_window"
    of_dataset: defaultdict[str, list[TimeRange]] = defaultdict(list)
    for manifest in manifests:
        landed, dataset = _window(manifest), manifest.get("dataset")
        if landed is None:
            note = "the manifest is not of a window"
            yield build(check, manifest["uri"], "not_compared", note)
        elif not isinstance(dataset, str):
            note = "the manifest does not name its dataset"
            yield build(check, manifest["uri"], "not_compared", note)
        else:
            of_dataset[dataset].append(landed)
    for dataset, landed_windows in sorted(of_dataset.items()):
        gaps = list(_gaps(landed_windows, window))
        for gap in gaps:
            note = "no landing covers this time"
            yield build(check, f"{dataset} of {gap}", "different", note, _seconds(gap), Decimal(0))
        if not gaps:
            yield compare(
                check,
                f"{dataset} of {window}",
                _seconds(window),
                _seconds(window),
                "seconds that are covered",
            )


def check_counts(
    manifests: Iterable[Manifest], pulled: Mapping[str, int], window: TimeRange
) -> Iterator[Check]:
    """Yield a row `landed_records` for each landing of exactly the window: the records then and now.

    :param pulled: how many records of each dataset the window has now.
    """
    check = "landed_records"
    for manifest in manifests:
        dataset = manifest.get("dataset")
        if _window(manifest) != window or not isinstance(dataset, str):
            continue
        subject, then = f"{dataset} of {window}, {manifest['uri']}", Decimal(manifest["records"])
        if dataset not in pulled:
            yield build(check, subject, "not_compared", "the dataset was not pulled", then)
        elif manifest.get("running"):
            note = "some liquidations were running when they were landed"
            yield build(check, subject, "not_compared", note, then, Decimal(pulled[dataset]))
        else:
            yield compare(check, subject, then, Decimal(pulled[dataset]))


def _tables(manifest: Manifest) -> Sequence[Any]:
    tables = manifest.get("tables")
    return list(tables.values()) if isinstance(tables, Mapping) else []


def _require_object(described: Any) -> None:
    for name, kind in _OBJECT_FIELDS.items():
        value = described.get(name) if isinstance(described, Mapping) else None
        if type(value) is not kind:
            raise ConfigurationError(
                f"Give manifests that landing tasks returned: {name} of {shown(described)} is {shown(value)}."
            )


def _window(manifest: Manifest) -> TimeRange | None:
    """Return the window of a manifest; None where it has none.

    :raises ConfigurationError: its bounds are no instants.
    """
    bounds = manifest.get("window_start"), manifest.get("window_end")
    if bounds == (None, None):
        return None
    try:
        start, end = (datetime.fromisoformat(bound) for bound in bounds)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"Give manifests with ISO 8601 bounds: window_start and window_end are {shown(bounds)}."
        ) from None
    return parse_window(start, end)


def _gaps(landed: Iterable[TimeRange], window: TimeRange) -> Iterator[TimeRange]:
    covered_ms = window.start_ms
    for start_ms, end_ms in sorted(landed):
        if start_ms >= window.end_ms:
            break
        if start_ms > covered_ms:
            yield TimeRange(covered_ms, start_ms)
        covered_ms = max(covered_ms, end_ms)
    if covered_ms < window.end_ms:
        yield TimeRange(covered_ms, window.end_ms)


def _seconds(time_range: TimeRange) -> Decimal:
    return EXACT.divide(Decimal(time_range.length_ms), Decimal(1000))
