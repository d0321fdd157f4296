"""The samples of the report in a real browser: sorted, filtered, paged, judged, the verdicts downloaded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.audits import HOSTILE, make_audit
from support.browser import OpenPage, reload
from support.page import render_undrawn

from cohaudit.report.html.view import _listing
from cohaudit.review.suppressions import read_suppressions

if TYPE_CHECKING:
    from playwright.sync_api import Page

STORE = "stored => stored.forEach(([key, value]) => localStorage.setItem(key, value))"
BROKEN = ("null", "5", "{", "[]", '{"train/0000.png": {"verdict": "wrong", "label": "map"}}')
MOST_CLICKS = 5
CLICK_MILLISECONDS = 3000
MANY: dict[str, Any] = {"suspects": 60, "samples": 400, "others": 3}


def ids(page: Page) -> list[str]:
    """Return the ids of the cards shown, in order."""
    return page.locator("#cards > li h3 .name bdi").all_text_contents()


def wait_for(page: Page, text: str) -> None:
    """Wait until the page says what it shows."""
    page.locator("#shown", has_text=text).wait_for()


def turn(page: Page, first: int) -> None:
    """Go on to the next page of samples.

    Cards are laid out when they come into view. On a busy machine this can move the button between press and
    release, so that the browser takes it for no click.

    Args:
        page: The report.
        first: Number of the first sample of the next page.
    """
    # only here: without a browser's driver the module is imported all the same
    from playwright.sync_api import TimeoutError as NotYet

    turned = page.locator("#shown", has_text=re.compile(rf"^{first} to "))
    for _ in range(MOST_CLICKS):
        page.click("#paging [name=on]")
        with suppress(NotYet):
            turned.wait_for(timeout=CLICK_MILLISECONDS)
            return
    raise AssertionError(f"the page does not go on to sample {first}: {page.inner_text('#shown')}")


def download(page: Page, button: str, path: Path) -> str:
    """Press a button, and return the text of the file that comes."""
    with page.expect_download() as started:
        page.click(f"#verdicts [name={button}]")
    started.value.save_as(path)
    return path.read_bytes().decode()


def mark(page: Page, card: int, verdict: str) -> None:
    page.locator("#cards > li").nth(card).get_by_label(verdict, exact=True).check()


def test_all_samples_of_the_evidence_are_listed_most_suspicious_first(open_undrawn: OpenPage) -> None:
    audit = make_audit(**MANY)
    page = open_undrawn(**MANY)
    wait_for(page, f"1 to 24 of {len(audit.evidence)} samples")
    assert ids(page) == [one.id for one in audit.evidence[:24]]
    seen = ids(page)
    while page.locator("#paging [name=on]").is_enabled():
        turn(page, len(seen) + 1)
        seen += ids(page)
    assert sorted(seen) == sorted(one.id for one in audit.evidence)
    suspicion = audit.samples.set_index("id")["suspicion"]
    assert [suspicion[i] for i in seen] == sorted((suspicion[i] for i in seen), reverse=True)


@pytest.mark.parametrize("kind", ["image", "wave", "row", "text", "none"])
def test_the_script_builds_the_cards_that_the_page_has(
    kind: str, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a card is written by the template or by the script, the reader sees the same."""

    def cards(printed: int) -> tuple[str, list[str]]:
        monkeypatch.setattr(_listing, "STATIC_CARDS", printed)
        page = open_page(
            render_undrawn(make_audit(kind=kind, hostile=True, classes=6, suspects=6, evidence=2, others=2))
        )
        page.add_style_tag(content=".card { content-visibility: visible !important }")
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        pictures = page.evaluate("[...document.querySelectorAll('#cards img')].map(i => i.src + i.className)")
        return page.inner_text("#cards"), pictures

    by_template, by_script = cards(24), cards(0)
    assert by_template == by_script
    assert "labeled" in by_script[0]


def test_samples_are_filtered_by_class_kind_probability_and_text(open_undrawn: OpenPage) -> None:
    audit = make_audit(**MANY)
    shown = audit.samples.set_index("id").loc[[one.id for one in audit.evidence]]
    page = open_undrawn(**MANY)

    def count(keep: Callable[[Any], Any]) -> None:
        found = int(keep(shown).sum())
        assert 0 < found < len(shown)
        wait_for(page, f"of {found} samples ({len(shown)} without a filter)")
        page.click("#filters [type=reset]")
        wait_for(page, f"of {len(shown)} samples")

    page.select_option("#filters [name=class]", label="class 3")
    count(lambda rows: (rows["label"] == "class 3") | (rows["suggested"] == "class 3"))
    page.select_option("#filters [name=kind]", "rare")
    count(lambda rows: rows["kind"] == "rare")
    page.fill("#filters [name=least]", "0.8")
    count(lambda rows: rows["suspicion"] >= 0.8)
    page.fill("#filters [name=text]", audit.evidence[7].id.upper())
    count(lambda rows: rows.index == audit.evidence[7].id)
    page.fill("#filters [name=text]", "nothing is called so")
    wait_for(page, f"None of the {len(shown)} samples matches.")


