"""All messages that bad input ends in, against one golden file."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.messages import GOLDEN, SECTIONS, Section, render
from tests.support.bad_input import Environment


def test_messages_are_those_of_the_golden_file(environment: Environment) -> None:
    """Each message is as it was read last; `python -m tests.integration.bad_input.messages` rewrites them."""
    assert render(environment) == GOLDEN.read_text()


@pytest.mark.parametrize("section", [pytest.param(section, id=section.title) for section in SECTIONS])
def test_each_case_has_an_id_of_its_own(section: Section) -> None:
    """No case hides another in the golden file."""
    ids = [case.id for case in section.cases]
    assert sorted(set(ids)) == sorted(ids)
