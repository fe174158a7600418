"""The changelog: what is not yet released, then each release, in the form of Keep a Changelog."""

from __future__ import annotations

import re
from datetime import date

from packaging.version import Version

from airflow_provider_binance_loan import __version__
from tests.support.docs import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text()
ENTRIES = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
UNRELEASED = "[Unreleased]"
# https://keepachangelog.com/en/1.1.0/
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_each_release_has_a_version_and_a_day() -> None:
    """The newest release is this version's, older ones follow, and what is not yet released comes first."""
    releases = ENTRIES[1:] if ENTRIES[0] == UNRELEASED else ENTRIES
    versions, days = [], []
    for entry in releases:
        heading = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", entry)
        assert heading, entry
        versions.append(Version(heading[1]))
        days.append(date.fromisoformat(heading[2]))
    assert str(versions[0]) == __version__
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)


def test_changes_are_grouped_by_kind() -> None:
    """Every section has one of the six kinds of Keep a Changelog, and lists at least one change."""
    sections = re.findall(r"^### (.*)\n\n(.)", TEXT, re.MULTILINE)
    assert {kind for kind, _ in sections} <= KINDS
    assert {first for _, first in sections} == {"-"}
    assert len(sections) == TEXT.count("\n### ")
