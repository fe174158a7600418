"""What DAG parsing pays for: a fresh interpreter that imports, and one that parses a DAG file.

    uv run python -m tests.benchmarks.imports

Ours against `airflow.sdk` alone, with what an operator, a sensor and a hook need of it, and against Airflow's
http provider; in turn, medians of the rounds, and ratios within a round.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from statistics import median

from tests.benchmarks.stage import row, set_up_airflow

ROUNDS = 5
WIDTHS = (36, 9, 15, 9)

SDK = "from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator"
OURS = "airflow_provider_binance_loan"
HTTP = "airflow.providers.http"
IN_A_DAG = """
with DAG("parsed", schedule="@hourly"):
    {sensor} >> {operator}
"""
BASE = "airflow.sdk"
CODE = {
    BASE: SDK,
    "our operators": f"{SDK}\nimport {OURS}.operators",
    "our sensors": f"{SDK}\nimport {OURS}.sensors",
    "our hooks": f"{SDK}\nimport {OURS}.hooks",
    "our operators, sensors and hooks": f"{SDK}\nimport {OURS}.operators, {OURS}.sensors, {OURS}.hooks",
    "http's operators, sensors and hooks": (
        f"{SDK}\nimport {HTTP}.operators.http, {HTTP}.sensors.http, {HTTP}.hooks.http"
    ),
}
DAG_BASE = "DAG of airflow.sdk's base classes"
DAGS = {
    DAG_BASE: SDK
    + IN_A_DAG.format(sensor='BaseSensorOperator(task_id="a")', operator='BaseOperator(task_id="b")'),
    "DAG of ours": f"{SDK}\nfrom {OURS}.operators import *\nfrom {OURS}.sensors import *"
    + IN_A_DAG.format(
        sensor='BinanceLoanForceLiquidationSensor(task_id="a")',
        operator='BinanceLoanForceLiquidationOperator(task_id="b", s3_key="s3://lake/key.jsonl")',
    ),
    "DAG of http's": f"{SDK}\nfrom {HTTP}.operators.http import *\nfrom {HTTP}.sensors.http import *"
    + IN_A_DAG.format(
        sensor='HttpSensor(task_id="a", endpoint="x")', operator='HttpOperator(task_id="b", endpoint="x")'
    ),
}


def cost(code: str) -> tuple[float, int]:
    """Run code in a fresh interpreter, and return its CPU seconds and how many modules it has then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code += "\nimport sys; sys.stdout.flush(); print(len(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(ended.stdout.split()[-1])


def measure(codes: dict[str, str], base: str) -> None:
    for code in codes.values():
        cost(code)  # so that all is compiled, and in the machine's memory
    rounds = [{name: cost(code) for name, code in codes.items()} for _ in range(ROUNDS)]
    row("", "CPU s", "x airflow.sdk", "modules", widths=WIDTHS)
    for name in codes:
        row(
            name,
            f"{median(one[name][0] for one in rounds):.2f}",
            f"{median(one[name][0] / one[base][0] for one in rounds):.2f}",
            f"{rounds[0][name][1]:,}",
            widths=WIDTHS,
        )


def main() -> None:
    set_up_airflow("http://127.0.0.1:9")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    measure(CODE, BASE)
    print()
    measure(DAGS, DAG_BASE)


if __name__ == "__main__":
    main()
