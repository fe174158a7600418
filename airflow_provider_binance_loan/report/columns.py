"""The columns of the tables of the page: their headings, and the fields that they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_binance_loan.report.cells import Kind

# A check has no figures where it compares none, and an object of a snapshot no window.
_NONE = "–"  # noqa: RUF001 - a dash is meant


class Column(NamedTuple):
    """A column: its heading, its field, what kind of value that is, and what is written for none."""

    heading: str
    field: str
    kind: Kind = "text"
    none: str = "not stated"


LTVS = [
    Column("Time (UTC)", "asked_at", "time"),
    Column("LTV", "ltv", "amount"),
    Column("Total liability", "totalLiability", "amount"),
    Column("Net equity", "totalNetEquity", "amount"),
    Column("Maintenance margin", "totalMaintenanceMargin", "amount"),
]
RECORD = [Column("Field", "field"), Column("Value", "value")]
WALLETS = [
    Column("Account", "subEmail"),
    Column("Role", "memberType"),
    Column("Wallet", "walletType"),
    Column("Net equity", "netEquity", "amount"),
    Column("Maintenance margin", "maintainMargin", "amount"),
]
LOANS = [
    Column("Asset", "assetName"),
    Column("Principal", "principal", "amount"),
    Column("Interest", "interest", "amount"),
]
TRANSFERS = [
    Column("Time (UTC)", "transferTime", "time"),
    Column("Liquidation id", "liquidationId"),
    Column("Asset", "assetName"),
    Column("Amount", "amount", "amount"),
    Column("From wallet", "fromAccountType"),
    Column("From UID", "fromUid"),
    Column("To wallet", "toAccountType"),
    Column("To UID", "toUid"),
    Column("Status", "status"),
]
TRANSACTIONS = [
    Column("Time (UTC)", "timestamp", "time"),
    Column("Type", "type"),
    Column("Asset", "assetName"),
    Column("Amount", "amount", "amount"),
    Column("Principal", "principal", "amount"),
    Column("Interest", "interest", "amount"),
    Column("Status", "status"),
    Column("Transaction id", "tranId"),
]
INTEREST = [
    Column("Time (UTC)", "interestTimestamp", "time"),
    Column("Asset", "assetName"),
    Column("Principal", "principal", "amount"),
    Column("Hourly rate", "interestRate", "amount"),
    Column("Interest", "interest", "amount"),
]
CHECKS = [
    Column("Outcome", "outcome", "outcome"),
    Column("Check", "check"),
    Column("Expected", "expected", "amount", _NONE),
    Column("Found", "found", "amount", _NONE),
    Column("Difference", "difference", "amount", _NONE),
]
MANIFESTS = [
    Column("Records", "dataset"),
    Column("Number", "records", "amount"),
    Column("Bytes", "bytes", "amount"),
    Column("From (UTC)", "window_start", "instant", _NONE),
    Column("To (UTC)", "window_end", "instant", _NONE),
    Column("Object", "uri"),
    Column("SHA-256", "sha256"),
]
