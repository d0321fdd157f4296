"""The report in a real browser: nothing foreign runs or loads, nothing makes the page scroll sideways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.audits import HOSTILE, gate
from support.browser import OpenPage

if TYPE_CHECKING:
    from playwright.sync_api import Page

VARIANTS: dict[str, dict[str, Any]] = {
    "images": {"gates": (gate(failed=True),)},
    "hostile images": {"hostile": True, "classes": 6},
    "hostile rows": {"hostile": True, "classes": 6, "kind": "row"},
    "hostile texts": {"hostile": True, "classes": 5, "kind": "text"},
    "many": {"classes": 40, "layers": 120, "samples": 400, "kind": "none"},
}
MEASURE = """
() => {
  const images = [...document.images];
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  const wide = [...document.querySelectorAll(".figure, .scroll")].filter(
    part => part.scrollWidth > part.clientWidth);
  return {
    window: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
    undecoded: images.filter(image => image.naturalWidth == 0).length,
    sections: document.querySelectorAll("main > section").length,
    repeated: ids.filter((id, place) => ids.indexOf(id) != place),
    unshaded: wide.filter(part => getComputedStyle(part).backgroundImage == "none").length,
    cut: wide.filter(part => part.matches(".figure")).length,
  };
}
"""
HANDLERS = """
() => [...document.querySelectorAll("*")].flatMap(element => [...element.attributes]
  .filter(attribute => attribute.name.startsWith("on")).map(attribute => attribute.name))
"""


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_no_page_scrolls_sideways(variant: dict[str, Any], open_report: OpenPage) -> None:
    page = open_report(**variant)
    for width in (360, 800, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        found = page.evaluate(MEASURE)
        assert found["window"] in range(width - 20, width + 1)
        assert found["content"] == found["window"]
        assert found["sections"] == 9
        assert found["undecoded"] == 0
        assert found["repeated"] == []
        assert found["unshaded"] == 0, "what scrolls sideways shows that there is more"
        assert (found["cut"] > 0) == (width == 360)


def scripts(page: Page) -> list[str]:
    """Return the scripts of a page that run, as the browser holds them."""
    found: list[str] = page.evaluate(
        "[...document.scripts].filter(script => !script.type).map(script => script.text)"
    )
    return found


def test_hostile_names_stay_text(open_report: OpenPage) -> None:
    page = open_report(hostile=True, classes=6)
    assert scripts(page) == scripts(open_report())
    assert page.evaluate(HANDLERS) == []
    assert HOSTILE[0] in page.inner_text("main")


def test_dark_is_dark(open_report: OpenPage) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    assert open_report(scheme="dark", suspects=0).evaluate(color) == "rgb(15, 19, 24)"
    assert open_report(scheme="light", suspects=0).evaluate(color) == "rgb(244, 246, 248)"
