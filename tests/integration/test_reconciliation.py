"""The operator that reconciles: a window of the sandbox's world through HTTP, and what was landed of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.exceptions import TransientError
from airflow_provider_binance_loan.landing.s3_reader import S3Reader
from airflow_provider_binance_loan.operators import (
    BinanceLoanBorrowRepayOperator,
    BinanceLoanForceLiquidationOperator,
    BinanceLoanInterestOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanLtvOperator,
    BinanceLoanReconciliationOperator,
)
from airflow_provider_binance_loan.reconciliation.check import Check
from airflow_provider_binance_loan.reconciliation.datasets import _NEEDS
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support import docs
from tests.support.clock import HOUR, NOW
from tests.support.runs import run_context

START, MIDDLE = NOW - 6 * HOUR, NOW - 3 * HOUR
OPERATORS: list[tuple[Any, str]] = [
    (BinanceLoanForceLiquidationOperator, ".jsonl"),
    (BinanceLoanInterestOperator, ".jsonl.gz"),
    (BinanceLoanBorrowRepayOperator, ".parquet"),
    (BinanceLoanLiquidationTransferOperator, ".parquet"),
]


@pytest.fixture
def world(connect: Any) -> Iterator[Exchange]:
    """The generated world, by the machine's clock, as the account of the default connection."""
    with SandboxServer(Exchange()) as server:
        connect(host=server.url)
        yield server.exchange


def reconcile(**arguments: Any) -> list[Check]:
    """Run the operator for the six hours."""
    pushed: list[Check] = []

    def push(key: str, value: list[Check]) -> None:
        assert key == "return_value"
        pushed.extend(value)

    context = run_context(START, NOW, ti=SimpleNamespace(xcom_push=push))
    operator = BinanceLoanReconciliationOperator(task_id="reconcile", **arguments)
    try:
        table: list[Check] = operator.execute(context)
    except AirflowFailException:
        assert pushed
        raise
    assert not pushed
    return table


def landed(datasets: int) -> list[dict[str, Any]]:
    """Land some datasets, three hours an object, and return the manifests."""
    return [
        operator(
            task_id="land",
            s3_bucket="lake",
            s3_key=f"{operator.__name__}/{{table}}{start:%H}{ending}",
            flatten=True,
        ).execute(run_context(start, start + 3 * HOUR))
        for operator, ending in OPERATORS[:datasets]
        for start in (START, MIDDLE)
    ]


def different(table: list[Check]) -> list[Check]:
    return [row for row in table if row["outcome"] == "different"]


def test_a_day_agrees(world: Exchange) -> None:
    """Pulled through HTTP, a day has no difference; more than seven in ten rows are equal."""
    context = run_context(NOW - timedelta(days=1), NOW)
    operator = BinanceLoanReconciliationOperator(task_id="reconcile", on_difference="warn")
    table = operator.execute(context)
    assert json.loads(json.dumps(table)) == table
    assert different(table) == []
    assert {tuple(row) for row in table} == {
        ("check", "subject", "expected", "found", "difference", "outcome", "note")
    }
    assert {row["check"] for row in table if row["outcome"] == "equal"} == {
        *("net_equity", "maintenance_margin", "liabilities", "ltv"),
        *("net_equity_now", "maintenance_margin_now", "liabilities_now", "ltv_now"),
        *("interest_rate", "repayment_parts", "charged_principal"),
        *("forced_principal", "forced_interest", "forced_repayment_time"),
        *("ledger_principal", "ledger_interest"),
        *("transfer_time", "transfers"),
    }
    assert Counter(row["outcome"] for row in table)["equal"] > 0.7 * len(table)


def test_what_was_landed_agrees(world: Exchange, s3: Any) -> None:
    """Manifests, and addresses of manifests, of all datasets: windows, objects and counts are equal."""
    manifests = landed(4)
    s3.put_object(Bucket="lake", Key="manifests/a.json", Body=json.dumps(manifests[:3]))
    s3.put_object(Bucket="lake", Key="manifests/b.json", Body=json.dumps(manifests[3]))
    given = ["s3://lake/manifests/a.json", "s3://lake/manifests/b.json", manifests[4:], None]
    table = [row for row in reconcile(manifests=given) if row["check"].startswith("landed_")]
    counts = Counter((row["check"], row["outcome"]) for row in table)
    assert counts == {
        ("landed_window", "equal"): 4,
        ("landed_window", "not_compared"): 1,  # the None
        ("landed_object", "equal"): 2 * (3 + 1 + 1 + 3),
        ("landed_count", "equal"): 2 * (3 + 1 + 1 + 3),
        ("landed_records", "equal"): 6,
        (
            "landed_records",
            "not_compared",
        ): 2,  # transfers have no time, so those of half a window are unknown
    }


