"""The operator for LTVs: a snapshot of now, to XCom or S3, that says when it was asked."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.operators import BinanceLoanLtvOperator
from tests.support.ltvs import DOCUMENTED, LtvServer, unit
from tests.support.runs import run_context


@pytest.fixture(autouse=True)
def real_time(ltvs: LtvServer) -> None:
    """Operators go by the machine's clock."""
    ltvs.now_ms = lambda: int(datetime.now(UTC).timestamp() * 1000)


def operator(**arguments: Any) -> BinanceLoanLtvOperator:
    return BinanceLoanLtvOperator(task_id="sample", **arguments)


def read(s3: Any, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket="lake", Key=key)["Body"].read()
    return body


def test_returns_the_snapshot(ltvs: LtvServer) -> None:
    """Without a key the records are the task's XCom, in JSON's own types."""
    ltvs.show(u6="0.5", u7=None)
    records = operator().execute(run_context())
    assert isinstance(records, list)
    assert [(record["groupId"], record["ltv"]) for record in records] == [(6, "0.5"), (7, None)]
    assert json.loads(json.dumps(records)) == records


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_lands_the_snapshot(ltvs: LtvServer, s3: Any, suffix: str) -> None:
    """In every format; the manifest and the object's metadata say when Binance was asked."""
    ltvs.body = json.dumps(DOCUMENTED).encode()
    before = datetime.now(UTC)
    manifest = operator(s3_key=f"s3://lake/a.{suffix}").execute(run_context())
    assert isinstance(manifest, dict)
    asked_at = datetime.fromisoformat(manifest["asked_at"])
    assert abs((asked_at - before).total_seconds()) < 5
    assert manifest.keys() == {"dataset", "uri", "s3_uri", "records", "bytes", "sha256", "asked_at"}
    assert s3.head_object(Bucket="lake", Key=f"a.{suffix}")["Metadata"]["asked-at"] == manifest["asked_at"]
    body = read(s3, f"a.{suffix}")
    if suffix == "parquet":
        (row,) = pq.read_table(io.BytesIO(body)).to_pylist()
        assert row["asked_at"] == asked_at
        assert (row["ltv"], row["totalNetEquity"]) == (Decimal("0.592"), Decimal("26.35196946"))
    else:
        row = json.loads(gzip.decompress(body) if suffix == "jsonl.gz" else body)
        assert row == {"asked_at": int(asked_at.timestamp() * 1000), **DOCUMENTED[0]}


def test_lands_flat_tables(ltvs: LtvServer, s3: Any) -> None:
    """Three tables: risk units, their wallets with the account of each, and their liabilities."""
    accounts = [*DOCUMENTED[0]["collateralAccounts"], {"email": "empty@test.com", "type": "COLLATERAL"}]
    ltvs.body = json.dumps([unit(1, "0.592", collateralAccounts=accounts)]).encode()
    manifest = operator(s3_key="s3://lake/ltv/dt=1/a.parquet", flatten=True).execute(run_context())
    assert isinstance(manifest, dict)
    assert {name: table["records"] for name, table in manifest["tables"].items()} == {
        "risk_units": 1,
        "wallets": 11,
        "liabilities": 1,
    }
    wallets = pq.read_table(io.BytesIO(read(s3, "ltv/wallets/dt=1/a.parquet")))
    with duckdb.connect() as database:
        database.register("wallets", wallets)
        ((total, empty),) = database.execute(
            "select sum(netEquity), sum((email = 'empty@test.com' and netEquity is null)::int) from wallets"
        ).fetchall()
    assert total == Decimal("26.35196946")
    assert empty == 1
    assert wallets.column_names[:4] == ["asked_at", "groupId", "collateralAccountsPosition", "position"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/{asked_at}.jsonl", "a/%Y%m%dT%H%M%S"),
        ("dt={asked_at:%Y-%m-%d}/{asked_at:%H%M}.jsonl", "dt=%Y-%m-%d/%H%M.jsonl"),
    ],
)
def test_a_key_may_say_when(ltvs: LtvServer, s3: Any, key: str, expected: str) -> None:
    """`{asked_at}` in the key becomes the time of the snapshot, so that a rerun keeps the earlier one."""
    ltvs.show(u6="0.5")
    manifest = operator(s3_bucket="lake", s3_key=key).execute(run_context())
    assert isinstance(manifest, dict)
    asked_at = datetime.fromisoformat(manifest["asked_at"])
    assert manifest["uri"].startswith(f"s3://lake/{asked_at.strftime(expected)}")
    (found,) = s3.list_objects_v2(Bucket="lake")["Contents"]
    assert manifest["uri"] == f"s3://lake/{found['Key']}"


def test_a_rerun_is_another_snapshot(ltvs: LtvServer, s3: Any) -> None:
    """Run again, the task never returns what it returned, and says so."""
    ltvs.show(u6="0.5")
    task = operator(s3_key="s3://lake/{asked_at}.jsonl")
    first = task.execute(run_context())
    ltvs.show(u6="0.6")
    second = task.execute(run_context())
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["asked_at"] < second["asked_at"]
    assert len(s3.list_objects_v2(Bucket="lake")["Contents"]) == 2


def test_names_a_risk_unit_without_ltv(ltvs: LtvServer, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked for and is not there is named in the log."""
    ltvs.show(u6="0.5")
    assert len(operator(risk_units=[6, 9]).execute(run_context())) == 1
    assert "No record of risk units 9: closed, or not seen" in capsys.readouterr().out


def test_a_bad_amount_fails_or_is_kept(ltvs: LtvServer, s3: Any) -> None:
    """As for liquidations: an error that names record and field, or the text as it was sent."""
    ltvs.show(u6="INF")
    with pytest.raises(Exception, match=r"\[0\]\.ltv is 'INF'"):
        operator().execute(run_context())
    (record,) = operator(on_bad_amount="keep").execute(run_context())
    assert isinstance(record, dict)
    assert record["ltv"] == "INF"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"flatten": True}, "Add s3_key, or leave out flatten"),
        ({"risk_units": "x"}, "Give risk_units as"),
        ({"s3_key": "s3://lake/a.csv"}, "Set file_format"),
        *(
            ({"s3_key": f"s3://lake/{key}.jsonl"}, r"Write \{asked_at\} in s3_key")
            for key in (
                "{asked_at:%Q}",
                "{asked_at:x}",
                "{asked_at.year}",
                "{ asked_at }",
                "{Asked_at}",
                "{asked_at",
            )
        ),
    ],
)
def test_refuses_wrong_arguments(ltvs: LtvServer, s3: Any, arguments: dict[str, Any], text: str) -> None:
    """A wrong argument fails the task for good."""
    ltvs.show(u6="0.5")
    with pytest.raises(AirflowFailException, match=text):
        operator(**arguments).execute(run_context())
