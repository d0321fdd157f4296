"""The Markdown of an audit and of a difference, as GitHub renders it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import HOSTILE, gate, make_audit
from support.differences import with_gap
from support.rendering import rendered

from cohaudit.report import render_difference_markdown
from cohaudit.report.formats.markdown import MAX_LENGTH, code, render_markdown, sentence, size
from cohaudit.results import Driver, GateResult, Risk, Skipped
from cohaudit.review.diff.compare import compare

TAGS = {"h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li", "br"}
TAGS |= {"details", "summary", "span"}
NASTY = (
    *HOSTILE,
    "a|b",
    "a\\|b",
    "`",
    "``a`",
    "a`|`b",
    "x\r\n\r\n# heading\n| a | b |\n",
    "@octocat and @org/team",
    "fixes #1, org/repo#2, GH-3",
    "[click](https://evil.example) ![i](x.png)",
    "https://evil.example www.evil.example a@evil.example",
    "<!-- --> <b>bold</b> &lt;",
    "**bold** _it_ ~~gone~~ $x$ $`y`$",
    "</details><summary>",
    "1. one",
    "- two",
    "+",
    "===",
    "    four spaces",
    "\ud800 broken",
)
MENTION = re.compile(r"@\w|#\d|\bgh-\d", re.IGNORECASE)
"""What GitHub looks for in the texts of a page once it is rendered: people to tell, and issues to link."""
ANY = st.text(st.sampled_from("ab1 `|\\@#[](){}<>!*_~$&:/.-+=\n\r\t\"'ß猫\u202e"), max_size=40)


def check_harmless(markdown: str, cells: int | None = None) -> None:
    page = rendered(markdown)
    assert page.tags <= TAGS
    assert not [text for text in page.plain if MENTION.search(text)]
    if cells is not None:
        assert {len(row) for row in page.rows} == {cells}


def test_the_verdict_comes_first_and_the_gates_with_their_reasons() -> None:
    gates = (gate(failed=False), GateResult("suspects>1%", "5%", False, "12 of 240", True), gate(failed=True))
    page = rendered(render_markdown(make_audit(gates=gates)))
    assert page.text.startswith("cohaudit: high risk: about 6.2% of the labels are wrong")
    assert "Labels: high. About 6.2% of the labels are wrong. Between 4.7% and 9.4%." in page.text
    assert "Generalization: high. 84.4% accuracy expected on new data. 80% interval: 81.2% to" in page.text
    assert page.rows[:4] == [
        ["Gate", "Outcome", "Measured"],
        ["risk>=high", "❌ failed", "the risk is high, at or above high"],
        ["suspects>1%", "⚠️ warned", "12 of 240"],
        ["risk>=severe", "✅ passed", "the risk is high, below severe"],
    ]
    assert "Class 3: 75% expected on new data." in page.text
    assert "Collect more of it." in page.text
    assert "Measured on 240 of 480 samples." in page.text


def test_suspects_are_listed_most_suspicious_first_with_their_place() -> None:
    audit = make_audit(kind="row", suspects=30)
    rows = [row for row in rendered(render_markdown(audit)).rows if len(row) == 5 and row[0] != "Sample"]
    assert [row[0] for row in rows] == [one.id for one in audit.evidence]
    assert rows[0][4] == "data/train.csv line 2"
    assert all("line" not in row for row in rendered(render_markdown(make_audit())).rows)


def test_a_holdout_is_told_beside_the_prediction() -> None:
    page = rendered(render_markdown(make_audit(holdout=True)))
    assert "That is 17.2 points below the training accuracy" in page.text
    assert "Measured on 500 holdout samples: " in page.text


def test_without_a_verdict_the_reason_is_told() -> None:
    page = rendered(render_markdown(make_audit(auditable=False, suspects=0)))
    assert page.text.startswith("cohaudit: not auditable")
    assert "check the weights and the order of the classes" in page.text
    audit = replace(make_audit(suspects=0), risk=Skipped("risk", "there are no other samples"))
    text = rendered(render_markdown(audit)).text
    assert "Generalization: none. Score on new data not estimated. There are no other samples" in text


def test_where_wrong_labels_cannot_be_told_no_suspect_is_counted() -> None:
    text = rendered(render_markdown(make_audit())).text
    assert "12 suspects are listed" in text
    unclear = rendered(render_markdown(make_audit(told=False))).text
    assert "Labels: unclear. Up to 12.5% of the labels may be wrong." in unclear
    assert "suspect" not in unclear
    without_risk = replace(make_audit(told=False), risk=Skipped("risk", "there are no other samples"))
    assert "Up to 12.5% of the labels may be wrong" in rendered(render_markdown(without_risk)).text
    assert "Wrong labels" not in rendered(render_markdown(make_audit(auditable=False))).text


def test_hostile_names_stay_text() -> None:
    check_harmless(render_markdown(make_audit(hostile=True, suspects=40, gates=(gate(failed=True),))))


@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_a_table_is_one_cell_of_code(name: str) -> None:
    markdown = f"| a | b |\n|---|---|\n| {code(name)} | {code(name, 9)} |\n"
    check_harmless(markdown, 2)
    page = rendered(markdown)
    assert len(page.rows) == 2
    if name.isascii() and name.isprintable() and len(name) < 60:
        assert page.rows[1][0].strip() == name.strip()


@pytest.mark.parametrize("name", NASTY)
def test_a_sentence_is_nothing_but_text(name: str) -> None:
    markdown = f"- {sentence(name)}\n\n| a | b |\n|---|---|\n| {sentence(name)} | {sentence(name, 9)} |\n"
    check_harmless(markdown, 2)
    if name.isascii() and name.isprintable() and len(name) < 60:
        shown = rendered(markdown).rows[1][0].replace("\u200b", "")
        assert shown.strip() == name.strip()


@settings(max_examples=300)
@given(ANY)
def test_whatever_a_name_is(name: str) -> None:
    cells = f"| {code(name)} | {sentence(name) or '–'} | c |"
    check_harmless(f"| a | b | c |\n|---|---|---|\n{cells}\n{cells}\n", 3)
    page = rendered(f"- {sentence(name)}\n- {code(name)}\n")
    assert page.tags <= {"ul", "li", "code", "span"}


@pytest.mark.parametrize("name", ["$" * 500, "🦊" * 500, "`|" * 250])
def test_it_always_fits_into_a_comment(name: str) -> None:
    many = 1500
    gates = tuple(GateResult(f"{name}{k}", name, True, name) for k in range(300))
    audit = make_audit(samples=many, suspects=1, classes=2, gates=gates)
    assert isinstance(audit.risk, Risk)
    ids = [f"{name}{k}" for k in range(many)]
    (one,) = audit.evidence
    audit = replace(
        audit,
        samples=audit.samples.assign(id=ids, label=name, suggested=f"{name}x", suspicion=0.9, suspect=True),
        evidence=tuple(replace(one, id=known, place=name) for known in ids),
        notices=(name,) * 300,
        subject=replace(audit.subject, checkpoint=name, data=name),
        risk=replace(audit.risk, drivers=(Driver("samples", name, 0.5, name, name, 0.5),) * 300),
    )
    markdown = render_markdown(audit)
    assert MAX_LENGTH * 0.8 < size(markdown) <= MAX_LENGTH
    rows = [row for row in rendered(markdown).rows if len(row) == 5 and row[0] != "Sample"]
    left_out = re.search(r"([\d,]+) more suspects did not fit", markdown)
    assert left_out
    assert int(left_out[1].replace(",", "")) == many - len(rows) > 0
    assert re.search("^2\\d\\d more in the report", markdown, re.MULTILINE)  # gates, drivers and notices
    difference = render_difference_markdown(compare(make_audit(), audit))
    assert size(difference) <= MAX_LENGTH


def test_a_difference_says_what_is_worse_and_which_suspects_are_new() -> None:
    base = with_gap(0.1, audit=make_audit(suspects=0))
    head = with_gap(0.3, audit=make_audit(suspects=30))
    page = rendered(render_difference_markdown(compare(base, head)))
    assert page.text.startswith("cohaudit: worse than the base")
    assert "What is worse" in page.text
    new = [row[0] for row in page.rows if row[-1] == "not a suspect"]
    assert sorted(new) == sorted(one.id for one in head.evidence)
    assert ["Risk of overfitting", "high", "severe", ""] in page.rows


def test_hostile_names_in_a_difference_stay_text() -> None:
    base, head = make_audit(hostile=True, suspects=4), make_audit(hostile=True, suspects=40, layers=7)
    check_harmless(render_difference_markdown(compare(base, head)))
    nothing = make_audit(hostile=True, auditable=False)
    check_harmless(render_difference_markdown(compare(base, nothing)))