Break = Callable[[list[dict[str, Any]], Any], Any]


def skip_a_window(manifests: list[dict[str, Any]], s3: Any) -> None:
    del manifests[1]


def land_a_window_twice(manifests: list[dict[str, Any]], s3: Any) -> None:
    s3.copy_object(Bucket="lake", Key="copy", CopySource=manifests[0]["uri"].removeprefix("s3://"))
    manifests.append(manifests[0] | {"uri": "s3://lake/copy", "tables": {}})


def change_a_byte(manifests: list[dict[str, Any]], s3: Any) -> None:
    place = {"Bucket": "lake", "Key": manifests[0]["tables"]["snapshots"]["uri"].removeprefix("s3://lake/")}
    old = s3.get_object(**place)
    body = old["Body"].read()
    s3.put_object(**place, Body=bytes([body[0] ^ 1]) + body[1:], Metadata=old["Metadata"])


def cut_an_object(manifests: list[dict[str, Any]], s3: Any) -> None:
    place = {"Bucket": "lake", "Key": manifests[0]["uri"].removeprefix("s3://lake/")}
    old = s3.get_object(**place)
    s3.put_object(**place, Body=old["Body"].read()[:-1], Metadata=old["Metadata"])


def remove_an_object(manifests: list[dict[str, Any]], s3: Any) -> None:
    s3.delete_object(Bucket="lake", Key=manifests[0]["uri"].removeprefix("s3://lake/"))


def change_a_hash(manifests: list[dict[str, Any]], s3: Any) -> None:
    manifests[0]["sha256"] = manifests[0]["sha256"][::-1]


def change_a_size(manifests: list[dict[str, Any]], s3: Any) -> None:
    manifests[0]["bytes"] += 1


def change_a_count(manifests: list[dict[str, Any]], s3: Any) -> None:
    manifests[0]["records"] += 1


def change_the_count_of_a_table(manifests: list[dict[str, Any]], s3: Any) -> None:
    manifests[0]["tables"]["snapshots"]["records"] -= 1


def land_too_little(manifests: list[dict[str, Any]], s3: Any) -> None:
    manifests[0] |= BinanceLoanForceLiquidationOperator(
        task_id="land", s3_key="s3://lake/few.jsonl", risk_units=[5]
    ).execute(run_context(START, MIDDLE))


@pytest.mark.parametrize(
    ("break_it", "reported"),
    [
        (skip_a_window, [("landed_window", "different")]),
        (land_a_window_twice, [("landed_window", "different")]),
        (change_a_byte, [("landed_object", "different")]),
        (cut_an_object, [("landed_object", "different")]),
        (remove_an_object, [("landed_object", "different")]),
        (change_a_hash, [("landed_object", "different")]),
        (change_a_size, [("landed_object", "different")]),
        (change_a_count, [("landed_count", "different"), ("landed_records", "different")]),
        (change_the_count_of_a_table, [("landed_count", "different")]),
        (land_too_little, [("landed_records", "different")]),
    ],
)
def test_what_was_landed_otherwise_is_found(
    world: Exchange, s3: Any, break_it: Break, reported: list[tuple[str, str]]
) -> None:
    """Each thing that is wrong with a landing is reported by its check, and by no other."""
    manifests = landed(1)
    break_it(manifests, s3)
    table = reconcile(manifests=manifests, on_difference="warn")
    assert [(row["check"], row["outcome"]) for row in different(table)] == reported


def test_windows_that_overlap_by_lookback_are_not_compared(world: Exchange, s3: Any) -> None:
    """A landing that begins before the end of the one before may be meant so; the manifest does not say."""
    manifests = [
        BinanceLoanForceLiquidationOperator(
            task_id="land", s3_key=f"s3://lake/{start:%H}.jsonl", lookback=lookback
        ).execute(run_context(start, start + 3 * HOUR))
        for start, lookback in ((START, timedelta()), (MIDDLE, HOUR))
    ]
    table = reconcile(manifests=manifests)
    rows = [row for row in table if row["check"] == "landed_window"]
    assert [(row["outcome"], row["expected"], row["found"]) for row in rows] == [
        ("equal", "21600", "21600"),
        ("not_compared", "3600", "7200"),
    ]


