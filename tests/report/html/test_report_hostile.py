"""Names that attack the report, in a real browser: they stay text, in their place and out of the layout."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from support import audits
from support.browser import OpenPage

from cohaudit.report import render_html
from cohaudit.report.words import text

RUN = "window.__hacked = 1"
NAMES = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"' autofocus onfocus='{RUN}' x='",
    f"</title></style></textarea></svg><svg onload={RUN}>",
    f"javascript:{RUN}//<a href=javascript:{RUN}>",
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"<!--<script>{RUN}//--]]>",
    '<link rel=stylesheet href="https://example.org/x.css"><base href="https://example.org/">',
    "</script><iframe srcdoc='<script>parent.__hacked = 1</script>'>",
    "\u202egnp.exe\u2066 left open \u202b",
    "\u2069\u2069\u202c out of it\u202e",
    "שלום 12 קטה 34",
    "x" * 10_000,
    "猫" * 10_000,
    "a\u0301\u0302\u0303" * 200,
    "🦊👩‍👩‍👧‍👦🏳️‍🌈 {{ 7 * 7 }} {% raw %} ${7 * 7} $\\frac{1}{0}$",
    "\u0000\u0007\u001b[2J\u0085\u2028\r\n\t",
)
VARIANT: dict[str, Any] = {
    "classes": len(NAMES) + 1,
    "layers": len(NAMES) + 1,
    "samples": 72,
    "suspects": 18,
    "evidence": 3,
}
CONTENT = """
() => {
  const elements = [...document.querySelectorAll("body, body *:not(svg *), head, head *")];
  return {
    tags: elements.map(element => element.tagName),
    handlers: [...document.querySelectorAll("*")].flatMap(element => element.getAttributeNames())
      .filter(name => name.startsWith("on") || name == "autofocus" || name == "srcdoc"),
    links: elements.flatMap(element => [element.getAttribute("href"), element.getAttribute("src")])
      .filter(link => link && !link.startsWith("#") && !link.startsWith("data:image/png;")),
    window: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
  };
}
"""
DISORDERED = """
() => {
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const found = [];
  let before = null;
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    // a command has a box of its own, in which it scrolls
    if (parent.closest("svg, blockquote, .command") || !parent.checkVisibility()) continue;
    const range = document.createRange();
    const block = parent.closest("p, li, td, th, dd, dt, h1, h2, h3, h4, summary, caption");
    if (!before || before.block != block) before = null;
    for (const word of parent.closest("bdi") ? [/^[^]*$/] : node.textContent.matchAll(/[A-Za-z0-9]+/g)) {
      const [start, end] = word.index == null ? [0, node.length] : [word.index, word.index + word[0].length];
      range.setStart(node, start);
      range.setEnd(node, end);
      const boxes = [...range.getClientRects()], first = boxes[0], last = boxes[boxes.length - 1];
      if (before && Math.abs(before.bottom - first.bottom) < 3 && first.left < before.right - 1)
        found.push(before.words + " | " + range.toString());
      before = { block, bottom: last.bottom, right: last.right, words: range.toString() };
    }
  }
  return found;
}
"""


def hostile_report(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], **variant: Any) -> str:
    """Return a report in which classes, files, layers, columns and texts have these names."""
    monkeypatch.setattr(audits, "HOSTILE", names)
    return render_html(audits.make_audit(hostile=True, **{**VARIANT, **variant}))


@pytest.mark.parametrize("kind", ["image", "row", "text"])
def test_hostile_names_stay_text(kind: str, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage) -> None:
    harmless = tuple(f"name {chr(97 + i)}" for i in range(len(NAMES)))
    expected = open_page(hostile_report(monkeypatch, harmless, kind=kind)).evaluate(CONTENT)
    page = open_page(hostile_report(monkeypatch, NAMES, kind=kind), width=360)
    found = page.evaluate(CONTENT)
    assert Counter(found["tags"]) == Counter(expected["tags"])
    assert found["handlers"] == []
    assert found["links"] == []
    assert found["content"] == found["window"] == 360
    shown = page.evaluate("document.querySelector('#classes').textContent")
    assert [name for name in NAMES if text(name, 40).short not in shown] == []
    assert page.evaluate("document.title").count("<") == NAMES[0].count("<")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "1280px"


@pytest.mark.parametrize("width", [360, 1600])
def test_names_do_not_reorder_what_stands_beside_them(
    width: int, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage
) -> None:
    page = open_page(hostile_report(monkeypatch, NAMES), width=width)
    assert page.evaluate(DISORDERED) == []
    whole = page.evaluate("document.documentElement.outerHTML")
    assert re.findall("[\u202a-\u202e\u2066\u2067]", whole) == []
    closed = re.sub("\u2068[^\u2068\u2069]*\u2069", "", whole)
    assert re.findall("[\u2068\u2069]", closed) == [], "every isolation ends where it should"


def test_the_check_of_order_notices_a_reordering(open_page: OpenPage) -> None:
    page = open_page("<!doctype html><main><p>one <bdi>\u202e two</bdi> three <i>four</i></main>")
    assert page.evaluate(DISORDERED) == []
    page = open_page("<!doctype html><main><p>one \u202e two three</main>")
    assert page.evaluate(DISORDERED) != []
