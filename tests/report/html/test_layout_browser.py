"""Where things are on the page in a real browser: samples within two screens, no row taller than a phone."""

from __future__ import annotations

from typing import Any

import pytest
from support.audits import gate, make_audit
from support.browser import OpenPage
from support.page import render_undrawn
from support.real_audits import REAL, real_audit

ORDER = ["verdict", "actions", "suspects", "classes", "depth", "theory", "method", "certificate", "skipped"]
PHONE_HEIGHT = 800
TOPS = """
() => [...document.querySelectorAll("main > section")]
  .map(section => [section.id, section.getBoundingClientRect().top + scrollY])
"""
TALL = """
limit => {
  for (const fold of document.querySelectorAll(".fold, .actions ~ details")) fold.open = true;
  const rows = document.querySelectorAll(
    "tr, li, .card, .verdict-card, .tiles > div, .facts > div, .definitions > div");
  return [...rows].filter(row => row.getBoundingClientRect().height > limit)
    .map(row => `${row.className || row.tagName}: ${row.textContent.trim().slice(0, 60)}`);
}
"""
MADE: dict[str, dict[str, Any]] = {
    "images": {"gates": (gate(failed=True), gate(failed=False)), "suppressed": 2, "holdout": True},
    "hostile rows": {"hostile": True, "classes": 6, "kind": "row"},
    "hostile texts": {"hostile": True, "classes": 5, "kind": "text"},
    "not auditable": {"auditable": False},
}


@pytest.mark.parametrize("name", [*REAL, *MADE])
def test_the_order_is_that_of_use_and_samples_begin_within_two_screens(
    name: str, open_page: OpenPage
) -> None:
    audit = real_audit(name) if name in REAL else make_audit(**MADE[name])
    page = open_page(render_undrawn(audit))
    for width, height in ((1600, 1000), (1100, 1000)):
        page.set_viewport_size({"width": width, "height": height})
        tops = dict(page.evaluate(TOPS))
        assert [*tops] == [section for section in ORDER if section in tops]
        assert tops["suspects"] < 2 * height
    page.set_viewport_size({"width": 360, "height": PHONE_HEIGHT})
    assert page.evaluate(TALL, PHONE_HEIGHT) == []
