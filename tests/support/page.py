"""Reports rendered once for all tests, and HTML pages taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from typing import Any
from unittest import mock

import pytest
from support.audits import make_audit

from cohaudit.report import render_html
from cohaudit.report.figures import svg
from cohaudit.results import Audit


@contextmanager
def undrawn() -> Iterator[None]:
    """Leave every figure empty but for its texts: drawing takes nine tenths of the time of a page."""
    with mock.patch.object(svg, "_render", return_value="<svg/>"):
        yield


@pytest.fixture
def undrawn_figures() -> Iterator[None]:
    """Leave the figures of every report empty, for tests of what is written where."""
    with undrawn():
        yield


def render_undrawn(audit: Audit) -> str:
    """Return the report of an audit with empty figures."""
    with undrawn():
        return render_html(audit)


@cache
def html_of(**variant: Any) -> str:
    """Return the report of `make_audit(**variant)`, rendered once."""
    return render_html(make_audit(**variant))


@cache
def undrawn_html_of(**variant: Any) -> str:
    """Return the report of `make_audit(**variant)` with empty figures, rendered once."""
    return render_undrawn(make_audit(**variant))


class Page(HTMLParser):
    """A page taken apart: its text, its tags with their attributes, and whether they nest.

    The content of template elements, which the script fills in, is left out, and so are scripts.
    """

    UNSEEN = frozenset({"script", "style", "template"})
    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "template" not in self.open:
            self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.UNSEEN.isdisjoint(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(**variant: Any) -> Page:
    """Return the report of `make_audit(**variant)`, with its figures, taken apart."""
    return Page(html_of(**variant))


def undrawn_page_of(**variant: Any) -> Page:
    """Return the report of `make_audit(**variant)` without its drawings taken apart."""
    return Page(undrawn_html_of(**variant))


def words_of(audit: Audit) -> str:
    """Return the text of the report of an audit, without its drawings."""
    return Page(render_undrawn(audit)).words
