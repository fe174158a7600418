"""The changelog tells of the version that is about to be released."""

from __future__ import annotations

import re
from datetime import date

from packaging.version import Version

from airflow_provider_binance_loan import __version__
from tests.support.readme import ROOT

ENTRIES = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_each_entry_has_a_version_and_a_day() -> None:
    """The newest entry is this version's, and older ones follow."""
    versions, days = [], []
    for entry in ENTRIES:
        heading = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", entry)
        assert heading, entry
        versions.append(Version(heading[1]))
        days.append(date.fromisoformat(heading[2]))
    assert str(versions[0]) == __version__
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)
