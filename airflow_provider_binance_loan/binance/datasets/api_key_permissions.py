"""What an API key may do, and what of it its owner should know.

https://developers.binance.com/docs/wallet/account/api-key-permission
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.exceptions import BadResponseError

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.plans import Reading

_PATH = "/sapi/v1/account/apiRestrictions"


def read_key_warnings() -> Reading[list[str]]:
    """Return the reading of what the key may do beyond what reading records needs, as sentences.

    :raises BadResponseError: Binance does not say what the key may do.
    """
    (response,) = yield (Request(_PATH),)
    may = response.payload
    if not isinstance(may, dict) or not {"ipRestrict", "enableWithdrawals"} <= may.keys():
        raise BadResponseError(f"{_PATH} did not say what the key may do.", status=response.status)
    warnings = []
    if may["enableWithdrawals"] is not False:
        warnings.append("Warning: the key may withdraw; make one that may read only.")
    if may["ipRestrict"] is not True:
        warnings.append("Warning: the key works from any IP address; restrict it to Airflow's own.")
    return warnings
