"""The README as data: its code blocks, its tables and its commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The contents of the code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of the shell blocks, each on one line."""
    text = re.sub(r"(^|\s)#.*", "", "".join(blocks("sh")).replace("\\\n", " "), flags=re.MULTILINE)
    return [part.strip() for part in re.split(r"\n|&&", text) if part.strip()]


def table(*header: str) -> list[list[str]]:
    """The rows of the one table with this header."""
    (start,) = re.findall(
        rf"^\| {re.escape(' | '.join(header))} \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in start.splitlines()]


def names(cell: str) -> list[str]:
    """What a cell says in code."""
    return re.findall(r"`([^`]+)`", cell)
