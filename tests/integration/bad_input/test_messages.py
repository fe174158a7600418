"""All messages that bad input ends in, against one golden file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_binance_loan
from tests.integration.bad_input.messages import GOLDEN, SECTIONS, Section, render
from tests.support.bad_input import Environment

PACKAGE = Path(airflow_provider_binance_loan.__file__).parent
# Texts that are not in the golden file, and why.
ELSEWHERE = {
    "Check this machine's clock: ": "replaced by the client's error, which knows by how much",
    "Try again later: the request was given up.": "seen by nobody: another request of the pull has failed",
    "Try again later: the pull was given up.": "seen by nobody: the task has timed out",
    "The plan waits for an answer, and no request is under way.": "a fault of this package, not of its user",
    " was asked for. Nothing of the answer was used.": "likewise",
    "Try again later, or end the window before now: its newest records changed in ": "tests of slicing",
    "pip install 'airflow-provider-binance-loan[parquet]': Parquet needs pyarrow": "tests of the package",
    "pip install 'airflow-provider-binance-loan[s3]': landing in S3 needs the amazon provider": "likewise",
    "Rename a table of ": "for those who declare a dataset",
    ", as two have the same name: ": "likewise",
    "The window holds no records, and skip_if_empty is set.": "the reason of a skip, not an error",
    "Look into the differences in the log and the XCom: ": "tests of the reconciliation",
    " rows, and the first is ": "likewise",
    "PUBLIC KEY-----": "no part of a message",
}


def test_messages_are_those_of_the_golden_file(environment: Environment) -> None:
    """Each message is as it was read last; `python -m tests.integration.bad_input.messages` rewrites them."""
    assert render(environment) == GOLDEN.read_text()


@pytest.mark.parametrize("section", [pytest.param(section, id=section.title) for section in SECTIONS])
def test_each_case_has_an_id_of_its_own(section: Section) -> None:
    """No case hides another in the golden file."""
    ids = [case.id for case in section.cases]
    assert sorted(set(ids)) == sorted(ids)


def raised_texts() -> Iterator[str]:
    """Yield the literal parts of the messages of all errors that the package raises, but the sandbox's."""
    for file in PACKAGE.rglob("*.py"):
        if "sandbox" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "").endswith(
                ("Error", "Exception", "Timeout")
            ):
                for part in (part for argument in node.args for part in ast.walk(argument)):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def test_the_golden_file_has_every_text_of_the_package() -> None:
    """A new message is not forgotten: each part of one is in the file, or named above."""
    golden = GOLDEN.read_text()
    missing = {text for text in raised_texts() if len(text) > 12 and text.strip(" .") not in golden}
    assert missing == set(ELSEWHERE)
