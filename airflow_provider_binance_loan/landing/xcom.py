"""Records to an XCom, which Airflow's database holds as one value."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import described, is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_RECORDS = 1_000_000


def require_max_xcom_records(value: Any) -> None:
    """Require a number of records that an XCom can hold.

    :raises ConfigurationError: it is not.
    """
    if not is_number(value, 0, _MAX_RECORDS, whole=True):
        raise ConfigurationError(
            f"Give max_xcom_records as a whole number from 0 to {_MAX_RECORDS}: it is {described(value)}."
        )


def collect_for_xcom(records: Iterable[Mapping[str, Any]], max_xcom_records: int) -> list[Any]:
    """Return the records as a list.

    :raises ConfigurationError: there are more than `max_xcom_records`; no more than that are read.
    """
    collected = list(islice(records, max_xcom_records + 1))
    if len(collected) > max_xcom_records:
        raise ConfigurationError(
            "Set s3_key to land the records in S3: the window holds more than "
            f"max_xcom_records={max_xcom_records}, too many for XCom."
        )
    return collected