@pytest.mark.parametrize(("manifests", "notes"), [(None, 0), ([], 0), ([None], 1), ([None, [None]], 1)])
def test_a_manifest_that_is_none_is_not_compared(world: Exchange, manifests: Any, notes: int) -> None:
    """A task that was skipped returns none, so that nothing is known of its landing."""
    table = [row for row in reconcile(manifests=manifests) if row["check"].startswith("landed_")]
    assert [(row["check"], row["outcome"]) for row in table] == [("landed_window", "not_compared")] * notes
    assert all("a manifest is None" in str(row["note"]) for row in table)


def test_an_error_about_records_shows_none_of_their_values(world: Exchange) -> None:
    """Where a task without s3_key returned records, the error names their keys and s3_key."""
    records = [{"asked_at": 1_772_323_200_000, "parentEmail": "parent@example.com"}]
    with pytest.raises(
        AirflowFailException, match=r"set s3_key .*: uri is missing in .*parentEmail"
    ) as error:
        BinanceLoanReconciliationOperator(task_id="reconcile", manifests=records).execute(
            run_context(START, NOW)
        )
    assert "example.com" not in str(error.value)
    assert "1772323200000" not in str(error.value)


def test_a_bucket_that_cannot_be_is_explained(world: Exchange, s3: Any) -> None:
    """What keeps boto3 from asking S3 is an error that names the argument, and is no retry."""
    with pytest.raises(AirflowFailException, match=r"Correct manifests: 'La ke' is not a valid name"):
        BinanceLoanReconciliationOperator(task_id="reconcile", manifests=["s3://La ke/a.json"]).execute(
            run_context(START, NOW)
        )


def test_missing_credentials_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader without credentials says so, and that a role or a key is missing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(TransientError, match="there are no AWS credentials"):
        S3Reader(aws_conn_id=None, verify=None).read_text("s3://lake/a.json")


def test_a_snapshot_is_of_no_window(world: Exchange, s3: Any) -> None:
    """A manifest of LTVs has no window, but an object and a number of records."""
    manifest = BinanceLoanLtvOperator(task_id="sample", s3_key="s3://lake/{asked_at}.jsonl").execute({})
    table = [row for row in reconcile(manifests=manifest) if row["check"].startswith("landed_")]
    assert [(row["check"], row["outcome"]) for row in table] == [
        ("landed_window", "not_compared"),
        ("landed_object", "equal"),
        ("landed_count", "equal"),
    ]


def test_the_rows_that_are_shown_are_those_of_a_run(world: Exchange) -> None:
    """Each row of the page is one of the table of these six hours."""
    names = ("check", "subject", "expected", "found", "difference", "outcome", "note")
    table = [[str(value or "") for value in row.values()] for row in reconcile()]
    shown = [[cell.strip("`") for cell in row] for row in docs.table(*names)]
    assert len(shown) == 8
    assert [row for row in shown if row not in table] == []


def test_every_check_is_documented() -> None:
    """The page has a row for each check, and no other."""
    documented = {name for row in docs.table("Check", "Expected", "Found") for name in docs.names(row[0])}
    assert documented - {"landed_window", "landed_object", "landed_count", "landed_records"} == {
        check for check in _NEEDS if check not in {"maintenance_margin_now", "liabilities_now"}
    }


def wrong_equity(world: Exchange) -> None:
    one = next(one for one in world.liquidations() if START.timestamp() * 1000 <= one.start_ms)
    one.fields["totalNetEquity"] = "1.5"


def test_a_difference_fails_the_task(world: Exchange) -> None:
    """The task fails without a retry, and its XCom has the table all the same."""
    wrong_equity(world)
    with pytest.raises(
        AirflowFailException, match=r"^Look into .*: 2 of \d+ rows, and the first is net_equity"
    ):
        reconcile()


