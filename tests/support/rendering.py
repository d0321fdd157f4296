"""Markdown as GitHub renders it, and what a reader of the page then gets: its tags, tables and texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options


@dataclass
class Page:
    """What Markdown became."""

    tags: set[str] = field(default_factory=set)
    rows: list[list[str]] = field(default_factory=list)
    """The texts of each table row's cells."""
    plain: list[str] = field(default_factory=list)
    """Texts outside code, in which GitHub looks for mentions, issues and addresses."""
    text: str = ""
    """All text."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page, self._open = Page(), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.add(tag)
        assert not {name for name, _ in attrs} - {"align"}
        if tag != "br":
            self._open.append(tag)
        if tag == "tr":
            self.page.rows.append([])
        if tag in {"td", "th"}:
            self.page.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.page.text += data
        if "code" not in self._open:
            self.page.plain.append(data)
        if self._open and {"td", "th"} & set(self._open):
            self.page.rows[-1][-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def rendered(markdown: str) -> Page:
    """Render as GitHub does, with all HTML let through, so that what would come through is seen."""
    html = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page
