"""All benchmarks but the soak, one after another, each with its table.

    uv run python -m tests.benchmarks [imports hourly capacity pull growth datasets triggers]

It takes about an hour. Let the machine do nothing else meanwhile.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

NAMES = ("imports", "hourly", "capacity", "pull", "growth", "datasets", "triggers")


def machine() -> str:
    """Return what machine this is, in one line."""
    models = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {next(models, platform.machine())}, {memory_gb:.0f} GB"


def main(names: list[str]) -> int:
    if unknown := set(names) - set(NAMES):
        print(f"There is no benchmark {', '.join(sorted(unknown))}: give some of {', '.join(NAMES)}.")
        return 2
    print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}")
    print(f"Python {platform.python_version()}, Airflow {version('apache-airflow')}")
    failed = 0
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        began_s = time.monotonic()
        failed += subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode
        print(f"-- {time.monotonic() - began_s:.0f} s", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
