"""A lake that the operators fill from a sandbox, run by run, and a copy of it on disk for readers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_binance_loan.base_operator import BinanceLoanLandingOperator
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.tables import flat_rows, flat_tables
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.windowed_operator import BinanceLoanDatasetOperator
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.runs import run_context

BUCKET = "lake"
#: The ends of the two windows of the story.
FIRST, SECOND = NOW - 2 * HOUR, NOW - HOUR

Rows = list[dict[str, Any]]


def ms(at: datetime) -> int:
    """Return a time in epoch milliseconds."""
    return int(at.timestamp() * 1000)


class Lake:
    """A bucket, and the folder that its objects are copied to.

    :param s3: a client of the bucket.
    :param folder: the folder.
    :param clock: the clock of the sandbox, which the operators share.
    """

    def __init__(self, s3: Any, folder: Path, clock: FakeClock) -> None:
        self.folder = folder
        self._s3 = s3
        self._clock = clock

    def land(self, operator: type[BinanceLoanLandingOperator], end: datetime, **arguments: Any) -> Any:
        """Run an operator for the hour up to `end`, once that is over, and return its XCom.

        A key in the bucket `risk-lake`, as the documentation has it, is one of this bucket.
        """
        self._clock.ms = max(self._clock.ms, ms(end) + 30_000)
        if "s3_key" in arguments:
            arguments["s3_key"] = arguments["s3_key"].replace("s3://risk-lake/", f"s3://{BUCKET}/")
        task = operator(task_id="land", **arguments)
        task.hook = BinanceLoanHook(clock=self._clock)
        context = run_context(end - HOUR, end)
        task._do_render_template_fields(task, task.template_fields, context, task.get_template_env(), set())
        returned = task.execute(context)
        for item in self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            file = self.folder / item["Key"]
            file.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(BUCKET, item["Key"], str(file))
        return returned

    def located(self, sql: str) -> str:
        """Return a statement that reads the copies in place of the objects of the bucket `risk-lake`."""
        return sql.replace("s3://risk-lake", str(self.folder))


class Story:
    """Two hours of liquidations, of which each run of an operator sees what is known at its time.

    Risk unit 1 has one in the first window alone. That of 2 runs in the first and is finished in the second,
    with fewer wallets, in another order. That of 3 has no wallets any more in the second, that of 4 is the
    same in both, and that of 5 is new. Each window reaches back by 90 minutes.
    """

    def __init__(self, lake: Lake, exchange: Exchange, clock: FakeClock) -> None:
        self._lake, self._exchange, self._clock = lake, exchange, clock
        clock.ms = ms(FIRST - HOUR)
        for unit in (3, 4, 5):
            exchange.add_unit(unit)
        self._three = _wallets(SPOT="1.000000000000000001", CROSS_MARGIN="2", PORTFOLIO_MARGIN="3.50")
        at_ms, three = clock.ms, {"liquidationSnapshot": self._three}
        self._old = exchange.add_liquidation(1, at_ms - 3_000_000, at_ms - 1_900_000, **three)
        self._runs = exchange.add_liquidation(2, at_ms + 600_000, endLtv="0.95", **three)
        self._empties = exchange.add_liquidation(3, at_ms + 700_000, **three)
        exchange.add_liquidation(4, at_ms + 800_000, endLtv="0.9", **three)

    def tell(self, operator: type[BinanceLoanDatasetOperator], **landing: Any) -> list[dict[str, Rows]]:
        """Pull both windows, and return the rows of each flat table in each of them."""
        first = self.pull(operator, FIRST, **landing)
        self._clock.ms = ms(FIRST) + 1_800_000
        self._exchange.finish(2)
        self._runs.fields |= {"endLtv": "0", "liquidationSnapshot": _wallets(CROSS_MARGIN="0.5", SPOT="0.10")}
        self._empties.fields["liquidationSnapshot"] = None
        self._exchange.add_liquidation(5, self._clock.ms + 1, liquidationSnapshot=self._three)
        return [first, self.pull(operator, SECOND, **landing)]

    def correct(self) -> None:
        """Change two records after both windows: one that both have, and one that the first has alone."""
        self._runs.fields["totalLiability"] = "8"
        self._old.fields["totalLiability"] = "9"

    def pull(
        self,
        operator: type[BinanceLoanDatasetOperator],
        end: datetime,
        *,
        lookback: timedelta = timedelta(minutes=90),
        **landing: Any,
    ) -> dict[str, Rows]:
        """Land the hour up to `end`, if a key is given, and return the rows of its flat tables."""
        if landing:
            self._lake.land(operator, end, lookback=lookback, add_window=True, **landing)
        rows: dict[str, Rows] = {table.name: [] for table in flat_tables(operator.dataset)}
        for record in self._lake.land(operator, end, lookback=lookback):
            for table, row in flat_rows(operator.dataset)(record):
                rows[table].append({"window_end": ms(end), **row})
        return rows


def latest(
    operator: type[BinanceLoanDatasetOperator], pulls: list[dict[str, Rows]]
) -> Iterator[tuple[str, Rows]]:
    """Yield each table with the rows of the latest version of each record; the pulls are in order."""
    dataset = operator.dataset
    newest = {dataset.key(row): number for number, pull in enumerate(pulls) for row in pull[dataset.table]}
    for table in pulls[0]:
        rows = ((number, row) for number, pull in enumerate(pulls) for row in pull[table])
        yield table, [row for number, row in rows if newest[dataset.key(row)] == number]


def _wallets(**equities: str) -> dict[str, Any]:
    """Return what a liquidation has of wallets, each with its equity, and of loans."""
    common = {"subEmail": "a@test.com", "memberType": "CREDIT", "maintainMargin": "0E-8"}
    return {
        "snapshots": [
            common | {"walletType": kind, "netEquity": amount} for kind, amount in equities.items()
        ],
        "liabilities": [{"assetName": "USDT", "principal": "1.50", "interest": "0.000000000000000001"}],
    }
