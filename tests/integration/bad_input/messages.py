"""The golden file of messages: what each bad input ends in, as users read it.

`python -m tests.integration.bad_input.messages` rewrites it. Read what changed: each message begins with
what to do, and names the field within the 100 characters that a log page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import tests.conftest  # noqa: F401 - before Airflow is imported
from tests.integration.bad_input import (
    test_answers,
    test_connections,
    test_hook,
    test_landing,
    test_ltv,
    test_operator,
    test_page,
    test_private_keys,
    test_risk_units,
    test_sensor,
    test_triggers,
)
from tests.support.bad_input import Case, Environment, open_environment

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "messages.txt"


class Section(NamedTuple):
    """A part of the golden file: cases, and what runs into the error of one."""

    title: str
    cases: Sequence[Case]
    provoke: Callable[[Case, Environment], None]


SECTIONS = [
    Section("Fields of a connection", test_connections.CASES, test_connections.provoke),
    Section("Unreadable extras", test_connections.UNREADABLE, test_connections.provoke_unreadable),
    Section("Private keys", test_private_keys.CASES, test_private_keys.provoke),
    Section("Missing connections", test_hook.MISSING, test_hook.provoke_missing),
    Section("Windows of the hook", test_hook.CASES, test_hook.provoke),
    Section("Risk units", test_risk_units.CASES, test_risk_units.provoke),
    Section("Arguments of the operator", test_operator.CASES, test_operator.provoke),
    Section("Arguments of other operators", test_operator.OTHERS, test_operator.provoke_other),
    Section("Windows of runs", test_operator.RUNS, test_operator.provoke_run),
    Section("Landing", test_landing.CASES, test_landing.provoke),
    Section("Arguments of the sensor", test_sensor.CASES, test_sensor.provoke),
    Section("Outcomes of a deferred sensor", test_sensor.EVENTS, test_sensor.provoke_event),
    Section("Arguments of the deferred sensor's trigger", test_triggers.CASES, test_triggers.provoke),
    Section("Arguments of a watcher's trigger", test_triggers.WATCHERS, test_triggers.provoke_watcher),
    Section("States of a watcher", test_triggers.STATES, test_triggers.provoke_state),
    Section("Levels of an LTV sensor", test_ltv.SENSORS, test_ltv.provoke_sensor),
    Section("Levels of an LTV watcher", test_ltv.WATCHERS, test_ltv.provoke_watcher),
    Section("States of an LTV watcher", test_ltv.STATES, test_ltv.provoke_state),
    Section("Answers about LTVs", test_ltv.ANSWERS, test_ltv.provoke_answer),
    Section("Answers of Binance", test_answers.CASES, test_answers.provoke),
    Section("Pages", test_page.CASES, test_page.provoke),
    Section("Landing of pages", test_page.LANDED, test_page.provoke_landed),
    Section("Plans", test_answers.PLANS, test_answers.provoke_plan),
    Section("No answer", test_answers.UNANSWERED, test_answers.provoke_unanswered),
]


def message(case: Case, section: Section, environment: Environment) -> str:
    """Return the message that a case ends in, with placeholders for what differs between machines."""
    try:
        section.provoke(case, environment)
    except Exception as error:  # noqa: BLE001 - whichever it is, it is what users see
        return environment.placeholders(str(error))
    raise AssertionError(f"no error: {case.id}")


def render(environment: Environment) -> str:
    """Return the golden file: each message, and under it a line for each case that ends in it."""
    lines: list[str] = []
    for section in SECTIONS:
        found: dict[str, list[str]] = {}
        for case in section.cases:
            found.setdefault(message(case, section, environment), []).append(case.id)
        lines += [f"# {section.title}", ""]
        for text, ids in found.items():
            lines += [text, *(f"    {environment.placeholders(case_id)}" for case_id in ids), ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    with open_environment() as opened:
        GOLDEN.write_text(render(opened))
