"""The report of a run: the records of any dataset, read from S3 or XCom and printed."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from airflow_provider_binance_loan.sandbox.embedded import Output, RunResult, TaskResult, _find_output
from airflow_provider_binance_loan.sandbox.exchange import LoggedRequest
from airflow_provider_binance_loan.sandbox.report import print_report, requested_window

START_MS = 1_772_341_200_123  # 2026-03-01T05:00:00.123Z
LIQUIDATION = {
    "groupId": 7,
    "startLtv": "1.05",
    "endLtv": "0",
    "liquidationStartTime": START_MS,
    "liquidationEndTime": None,
    "totalNetEquity": "18229881538.37775555",
    "totalMaintenanceMargin": "135268892.79767349",
    "totalLiability": "5966479352.89230473",
    "liquidationSnapshot": {"snapshots": [], "liabilities": []},
}
TRANSFER = {"liquidationId": 912, "liquidationTransferRecord": [{"transferTime": START_MS}]}
INTEREST = {"assetName": "USDT", "interestTimestamp": START_MS, "rate": "0.0001", "isFixed": True}
WINDOW = (datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 3, 1, 6, tzinfo=UTC))


def printed(output: Output, width: int = 80, **result: Any) -> list[str]:
    """Return the lines that follow the list of tasks, without trailing blanks."""
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, soft_wrap=True)
    run = RunResult("dag", "run", "success", None, [TaskResult("pull", "success", output=output)])
    print_report(console, run, **{"requested": None, "duration_s": 1.2, **result})
    return [line.rstrip() for line in file.getvalue().partition("\n\n")[2].splitlines()]


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (
            LIQUIDATION,
            [
                "  groupId                 7",
                "  startLtv                1.05",
                "  endLtv                  0",
                "  liquidationStartTime    2026-03-01 05:00:00Z",
                "  liquidationEndTime      -",
                "  totalNetEquity          18229881538.37775555",
                "  totalMaintenanceMargin  135268892.79767349",
                "  totalLiability          5966479352.89230473",
                "Not shown: liquidationSnapshot.",
            ],
        ),
        (TRANSFER, ["  liquidationId  912", "Not shown: liquidationTransferRecord."]),
        (
            INTEREST,
            [
                "  assetName          USDT",
                "  interestTimestamp  2026-03-01 05:00:00Z",
                "  rate               0.0001",
                "  isFixed            true",
            ],
        ),
        ({"updateTime": 0, "otherTime": "now", "note": START_MS, "closeTime": 10**15}, [
            "  updateTime  0",
            "  otherTime   now",
            f"  note        {START_MS}",
            "  closeTime   1000000000000000",
        ]),
        ({"nested": {}}, ["Not shown: nested."]),
        ({}, []),
    ],
    ids=["liquidation", "transfer", "interest", "no times", "nested alone", "empty"],
)  # fmt: skip
def test_one_record_is_a_list_of_fields(record: dict[str, Any], lines: list[str]) -> None:
    """Each scalar field of a single record has a line of its own, whatever the dataset."""
    assert printed(Output([record])) == ["1 record in the XCom of task pull", *lines]


def test_several_records_are_a_table() -> None:
    """Several records are rows of a table, with all scalar fields when the console is wide enough."""
    lines = printed(
        Output([LIQUIDATION, INTEREST, *[LIQUIDATION] * 10], "s3://lake/a", 1234, WINDOW), width=250
    )
    assert lines[:2] == [
        "12 records in s3://lake/a (1,234 bytes)",
        "window: 2026-03-01 05:00:00 → 2026-03-01 06:00:00 UTC",
    ]
    rows = [line.split() for line in lines[4:14]]
    liquidation = ["7", "1.05", "0", "2026-03-01", "05:00:00Z", "-", "18229881538.37775555"]
    liquidation += ["135268892.79767349", "5966479352.89230473", "-", "-", "-", "-"]
    assert rows[0] == rows[2] == rows[9] == liquidation
    assert rows[1][-5:] == ["USDT", "2026-03-01", "05:00:00Z", "0.0001", "true"]
    assert lines[14:] == ["Not shown: liquidationSnapshot.", "… and 2 more records"]


def test_a_narrow_console_has_several_tables() -> None:
    """Columns that do not fit follow in further tables; long headings are broken, long values folded."""
    ended = LIQUIDATION | {"liquidationEndTime": START_MS + 60_000}
    assert printed(Output([LIQUIDATION, ended]), width=80)[1:] == [
        "groupId  startLtv  endLtv  liquidationStartTime  liquidationEndTime",
        "      7      1.05       0  2026-03-01 05:00:00Z  -",
        "      7      1.05       0  2026-03-01 05:00:00Z  2026-03-01 05:01:00Z",
        "",
        "                        totalMaintenance",
        "      totalNetEquity              Margin       totalLiability",
        "18229881538.37775555  135268892.79767349  5966479352.89230473",
        "18229881538.37775555  135268892.79767349  5966479352.89230473",
        "Not shown: liquidationSnapshot.",
    ]
    assert printed(Output([TRANSFER, {"liquidationId": "x" * 90}]), width=80)[1:] == [
        "liquidationId",
        "912",
        "x" * 80,
        "x" * 10,
        "Not shown: liquidationTransferRecord.",
    ]


def test_no_records() -> None:
    """A task without records has a line that says so."""
    assert printed(Output([])) == ["0 records in the XCom of task pull"]


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ([], None),
        (["groupId=1"], None),
        (["startTime=&endTime=x", "startTime=5"], None),
        ([f"startTime={START_MS}&endTime={START_MS + 1000}&groupId=1"], (0, 1000)),
        (
            [f"startTime={START_MS}", "size=5", f"endTime={START_MS + 5000}&startTime={START_MS - 1}"],
            (-1, 5000),
        ),
    ],
)
def test_the_requested_window_covers_all_requests(
    queries: list[str], expected: tuple[int, int] | None
) -> None:
    """The time range is that of all requests together, whatever their endpoint."""
    requests = [LoggedRequest("GET", "/any", query, 200, 1, START_MS) for query in queries]
    window = requested_window(requests)
    assert (window and tuple(round(one.timestamp() * 1000) - START_MS for one in window)) == expected


@pytest.fixture
def sandbox_s3(s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The local S3, which the environment leads to, as in a run."""
    for name, value in (
        ("AWS_ENDPOINT_URL", s3_url),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    return s3


@pytest.mark.parametrize("fields", [("uri",), ("s3_uri",), ("uri", "s3_uri")])
def test_finds_the_object_of_a_manifest(sandbox_s3: Any, fields: tuple[str, ...]) -> None:
    """The object is found by `uri` or by `s3_uri`, and its rows may be of any dataset."""
    body = "".join(json.dumps(row) + "\n" for row in (TRANSFER, INTEREST)).encode()
    sandbox_s3.put_object(Bucket="lake", Key="a/b.jsonl", Body=body)
    window = {"window_start": WINDOW[0].isoformat(), "window_end": WINDOW[1].isoformat()}
    output = _find_output(dict.fromkeys(fields, "s3://lake/a/b.jsonl") | window)
    assert output == Output([TRANSFER, INTEREST], "s3://lake/a/b.jsonl", len(body), WINDOW)


def test_reads_parquet_of_any_schema(sandbox_s3: Any) -> None:
    """Timestamps become epoch milliseconds, and decimals text without the zeros of their column's scale."""
    at = datetime(2026, 3, 1, 5, tzinfo=UTC)
    schema = pa.schema(
        {
            "startTime": pa.timestamp("ms", "UTC"),
            "updateTime": pa.timestamp("us", "UTC"),
            "amount": pa.decimal128(38, 18),
            "count": pa.decimal128(38, 0),
        }
    )
    row = {"startTime": at, "updateTime": at, "amount": Decimal("7.10"), "count": Decimal(100)}
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema), file)
    sandbox_s3.put_object(Bucket="lake", Key="a.parquet", Body=file.getvalue())
    output = _find_output({"uri": "s3://lake/a.parquet"})
    at_ms = int(at.timestamp() * 1000)
    assert output
    assert output.records == [{"startTime": at_ms, "updateTime": at_ms, "amount": "7.1", "count": "100"}]


def test_refuses_an_object_that_is_not_the_manifests(sandbox_s3: Any) -> None:
    """An object with another SHA-256 than that of the manifest is an error."""
    sandbox_s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"{}\n")
    with pytest.raises(ValueError, match="does not have the SHA-256"):
        _find_output({"uri": "s3://lake/a.jsonl", "sha256": "0" * 64})


@pytest.mark.parametrize(
    "returned", [None, "text", 5, {}, {"uri": "file:///a"}, {"rows": []}, [1], ["a", {}]]
)
def test_other_return_values_have_no_records(returned: object) -> None:
    """A return value that is neither a list of rows nor a manifest of an object in S3 is ignored."""
    assert _find_output(returned) is None