def test_samples_are_sorted_by_the_list_and_by_the_headings(open_undrawn: OpenPage) -> None:
    audit = make_audit(**MANY)
    page = open_undrawn(**MANY)
    page.select_option("#filters [name=order]", "id")
    assert ids(page) == sorted(one.id for one in audit.evidence)[:24]
    page.check("#filters [value=table]")
    page.click("#sample-table [data-order=loss]")
    losses = [float(text) for text in page.locator("#sample-table tbody td:nth-child(6)").all_inner_texts()]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == len(audit.evidence)
    assert page.locator("#sample-table tbody img").count() == len(audit.evidence)
    heading = page.locator("th:has([data-order=loss])")
    assert heading.get_attribute("aria-sort") == "descending"
    page.click("#sample-table [data-order=loss]")
    assert heading.get_attribute("aria-sort") == "ascending"
    first = page.locator("#sample-table tbody td:nth-child(6)").first.inner_text()
    assert float(first) == min(losses)


def test_a_line_of_the_table_opens_its_card(open_undrawn: OpenPage) -> None:
    page = open_undrawn()
    page.check("#filters [value=table]")
    line = page.locator("#sample-table tbody tr").first
    line.locator("button").click()
    page.locator(".opened .card").get_by_label("right", exact=True).check()
    line.locator("button").click()
    assert page.locator(".opened").count() == 0
    assert line.locator("td").last.inner_text() == "right"


def test_verdicts_become_files_that_the_commands_read(open_undrawn: OpenPage, tmp_path: Path) -> None:
    audit = make_audit(hostile=True, classes=6)
    rows = audit.samples.set_index("id")
    page = open_undrawn(hostile=True, classes=6)
    for place, verdict in enumerate(("right", "wrong", "unsure", "right", "wrong", "right")):
        mark(page, place, verdict)
    assert page.locator("#verdicts output").inner_text() == "2 wrong, 3 right, 1 unsure"

    page.click("#verdicts [name=suppressions]")  # nobody has signed yet: the browser says so, nothing comes
    assert page.evaluate("document.activeElement.name") == "reviewer"
    page.fill("#verdicts [name=reviewer]", 'Ada "the eye" \\ 猫')
    download(page, "suppressions", tmp_path / "suppressions.toml")
    entries = read_suppressions(tmp_path / "suppressions.toml")
    chosen = [audit.evidence[i] for i in (0, 3, 5)]
    assert [(e.sample, e.id, e.label) for e in entries] == [
        (one.content, one.id, rows.loc[one.id, "label"]) for one in chosen
    ]
    assert {entry.reviewer for entry in entries} == {'Ada "the eye" \\ 猫'}

    other = page.locator("#cards > li").nth(4).locator(".marks select")
    other.select_option(index=0)
    text = download(page, "fixes", tmp_path / "fixes.csv")
    wrong = [audit.evidence[i].id for i in (1, 4)]
    found = list(csv.DictReader(io.StringIO(text)))
    assert [line["id"] for line in found] == wrong
    assert [line["label"] for line in found] == [rows.loc[i, "label"] for i in wrong]
    assert found[0]["new_label"] == rows.loc[wrong[0], "suggested"]
    names = [one.name for one in audit.classes if one.name != rows.loc[wrong[1], "label"]]
    assert found[1]["new_label"] == names[0]


def test_hostile_ids_come_back_whole(open_page: OpenPage, tmp_path: Path) -> None:
    audit = make_audit(suspects=len(HOSTILE) + 1)
    renamed = dict(zip((one.id for one in audit.evidence), HOSTILE, strict=False))
    table = audit.samples.assign(
        id=audit.samples["id"].map(lambda i: renamed.get(i, i)), duplicate_of="", supporters="", opponents=""
    )
    evidence = tuple(
        replace(one, id=renamed.get(one.id, one.id), supporters=(), opponents=()) for one in audit.evidence
    )
    previews = {renamed.get(name, name): one for name, one in audit.previews.items()}
    page = open_page(render_undrawn(replace(audit, samples=table, evidence=evidence, previews=previews)))
    for place in range(len(HOSTILE)):
        mark(page, place, "wrong")
    text = download(page, "fixes", tmp_path / "fixes.csv")
    assert [line["id"] for line in csv.DictReader(io.StringIO(text, newline=""))] == list(HOSTILE)


