"""docs/personal-data.md: where addresses and UIDs are, where they are seen, and what leaves them out."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from airflow.sdk import Asset, AssetAlias, task
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.binance.fields import walk_fields
from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.tables import flat_tables
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support import docs
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.datasets import DATASETS
from tests.support.lake import Lake, ms
from tests.support.paths import ROOT

PAGE = "docs/personal-data.md"
ADDRESSES = ["first.account@test.com", "second.account@test.com"]
PERSONAL = re.compile("e-mail address|UID")


@pytest.fixture
def lake(exchange: Exchange, s3: Any, connect: Any, tmp_path: Path, clock: FakeClock) -> Lake:
    """A lake, and a liquidation with two accounts in the hour up to now."""
    wallets = [
        {
            "subEmail": address,
            "memberType": "CREDIT",
            "walletType": kind,
            "netEquity": "1.5",
            "maintainMargin": "0",
        }
        for address in ADDRESSES
        for kind in ("SPOT", "CROSS_MARGIN")
    ]
    loans = [{"assetName": "USDT", "principal": "1", "interest": "0.5"}]
    snapshot = {"snapshots": wallets, "liabilities": loans}
    exchange.add_liquidation(1, ms(NOW - HOUR) + 1, ms(NOW), liquidationSnapshot=snapshot)
    return Lake(s3, tmp_path, clock)


def addresses_in(value: object) -> list[str]:
    return [address for address in ADDRESSES if address in str(value)]


def test_the_table_of_columns() -> None:
    """It has each column whose description speaks of an address or a UID, and its flat table."""
    expected = []
    for dataset in DATASETS.values():
        meanings = {field.name: field.description for field in walk_fields(dataset.fields)}
        for table in flat_tables(dataset):
            expected += [
                [f"`{name}`", meanings[name], f"`{dataset.name}`", f"`{table.name}`"]
                for name in table.columns
                if PERSONAL.search(meanings.get(name, ""))
            ]
    assert len(expected) >= 9
    assert sorted(docs.table("Column", "Holds", "Dataset", "Flat table")) == sorted(expected)


def test_every_statement_is_run() -> None:
    """The statements are the three that are run below."""
    assert len(docs.statements(PAGE, "A copy without them")) == 3
    assert [name for name in docs.headings(PAGE) if docs.statements(PAGE, name)] == ["A copy without them"]


def test_a_pull_to_s3_shows_no_address(
    lake: Lake,
    s3: Any,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """XCom, events, lineage, log, and the object's name and metadata have none; the object has all."""
    caplog.set_level(logging.DEBUG)
    outlets = [Asset("s3://lake/a"), AssetAlias("alias")]
    events = OutletEventAccessors()
    operator = BinanceLoanForceLiquidationOperator(
        task_id="land", start=NOW - HOUR, end=NOW, s3_key="s3://lake/a.jsonl", outlets=outlets
    )
    operator.hook = BinanceLoanHook(clock=clock)
    manifest = operator.execute({"outlet_events": events})
    (key,) = [item["Key"] for item in s3.list_objects_v2(Bucket="lake")["Contents"]]
    found = s3.get_object(Bucket="lake", Key=key)
    collected = get_hook_lineage_collector().collected_assets
    seen = [manifest, key, found["Metadata"], events[outlets[0]].extra, events[outlets[1]].asset_alias_events]
    seen += [collected, caplog.text, *capsys.readouterr()]
    assert manifest["records"] == 1
    assert "Landed 1 record" in str(seen)
    assert [addresses_in(value) for value in seen] == [[]] * len(seen)
    assert addresses_in(found["Body"].read().decode()) == ADDRESSES