@pytest.mark.parametrize("on_difference", ["fail", "warn"])
def test_a_table_that_xcom_cannot_hold_names_the_first_difference(
    world: Exchange, on_difference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task fails, and neither its error nor its log hides what differs."""
    wrong_equity(world)
    operator = BinanceLoanReconciliationOperator(
        task_id="reconcile",
        max_xcom_records=5,
        on_difference=on_difference,  # type: ignore[arg-type]
    )
    with pytest.raises(
        AirflowFailException, match=r"^Raise max_xcom_records.* The first .* is net_equity of"
    ):
        operator.execute(run_context(START, NOW))
    assert "Different: net_equity of risk unit " in capsys.readouterr().out


def test_a_table_that_is_not_pushed_may_be_long(world: Exchange) -> None:
    """Without XCom, its limit does not apply."""
    assert len(reconcile(max_xcom_records=5, do_xcom_push=False)) > 5


def test_a_difference_may_be_a_warning(world: Exchange, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is returned, and the log names each difference with both figures."""
    wrong_equity(world)
    table = reconcile(on_difference="warn")
    assert [row["check"] for row in different(table)] == ["net_equity", "ltv"]
    log = capsys.readouterr().out
    assert f"Checked {len(table)}: " in log
    assert "Different: net_equity of risk unit " in log
    assert ", 1.5 and not " in log


def test_an_amount_that_is_no_number_is_not_compared(world: Exchange) -> None:
    """Binance's "INF" does not stop the comparison of all else."""
    one = next(one for one in world.liquidations() if START.timestamp() * 1000 <= one.start_ms)
    one.fields["totalNetEquity"] = "INF"
    table = reconcile()
    notes = {row["note"] for row in table if row["check"] in {"net_equity", "ltv"}}
    assert {"an amount is unknown", "the LTV or one of the totals is unknown"} <= notes


@pytest.mark.parametrize(
    ("path", "name", "checks"),
    [
        ("/interest-history", "interest", {"interest_rate", "ledger_interest", "charged_principal"}),
        ("/borrow-repay", "transactions", {"repayment_parts", "ledger_principal", "transfers"}),
        ("/force-liquidation-transfer-record", "transfers", {"transfer_time", "transfers"}),
    ],
)
def test_a_dataset_that_is_refused_is_not_compared(
    world: Exchange, s3: Any, path: str, name: str, checks: set[str]
) -> None:
    """What Binance refuses to the key is in the table, with its reason; the rest is compared."""
    manifests = landed(4)
    world.fail(Fault("error", 400, -3003, "Margin account does not exist.", path=path))
    table = reconcile(manifests=manifests)
    refused = {row["check"] for row in table if str(row["note"]).startswith(f"{name}: Binance refused it: ")}
    assert checks <= refused
    assert not [row for row in table if row["check"] in refused and row["outcome"] == "equal"]
    assert [row for row in table if row["check"] == "net_equity" and row["outcome"] == "equal"]
    records = [row for row in table if row["check"] == "landed_records"]
    assert sum("Binance refused it" in str(row["note"]) for row in records) == 2


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        *product(["/interest-history", "/borrow-repay"], [401], [-2015, -2014]),
        *product(["/interest-history", "/borrow-repay", "/ltv-details"], [400], [-1022, -1102]),
    ],
)
def test_a_key_that_is_refused_later_fails_the_task(
    world: Exchange, path: str, status: int, code: int
) -> None:
    """Only what the account may not read is not compared; a key that was revoked is an error."""
    fault = Fault("error", status, code, "No.", path=path)
    world.fail(fault, fault)  # reading the risk units handles that the LTVs are refused
    with pytest.raises(AirflowFailException, match=str(code)):
        BinanceLoanReconciliationOperator(task_id="reconcile").execute(run_context(START, NOW))


def test_a_credit_account_that_may_not_read_ltvs_reconciles_all_else(world: Exchange) -> None:
    """Binance may refuse that endpoint alone to its key, and may call the key invalid there."""
    fault = Fault("error", 401, -2015, "Invalid API-key, IP, or permissions for action.", path="/ltv-details")
    world.fail(fault, fault)
    outcomes = {row["check"]: row["outcome"] for row in reconcile()}
    assert outcomes["ltv_now"] == "not_compared"
    assert "equal" in outcomes.values()


def test_whoever_may_not_read_liquidations_cannot_reconcile(world: Exchange) -> None:
    """A key that is refused at the first request asks for nothing else, since more tries invite a ban."""
    world.fail(Fault("error", 401, -2015, "Invalid API-key, IP, or permissions for action."))
    with pytest.raises(AirflowFailException, match="-2015"):
        BinanceLoanReconciliationOperator(task_id="reconcile").execute(run_context(START, NOW))
    assert len(world.requests) == 1


def test_manifests_are_rendered(world: Exchange, s3: Any) -> None:
    """The list may hold templates, and what other tasks return."""
    with DAG("audit", schedule=None) as dag:
        operator = BinanceLoanReconciliationOperator(
            task_id="reconcile", manifests=["s3://lake/{{ window_start | ds }}.json"]
        )
    context = run_context(START, NOW, dag=dag) | {"ti": SimpleNamespace(map_index=-1, task=operator)}
    operator.render_template_fields(context, dag.get_template_env())
    assert operator.manifests == ["s3://lake/2026-03-01.json"]
    with pytest.raises(AirflowFailException, match=r"there is no 's3://lake/2026-03-01\.json'"):
        operator.execute(context)