def test_verdicts_outlive_the_page_and_can_be_taken_back(open_undrawn: OpenPage) -> None:
    page = open_undrawn()
    mark(page, 0, "wrong")
    mark(page, 1, "unsure")
    reload(page)
    assert page.locator("#verdicts output").inner_text() == "1 wrong, 0 right, 1 unsure"
    page.select_option("#filters [name=verdict]", "unsure")
    wait_for(page, "1 to 1 of 1 samples")
    page.locator("#cards .marks button").click()
    assert page.locator("#verdicts output").inner_text() == "1 wrong, 0 right, 0 unsure"
    page.click("#verdicts [name=forget]")
    assert page.locator("#verdicts output").inner_text() == "0 wrong, 0 right, 0 unsure"
    page.get_by_role("button", name="Restore").click()
    assert page.locator("#verdicts output").inner_text() == "1 wrong, 0 right, 0 unsure"
    page.click("#verdicts [name=forget]")
    reload(page)
    assert page.locator("#verdicts output").inner_text() == "0 wrong, 0 right, 0 unsure"


def test_a_wrong_label_is_never_corrected_to_itself(open_page: OpenPage, tmp_path: Path) -> None:
    """Also of a sample that no other label is suggested for, and whose card is not shown again."""
    audit = make_audit(**MANY)
    table = audit.samples.assign(suggested=audit.samples["label"])
    page = open_page(render_undrawn(replace(audit, samples=table)))
    turn(page, 25)
    mark(page, 0, "wrong")
    reload(page)
    (line,) = csv.DictReader(io.StringIO(download(page, "fixes", tmp_path / "fixes.csv")))
    assert line["new_label"] not in {"", line["label"]}


def test_verdicts_are_of_a_label_not_of_a_place(open_page: OpenPage) -> None:
    """Another audit of the same model and data may read other labels, or the classes in another order."""
    audit = make_audit()
    page = open_page(render_undrawn(audit))
    mark(page, 0, "wrong")
    stored = page.evaluate("Object.entries(localStorage)")
    other = replace(audit, classes=audit.classes[::-1])
    relabeled = audit.samples.assign(
        label=audit.samples["label"].map(lambda name: f"class {9 - int(name[-1])}")
    )
    for changed, counts in ((other, "1 wrong"), (replace(audit, samples=relabeled), "0 wrong")):
        again = open_page(render_undrawn(changed))
        again.evaluate(STORE, stored)
        reload(again)
        assert again.locator("#verdicts output").inner_text().startswith(counts)
    again = open_page(render_undrawn(other))
    again.evaluate(STORE, stored)
    reload(again)
    first = audit.samples.set_index("id").loc[audit.evidence[0].id]
    assert again.locator(".marks select option:checked").text_content() == first["suggested"]


@pytest.mark.parametrize(
    "stored", ["null", "5", "{", "[]", '{"train/0000.png": {"verdict": "wrong", "label": "map"}}']
)
def test_what_the_browser_kept_cannot_break_the_page(stored: str, open_undrawn: OpenPage) -> None:
    page = open_undrawn()
    mark(page, 0, "unsure")
    page.evaluate(
        "stored => Object.keys(localStorage).forEach(key => localStorage.setItem(key, stored))", stored
    )
    reload(page)
    assert page.locator("#verdicts output").inner_text() == "0 wrong, 0 right, 0 unsure"


def test_a_browser_that_keeps_nothing_says_so(open_undrawn: OpenPage) -> None:
    page = open_undrawn()
    assert "stay in this browser" in page.inner_text("#storage")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    mark(page, 0, "unsure")
    assert "download them before you leave" in page.inner_text("#storage")


def test_paging_keeps_the_focus_for_the_keyboard(open_undrawn: OpenPage) -> None:
    page = open_undrawn(**MANY)
    while page.locator("#paging [name=on]").is_enabled():
        page.focus("#paging [name=on]")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "shown"


def test_without_scripts_the_most_suspicious_samples_are_there(open_page: OpenPage) -> None:
    page = open_page(render_undrawn(make_audit(**MANY)).replace("<script>", "<script type='no'>"))
    assert len(ids(page)) == 24
    assert not page.locator("#filters").is_visible()
    assert not page.locator("#verdicts").is_visible()


def test_five_thousand_suspects_stay_in_pages(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_listing, "MAX_PAGE_SUSPECTS", 900)
    audit = make_audit(samples=1200, suspects=1000, evidence=1, others=3, kind="none")
    page = open_page(render_undrawn(audit))
    wait_for(page, "1 to 24 of 909 samples")
    # what the page lists of a kind stands beside what the table of kinds counts
    assert "900 of 1,000 mislabeled" in page.inner_text("#shown")
    for kind in ("ambiguous", "rare", "duplicate"):
        own = int((audit.samples["kind"] == kind).sum())
        assert f"3 of {own} {kind}" in page.inner_text("#shown")
    assert "100 more suspects are in samples.csv" in page.inner_text("#suspects")
    page.check("#filters [value=table]")
    wait_for(page, "1 to 100 of 909 samples")
    assert page.locator("#paging span").inner_text() == "page 1 of 10"
