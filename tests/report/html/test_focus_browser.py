"""Judging at speed, in a real browser: by keys in the cards and one by one, many at once, and by pair."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.audits import make_audit
from support.browser import OpenPage
from support.page import render_undrawn

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from cohaudit.results import Audit

SHAPE = {"suspects": 30, "samples": 400}
BROKEN = """
() => [...document.querySelectorAll(".end")].filter(end => end.getClientRects().length > 1)
  .map(end => end.textContent)
"""
"""Script that returns the ends of names that stand on two lines."""


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def counts(page: Page) -> str:
    return page.inner_text("#verdicts output")


def focused_card(page: Page) -> str:
    """Return the id of the sample whose ticks have the focus."""
    found: str = page.evaluate(
        "document.activeElement.closest('.marks').closest('.card').querySelector('.name').textContent"
    )
    return found


def test_one_sample_after_the_other_is_judged_by_keys(open_page: OpenPage) -> None:
    audit = make_audit(**SHAPE)
    page = open_page(render_undrawn(audit))
    page.click("#judging [name=focus]")

    def place() -> tuple[str, str]:
        return page.inner_text("#focus-place"), page.inner_text("#focus .name")

    def at(i: int) -> tuple[str, str]:
        return f"Sample {i + 1} of 30", audit.evidence[i].id

    assert place() == at(0)
    assert page.locator("#focus .neighbors").first.is_visible(), "the evidence is open"
    press(page, "w r u")
    assert place() == at(3)
    assert counts(page) == "1 wrong, 1 right, 1 unsure"
    press(page, "n n b")
    assert place() == at(4)
    press(page, "b b b b")
    assert place() == at(0)
    assert page.locator("#focus [name=wrong]").get_attribute("aria-pressed") == "true"
    press(page, "r")
    assert place() == at(3), "the next one without a verdict"
    press(page, "z z")
    assert place() == at(2)
    assert counts(page) == "1 wrong, 1 right, 0 unsure"
    # another class than the suggested one: letters typed in the list of classes are no commands
    press(page, "c")
    page.keyboard.type("class 9")
    press(page, "Enter r")
    assert place() == at(4)
    assert counts(page) == "2 wrong, 2 right, 0 unsure"
    stored = page.evaluate("Object.values(JSON.parse(Object.values(localStorage)[0])).map(one => one.label)")
    suggested = audit.samples.set_index("id").loc[audit.evidence[0].id, "suggested"]
    assert stored[0] == suggested
    assert stored[2] == "class 9"
    assert page.inner_text("#focus output") == "4 of 30 judged"
    press(page, "Escape")
    assert not page.locator("#focus").is_visible()
    assert focused_card(page) == audit.evidence[4].id


def test_keys_in_the_cards_lead_from_one_to_the_next(open_page: OpenPage) -> None:
    audit = make_audit(**SHAPE)
    page = open_page(render_undrawn(audit))
    page.focus("#shown")
    press(page, "Tab")
    assert focused_card(page) == audit.evidence[0].id, "one Tab leads to the first ticks"
    press(page, "w r n u b")
    assert focused_card(page) == audit.evidence[3].id
    assert counts(page) == "1 wrong, 1 right, 1 unsure"
    press(page, "z")
    assert focused_card(page) == audit.evidence[3].id
    assert counts(page) == "1 wrong, 1 right, 0 unsure"
    for _ in range(21):
        press(page, "r")
    assert page.inner_text("#paging span") == "page 2 of 2"
    assert focused_card(page) == audit.evidence[24].id
    press(page, "f")
    assert page.inner_text("#focus .name") == audit.evidence[24].id
    press(page, "f z")
    assert counts(page) == "1 wrong, 21 right, 0 unsure"
    page.fill("#filters [name=text]", "wru")
    assert counts(page) == "1 wrong, 21 right, 0 unsure", "letters in a field are no verdicts"


def test_suggestions_are_accepted_above_a_bound_and_taken_back(open_page: OpenPage) -> None:
    audit = make_audit(**SHAPE)
    page = open_page(render_undrawn(audit))
    page.locator("#cards > li").first.get_by_label("right", exact=True).check()
    page.fill("#judging [name=bound]", "0.8")
    suspects = audit.suspects
    likely = suspects[suspects["suspicion"] >= 0.8]
    accept = page.locator("#judging [name=accept]")
    assert accept.inner_text() == f"Mark {len(likely) - 1} as wrong"
    mean = likely["suspicion"].iloc[1:].mean()
    assert f"{int(1000 * mean) / 10:g}%" in page.inner_text("#expected")
    accept.click()
    assert counts(page) == f"{len(likely) - 1} wrong, 1 right, 0 unsure"
    assert accept.is_disabled()
    labels = page.evaluate("JSON.parse(Object.values(localStorage)[0])")
    wrong = {name: one["label"] for name, one in labels.items() if one["verdict"] == "wrong"}
    assert wrong == dict(zip(likely["id"].iloc[1:], likely["suggested"].iloc[1:], strict=True))
    page.click("#judging [name=undo]")
    assert counts(page) == "0 wrong, 1 right, 0 unsure"


def pairs(audit: Audit) -> Counter[tuple[str, str]]:
    return Counter(zip(audit.suspects["label"], audit.suspects["suggested"], strict=True))


@pytest.mark.parametrize("classes", [10, 300])
def test_a_number_of_the_table_shows_its_suspects(classes: int, open_page: OpenPage) -> None:
    audit = make_audit(**SHAPE, classes=classes, layers=2)
    page = open_page(render_undrawn(audit))
    cells = page.locator("#confusions button")
    assert sum(map(int, cells.all_inner_texts())) == 30
    assert page.locator("#confusions th").count() <= 30
    for cell in (cells.first, cells.last):
        cell.click()
        assert page.inner_text("#shown").startswith(
            f"1 to {cell.inner_text()} of {cell.inner_text()} samples"
        )
    page.click("#filters [type=reset]")
    page.locator("#shown", has_text="of 30 samples").wait_for()
    if classes == 10:
        (given, suggested), most = pairs(audit).most_common(1)[0]
        cell = page.get_by_title(f"labeled \u2068{given}\u2069, looks like \u2068{suggested}\u2069").first
        cell.locator("button").click()
        assert page.locator("#cards > li").count() == most
        assert set(page.locator("#cards .given").all_inner_texts()) == {given}
        cell.locator("button").click()
        assert "of 30 samples" in page.inner_text("#shown"), "a second press shows all again"


def test_no_name_is_broken_inside_its_extension(open_page: OpenPage) -> None:
    page = open_page(render_undrawn(make_audit(**SHAPE)), width=360)
    page.add_style_tag(content=".card { content-visibility: visible !important }")
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    ends = page.locator("#cards .end").all_text_contents()
    assert set(ends[1:3]) <= {f"{i:04d}.png" for i in range(400)} | {f"{i}.png" for i in range(400)} | set(
        ends
    )
    assert all(end.endswith(".png") for end in ends)
    assert page.evaluate(BROKEN) == []
