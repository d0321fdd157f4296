"""The review page in a real browser: answered by keyboard, kept over a reload, downloaded and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.audits import make_audit
from support.browser import OpenPage, reload
from support.page import Page as ParsedPage

from cohaudit.report import render_review
from cohaudit.results import Audit
from cohaudit.review.answers import read_answers

if TYPE_CHECKING:
    from playwright.sync_api import Page

STORE = "([key, value]) => localStorage.setItem(key, value)"


def questions(**variant: Any) -> tuple[Audit, str]:
    """Return an audit and its review page."""
    audit = make_audit(classes=6, questions=5, **variant)
    return audit, render_review(audit, audit.questions)


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def download(page: Page, path: Path) -> Path:
    with page.expect_download() as started:
        page.click("#panel [name=save]")
    assert started.value.suggested_filename == "reviewed.json"
    started.value.save_as(path)
    return path


def counted(page: Page) -> str:
    return page.inner_text("#count")


@pytest.mark.parametrize("kind", ["image", "wave", "row", "text", "none"])
@pytest.mark.parametrize("hostile", [False, True])
def test_labels_are_answered_by_keyboard_and_read_back(
    kind: str, hostile: bool, open_page: OpenPage, tmp_path: Path
) -> None:
    audit, html = questions(kind=kind, hostile=hostile)
    page = open_page(html)
    assert counted(page) == "0 of the 5 labels that tell most"
    assert page.locator("#panel [name=save]").is_disabled()
    press(page, "r u w")
    page.locator("#correction select").select_option(index=2)
    press(page, "Enter W Enter r")
    assert counted(page) == "5 of the 5 labels that tell most"
    assert page.locator("#done").is_visible()
    rows = audit.samples.set_index("id").loc[list(audit.questions)]
    found = read_answers(download(page, tmp_path / "reviewed.json")).answers
    assert [one.answer for one in found] == ["right", "unsure", "wrong", "wrong", "right"]
    assert [(one.id, one.content, one.label) for one in found] == [
        (name, row["content"], row["label"]) for name, row in rows.iterrows()
    ]
    others = [one.name for one in audit.classes if one.name != found[2].label]
    assert [one.true_label for one in found] == ["", "", others[1], "", ""]


def test_an_answer_can_be_changed_and_all_can_be_forgotten(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(questions()[1])
    press(page, "r r b b u")
    # the next question without an answer, not the second one again
    assert page.inner_text("#place") == "3 of 5"
    page.click("#question [name=back]")
    assert page.locator("#question [name=right]").get_attribute("aria-pressed") == "true"
    page.click("#question [name=unsure]")
    assert page.inner_text("#panel output") == "0 right, 0 wrong, 2 unsure."
    page.click("#panel [name=forget]")
    assert (counted(page), page.inner_text("#place")) == ("0 of the 5 labels that tell most", "1 of 5")
    page.click("#panel [name=forget]")
    assert counted(page) == "2 of the 5 labels that tell most"
    found = read_answers(download(page, tmp_path / "reviewed.json")).answers
    assert [one.answer for one in found] == ["unsure", "unsure"]


def test_answers_survive_a_reload_and_a_later_round_adds_to_them(open_page: OpenPage, tmp_path: Path) -> None:
    audit, html = questions()
    page = open_page(html)
    press(page, "r w Enter")
    assert counted(page) == "2 of the 5 labels that tell most"
    reload(page)
    assert counted(page) == "2 of the 5 labels that tell most"
    assert page.inner_text("#place") == "3 of 5"
    later = replace(audit, questions=tuple(audit.samples["id"][10:13]))
    path = Path(page.url.removeprefix("file://"))
    path.write_text(render_review(later, later.questions), encoding="utf-8")
    reload(page)
    assert counted(page) == "0 of the 3 labels that tell most"
    press(page, "r")
    found = read_answers(download(page, tmp_path / "reviewed.json")).answers
    assert [one.id for one in found] == [*audit.questions[:2], later.questions[0]]


@pytest.mark.parametrize(
    "stored", ["{", "5", "null", '[null, 1, {"content": "x"}, {"content": 1, "answer": "right"}]']
)
def test_a_damaged_store_counts_as_empty(stored: str, open_page: OpenPage) -> None:
    audit, html = questions()
    page = open_page(html)
    page.evaluate(STORE, [f"cohaudit-review:{audit.subject.data_fingerprint:.32}", stored])
    reload(page)
    assert counted(page) == "0 of the 5 labels that tell most"
    assert page.locator("#question").is_visible()


def test_neither_suspicion_nor_suggestion_is_told() -> None:
    audit, html = questions(suspects=240)
    row = audit.samples.set_index("id").loc[audit.questions[0]]
    assert row["suggested"] != row["label"]
    page = ParsedPage(html)
    assert "Are these labels right?" in page.words
    data = html.partition('id="review-data">')[2].partition("</script>")[0]
    assert set(json.loads(data)["questions"][0]) == {"id", "content", "given", "picture", "coarse"}
    assert str(row["suspicion"])[:5] not in html
