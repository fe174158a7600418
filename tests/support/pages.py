"""A page of HTML, taken apart with the standard library: its elements, texts and tables."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr"}
INLINE = {"a", "span", "strong", "time"}


class Page(HTMLParser):
    """What a browser would find in a page.

    `elements` are the tags with their attributes, `text` is all that is shown, `tables` are the rows of
    texts by the captions without the number of rows.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self._texts: list[str] = []
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._caption: list[str] | None = None
        self.feed(html)
        self.close()
        assert not self.open, self.open

    @property
    def text(self) -> str:
        return " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"th", "td"}:
            self._cell = []
        elif tag == "caption":
            self._caption = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag not in INLINE:
            self._texts.append(" ")
        if tag in {"th", "td"} and self._cell is not None:
            self._rows[-1].append("".join(self._cell).strip())
            self._cell = None
        elif tag == "caption" and self._caption is not None:
            self.tables["".join(self._caption).rpartition(", ")[0]] = self._rows
            self._caption = None

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self._texts.append(data)
        for place in (self._cell, self._caption):
            if place is not None:
                place.append(data)
