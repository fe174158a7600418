"""What an API key may do, and what of it the key's owner should know.

https://developers.binance.com/docs/wallet/account/api-key-permission
"""

from __future__ import annotations

from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.binance.plans import Plan, gather
from airflow_provider_binance_loan.exceptions import BadResponseError

PERMISSIONS = Request("/sapi/v1/account/apiRestrictions")


def read_key_warnings() -> Plan[list[str]]:
    """Return the plan that reads what the key may do beyond reading records, and returns it as sentences.

    :raises BadResponseError: Binance does not say what the key may do.
    """
    (response,) = yield from gather([PERMISSIONS])
    permissions = response.payload
    if not isinstance(permissions, dict) or not {"ipRestrict", "enableWithdrawals"} <= permissions.keys():
        raise BadResponseError(
            "Check the key's permissions at Binance: the answer does not state them.",
            status=response.status,
            path=PERMISSIONS.path,
        )
    warnings = []
    if permissions["enableWithdrawals"] is not False:
        warnings.append("Warning: the key may withdraw; make one that may read only.")
    if permissions["ipRestrict"] is not True:
        warnings.append("Warning: the key works from any IP address; restrict it to Airflow's own.")
    return warnings
