"""The report on paper: printed by a real browser, nothing is cut at the edge and nothing left out."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import OpenPage

if TYPE_CHECKING:
    from playwright.sync_api import Page

MARGIN = 12 * 72 / 25.4
"""Of the page, in points, as in style.css."""
VARIANTS: dict[str, dict[str, Any]] = {
    "images": {},
    "hostile texts": {"hostile": True, "classes": 6, "kind": "text"},
    "rows": {"kind": "row", "suspects": 3},
}
TEXTS = """
() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!parent.closest("style, script, title, desc, .bar, .skip") && parent.checkVisibility())
      texts.push(walker.currentNode.textContent);
  }
  return texts;
}
"""


def letters(text: str) -> str:
    """Return what a PDF keeps of a text: no spaces, hyphens or characters that no font has."""
    return re.sub("[^A-Za-z0-9]", "", text)


def printed(page: Page) -> tuple[list[str], list[float]]:
    """Print a page; return the letters on each sheet, and how far its text keeps from the right edge."""
    pdfium = pytest.importorskip("pypdfium2")
    texts, rooms = [], []
    with pdfium.PdfDocument(page.pdf(prefer_css_page_size=True)) as document:
        for sheet in document:
            content = sheet.get_textpage()
            right = max((content.get_charbox(i)[2] for i in range(content.count_chars())), default=0.0)
            texts.append(letters(content.get_text_range()))
            rooms.append(sheet.get_width() - right)
    return texts, rooms


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_nothing_is_lost_on_paper(variant: dict[str, Any], open_report: OpenPage) -> None:
    page = open_report(**variant)
    page.emulate_media(media="print")
    shown = page.evaluate(TEXTS)
    sheets, rooms = printed(page)
    assert min(rooms) > MARGIN - 2
    assert "Skipped" in sheets[-1], "the footer is not alone on the last sheet"
    text = "".join(sheets)
    words = Counter(letters(word) for one in shown for word in one.split())
    assert [word for word, times in words.items() if text.count(word) < times] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_white(scheme: str, open_report: OpenPage) -> None:
    page = open_report(scheme=scheme, suspects=0)
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_what_is_folded_is_unfolded_on_paper(open_report: OpenPage) -> None:
    page = open_report(kind="row", suspects=3)
    assert page.locator(".evidence[open]").count() == 0
    folded = "document.querySelector('.evidence table').getBoundingClientRect().height"
    assert page.evaluate("!document.querySelector('.evidence table').checkVisibility()")
    page.emulate_media(media="print")
    assert page.evaluate(folded) > 0
