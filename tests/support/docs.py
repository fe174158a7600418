"""The documentation as data: its pages, code blocks, tables, commands and links."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.paths import ROOT

# The README first: its code is what everybody copies.
FILES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / ".github").glob("*.md")),
]
PAGES = {file.relative_to(ROOT).as_posix(): file.read_text() for file in FILES}
TEXT = "\n".join(PAGES.values())


class Block(NamedTuple):
    """A code block: its page, its number on that page, its language and its content."""

    page: str
    number: int
    language: str
    text: str


BLOCKS = [
    Block(page, number, language, content)
    for page, text in PAGES.items()
    for number, (language, content) in enumerate(
        re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL), start=1
    )
]


def blocks(language: str) -> list[str]:
    """Return the contents of the code blocks in a language, of all pages."""
    return [block.text for block in BLOCKS if block.language == language]


def statements(page: str, heading: str) -> list[str]:
    """Return the SQL statements that a page has below a heading and above the next one."""
    (section,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", PAGES[page], re.MULTILINE | re.DOTALL
    )
    text = "".join(re.findall(r"^```sql\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    return [part.strip() for part in re.split(r";$", text, flags=re.MULTILINE) if part.strip()]


def headings(page: str) -> list[str]:
    """Return the headings of a page, in their order."""
    return re.findall(r"^#+ (.*)$", PAGES[page], re.MULTILINE)


def commands() -> list[str]:
    """Return the commands of the shell blocks, each on one line."""
    text = re.sub(r"(^|\s)#.*", "", "".join(blocks("sh")).replace("\\\n", " "), flags=re.MULTILINE)
    return [part.strip() for part in re.split(r"\n|&&", text) if part.strip()]


def table(*header: str) -> list[list[str]]:
    """Return the rows of the one table with this header, whichever page it is on."""
    (start,) = re.findall(
        rf"^\| {re.escape(' | '.join(header))} \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in start.splitlines()]


def names(cell: str) -> list[str]:
    """Return the code spans of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def links(page: str) -> list[str]:
    """Return the targets of a page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", PAGES[page])


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings(page)}
