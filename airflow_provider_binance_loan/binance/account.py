"""What the account of an API key may read, as the test of a connection says it."""

from __future__ import annotations

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import read_ltvs
from airflow_provider_binance_loan.binance.plans import Plan, gather
from airflow_provider_binance_loan.exceptions import TransientError

#: How Binance refuses what the account of a key may not read. Without -2015, which is about the key itself:
#: more requests with it invite a ban.
OTHER_ACCOUNT_CODES = frozenset({-3003, -3999})
_CREDIT = "Binance accepts the key for the institutional loan records of its account."
_PARENT = (
    "Binance accepts the key for the LTVs of its risk units, as a parent account's: liquidations need the "
    "key of a credit account."
)


def read_account() -> Plan[str]:
    """Return the plan that finds out what the key reads, and returns it as a sentence.

    :raises RequestRefusedError: it reads neither the records of a credit account nor the LTVs that a parent
        account sees; the error is that of the records.
    """
    request = CLOSED_RISK_UNITS.page_request(1)._replace(handled_codes=OTHER_ACCOUNT_CODES)
    (closed,) = yield from gather([request])
    if closed.refusal is None:
        return _CREDIT
    try:
        yield from read_ltvs()
    except TransientError:  # the key sees no risk unit
        raise closed.refusal from None
    return _PARENT
