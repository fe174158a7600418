"""Templates of the operator's arguments: the window is known before the others are rendered."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions._internal.templater import SandboxedEnvironment as Environment
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import macros
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

from airflow_provider_binance_loan.operators import (
    BinanceLoanForceLiquidationOperator,
)
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.clock import NOW
from tests.support.operators import fill, operator
from tests.support.runs import run_context

pytestmark = pytest.mark.usefixtures("real_time")


def test_names_a_window_in_the_key(exchange: Exchange, s3: Any) -> None:
    """The records land under the key that a template makes from their window."""
    fill(exchange, 1)
    task = operator(s3_key="s3://lake/dt={{ window_start | ds }}/{{ window_end | ts_nodash }}.parquet")
    run = run_context()
    task.render_template_fields(run, Environment())
    manifest = task.execute(run)
    assert isinstance(manifest, dict)
    assert manifest["s3_uri"] == "s3://lake/dt=2026-03-01/20260301T120000.parquet"
    assert manifest["records"] == 1


KEY = (
    "{{ window_start | ds }} {{ window_start | ts_nodash }} "
    "{{ window_end | ts }} {{ window_end | ds_nodash }}"
)


@pytest.mark.parametrize(
    ("arguments", "run", "rendered"),
    [
        ({}, run_context(), "2026-03-01 20260301T110000 2026-03-01T12:00:00+00:00 20260301"),
        ({}, {}, "2026-02-22 20260222T120000 2026-03-01T12:00:00+00:00 20260301"),
        (
            {"start": "{{ dag_run.run_after - macros.timedelta(hours=2) }}"},
            {},
            "2026-03-01 20260301T100000 2026-03-01T12:00:00+00:00 20260301",
        ),
        (
            {"start": "2026-03-01T00:30:00+01:00", "end": "2026-03-01T01:00:00+01:00"},
            {},
            "2026-02-28 20260228T233000 2026-03-01T00:00:00+00:00 20260301",
        ),
        (
            {"lookback": timedelta(days=1)},
            run_context(),
            "2026-02-28 20260228T110000 2026-03-01T12:00:00+00:00 20260301",
        ),
    ],
    ids=["interval", "none", "templated", "given", "lookback"],
)
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_templates_may_name_the_window(
    arguments: dict[str, Any], run: dict[str, Any], rendered: str, *, mapped: bool
) -> None:
    """The window is known before the templates of other arguments, in every kind of run and of task."""
    templates = {"s3_key": KEY, "s3_bucket": "{{ window_end.minute }}", "s3_extra_args": {"Tagging": KEY}}
    assert render(arguments | templates, run, mapped=mapped) == (rendered, "0", {"Tagging": rendered})


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_a_wrong_window_fails_the_task_and_not_the_template(*, mapped: bool) -> None:
    """With a wrong window the key is not rendered, and the task fails with the reason."""
    arguments = {"start": "yesterday", "s3_key": KEY}
    assert render(arguments, run_context(), mapped=mapped)[0] == KEY
    with pytest.raises(
        AirflowFailException, match=r"^Give start as a datetime or ISO 8601 .* it is 'yesterday'"
    ):
        operator(**arguments).execute(run_context())


def test_a_key_that_renders_nothing_is_no_way_to_xcom(exchange: Exchange, s3: Any) -> None:
    """Where templates render native objects, a key may become None, which is refused as the text None is."""
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        task = operator(s3_key="{{ None }}")
    run = run_context() | {"dag": dag}
    task.render_template_fields(run, dag.get_template_env())
    with pytest.raises(
        AirflowFailException, match=r"^Check the template of s3_key: it rendered the text None"
    ):
        task.execute(run)
    assert exchange.requests == []


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, "[2026-03-01T11:00:00Z, 2026-03-01T12:00:00Z): the run's data interval"),
        (
            {"start": "2026-03-01T00:00:00Z", "lookback": timedelta(days=1)},
            "[2026-02-28T00:00:00Z, 2026-03-01T12:00:00Z): given on the task, lookback 1 day",
        ),
        ({"start": "yesterday"}, ""),
    ],
    ids=["interval", "given", "wrong"],
)
def test_the_rendered_templates_show_the_window(
    arguments: dict[str, Any], shown: str, *, mapped: bool
) -> None:
    """What Airflow shows of a run has its window with the rule, and `start` and `end` as they were given."""
    task = rendered(arguments, run_context(), mapped=mapped)
    fields = _serialize_rendered_fields(task)
    assert (fields["window"], fields["start"], fields["end"]) == (shown, arguments.get("start"), None)


def test_the_rendered_window_is_the_one_that_is_pulled(capsys: pytest.CaptureFixture[str]) -> None:
    """The log line of the pull has the same text, also when the task is rendered and run again."""
    for _ in range(2):
        task = rendered({"lookback": timedelta(hours=1)}, run_context(), mapped=False)
        task.execute(run_context())
        assert f"Window {task.window}." in capsys.readouterr().out
    assert (
        task.window
        == "[2026-03-01T10:00:00Z, 2026-03-01T12:00:00Z): the run's data interval, lookback 1:00:00"
    )


def render(arguments: dict[str, Any], run: dict[str, Any], *, mapped: bool) -> tuple[Any, ...]:
    """Render a task's templates as Airflow does before it runs it, and return those of S3."""
    task = rendered(arguments, run, mapped=mapped)
    return task.s3_key, task.s3_bucket, task.s3_extra_args


def rendered(arguments: dict[str, Any], run: dict[str, Any], *, mapped: bool) -> Any:
    """Render a task's templates as Airflow does before it runs it, and return the task that runs."""
    with DAG("templates", schedule=None) as dag:
        if mapped:
            task = BinanceLoanForceLiquidationOperator.partial(task_id="pull", **arguments).expand(
                aws_conn_id=["one", "two"]
            )
        else:
            task = operator(**arguments)
    instance = SimpleNamespace(map_index=1 if mapped else -1, task=task)
    dag_run = SimpleNamespace(run_after=NOW, conf={})
    run = {**run, "dag": dag, "macros": macros, "dag_run": dag_run, "ti": instance}
    task.render_template_fields(run, dag.get_template_env())
    assert instance.task.aws_conn_id == ("two" if mapped else "aws_default")
    return instance.task


def test_templates_what_a_dag_may_want_to_compute() -> None:
    """The window, ids, keys and connections are template fields; `window` is there to be shown."""
    assert set(BinanceLoanForceLiquidationOperator.template_fields) == {
        "window",
        "start",
        "end",
        "risk_units",
        "s3_bucket",
        "s3_key",
        "s3_extra_args",
        "aws_conn_id",
        "binance_loan_conn_id",
    }