def test_a_pull_to_xcom_returns_the_addresses(
    lake: Lake, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key the XCom has whole records; the log has none."""
    caplog.set_level(logging.DEBUG)
    assert addresses_in(lake.land(BinanceLoanForceLiquidationOperator, NOW)) == ADDRESSES
    output = capsys.readouterr()
    assert "Pulled 1 record" in output.out + caplog.text
    assert addresses_in([caplog.text, *output]) == []


def test_the_file_on_the_disk_has_no_name(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock, s3: Any
) -> None:
    """While a task lands, and after it, the folder of temporary files has no entry."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    entries = []
    iterate = BinanceLoanHook.iter_parsed

    def watched(*arguments: Any) -> Any:
        for record in iterate(*arguments):
            yield record
            entries.append(list(folder.iterdir()))

    monkeypatch.setattr(BinanceLoanHook, "iter_parsed", watched)
    lake.land(BinanceLoanForceLiquidationOperator, NOW, s3_key="s3://lake/a.jsonl")
    assert [*entries, list(folder.iterdir())] == [[], []]


def test_an_error_quotes_a_value_in_an_unexpected_place(
    exchange: Exchange, connect: Any, clock: FakeClock
) -> None:
    """The error of an answer that cannot be read has the first 200 characters of what is wrong."""
    wrong = ADDRESSES[0] + "x" * 5 + " " * 300
    exchange.add_liquidation(1, ms(NOW - HOUR), liquidationSnapshot={"snapshots": [wrong]})
    with pytest.raises(BadResponseError) as caught:
        BinanceLoanHook(clock=clock).get_force_liquidations(NOW - HOUR, NOW)
    assert repr(wrong)[:200] in str(caught.value)
    assert repr(wrong)[:201] not in str(caught.value)


# In a process of its own, since Sentry changes modules of the whole process.
FAIL = """
import sys, sentry_sdk
from sentry_sdk.transport import Transport

class Printing(Transport):
    def capture_envelope(self, envelope):
        print(envelope.serialize().decode())

sentry_sdk.init("https://key@sentry.invalid/1", transport=Printing, **eval(sys.argv[1]))
from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from tests.support.clock import HOUR, NOW, FakeClock
try:
    BinanceLoanHook(clock=FakeClock()).get_force_liquidations(NOW - HOUR, NOW)
except BadResponseError as error:
    sentry_sdk.capture_exception(error)
sentry_sdk.flush()
"""


def test_sentry_records_rows_unless_told_not_to(lake: Lake, exchange: Exchange) -> None:
    """Local variables of a pull that fails hold rows, and the setting of the page keeps them out."""
    (setting,) = re.findall(r"`(include_local_variables=False)`", docs.PAGES[PAGE])
    exchange.liquidations()[0].fields["totalLiability"] = "INF"
    recorded = []
    for settings in ("{}", f"dict({setting})"):
        run = subprocess.run(
            [sys.executable, "-c", FAIL, settings],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        assert "BadResponseError" in run.stdout
        recorded.append(bool(addresses_in(run.stdout)))
    assert recorded == [True, False]


def test_the_footer_of_parquet_has_addresses(lake: Lake) -> None:
    """It has the least and the greatest value of each column."""
    key = "s3://risk-lake/a/{table}.parquet"
    lake.land(BinanceLoanForceLiquidationOperator, NOW, s3_key=key, flatten=True)
    group = pq.read_metadata(lake.folder / "a/snapshots.parquet").row_group(0)
    (column,) = (
        column
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema == "subEmail"
    )
    assert [column.statistics.min, column.statistics.max] == ADDRESSES


def test_the_tables_that_are_named_have_no_address(lake: Lake) -> None:
    """Of the flat tables of liquidations, those that the page gives to everyone have none."""
    (cell,) = (then for landed, then in docs.table("You land", "Then") if landed == "flat tables")
    key = "s3://risk-lake/a/{table}.jsonl"
    manifest = lake.land(BinanceLoanForceLiquidationOperator, NOW, s3_key=key, flatten=True)
    safe = {
        table
        for table in manifest["tables"]
        if not addresses_in((lake.folder / f"a/{table}.jsonl").read_text())
    }
    assert safe == set(docs.names(cell)) == {"liquidations", "liabilities"}


@pytest.mark.parametrize("number", [0, 1, 2], ids=["table", "records", "hashes"])
def test_a_copy_has_no_address(lake: Lake, number: int) -> None:
    """The copy has every row and every other column, and no byte of an address."""
    for key, flat in (("liquidations/{table}/dt=1/a.parquet", True), ("records/dt=1/a.parquet", False)):
        lake.land(BinanceLoanForceLiquidationOperator, NOW, s3_key=f"s3://risk-lake/{key}", flatten=flat)
    sql = docs.statements(PAGE, "A copy without them")[number]
    with duckdb.connect() as database:
        database.execute(lake.located(sql))
    (copy,) = re.findall(r"to 's3://risk-lake/(.*?)'", sql)
    file = lake.folder / copy
    rows = pq.read_table(file).to_pylist()
    assert b"test.com" not in file.read_bytes()
    assert "@" not in str(rows)
    source = "records/dt=1" if number == 1 else "liquidations/snapshots/dt=1"
    originals = pq.read_table(lake.folder / source / "a.parquet").to_pylist()
    if number == 1:
        (row,), (original,) = rows, originals
        for name in ("snapshots", "liabilities"):
            original[name] = [_without(item) for item in original["liquidationSnapshot"][name]]
        del original["liquidationSnapshot"]
        assert row == _without(original)
        return
    accounts = [row.pop("account", None) for row in rows]
    assert rows == [_without(original) for original in originals]
    assert len(set(accounts)) == (2 if number == 2 else 1)


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"subEmail", "extra"}}


def test_the_page_of_a_liquidation_shows_addresses_and_uids(lake: Lake, clock: FakeClock) -> None:
    """The page has each address and UID, and none once the columns that are named are left out."""
    (cell,) = (then for landed, then in docs.table("You land", "Then") if "the page" in landed)
    function, *columns = docs.names(cell)
    assert function == "render_liquidation_page"
    (record,) = BinanceLoanHook(clock=clock).get_force_liquidations(NOW - HOUR, NOW)
    transfer = {"transferTime": ms(NOW - HOUR) + 5, "fromUid": 777000111, "toUid": 777000222}
    transfers = [{"liquidationId": 1, "liquidationTransferRecord": [transfer]}]
    window = {"start": NOW - HOUR, "end": NOW}
    uids = ["777000111", "777000222"]
    page = render_liquidation_page(record, transfers=transfers, **window)
    assert addresses_in(page) == ADDRESSES
    assert all(uid in page for uid in uids)
    for row in (*record["liquidationSnapshot"]["snapshots"], transfer):
        for name in columns:
            row.pop(name, None)
    page = render_liquidation_page(record, transfers=transfers, **window)
    assert (addresses_in(page), [uid for uid in uids if uid in page]) == ([], [])
    assert "not stated" in page


def test_a_task_of_your_own_returns_no_address(lake: Lake, real_time: None) -> None:
    """The task of the page returns each record, with all but the addresses."""
    (block,) = (block.text for block in docs.BLOCKS if (block.page, block.language) == (PAGE, "python"))
    names: dict[str, Any] = {"task": task, "BinanceLoanHook": BinanceLoanHook}
    exec(block, names)
    records = names["pull_without_addresses"].function(NOW - HOUR, NOW)
    assert [len(record["liquidationSnapshot"]["snapshots"]) for record in records] == [4]
    assert "@" not in json.dumps(records)
