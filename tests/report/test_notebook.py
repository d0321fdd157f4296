"""What a notebook shows of an audit: a card, one sample, a plot, and one line for every result."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from support.audits import HOSTILE, make_audit

import cohaudit
from cohaudit import results
from cohaudit.errors import ReportError
from cohaudit.results.short_repr import MAX_LINE
from cohaudit.review.verdicts import generalization_verdict, label_verdict

AUDIT = make_audit(suspects=12, suppressed=2)


class Page(HTMLParser):
    """The text and the tags of a piece of HTML."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.words = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_card_has_both_verdicts_the_notices_and_the_first_suspects() -> None:
    page = Page(AUDIT._repr_html_())
    for verdict in (label_verdict(AUDIT), generalization_verdict(AUDIT)):
        assert verdict.headline in page.words
        assert verdict.sentence in page.words
    assert all(notice in page.words for notice in AUDIT.notices)
    ids = AUDIT.suspects["id"].tolist()
    assert [name in page.words for name in ids] == [True] * 6 + [False] * 6
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 6
    assert all(source and source.startswith("data:image/") for source in pictures)


@pytest.mark.parametrize(
    "audit", [make_audit(auditable=False), make_audit(hostile=True)], ids=["none", "hostile"]
)
def test_a_card_of_any_audit_is_inert(audit: cohaudit.Audit) -> None:
    shown: list[Any] = [audit, *(audit.show(name) for name in audit.samples["id"][:5])]
    for one in shown:
        page = Page(one._repr_html_())
        assert {tag for tag, _ in page.tags} <= {"div", "span", "b", "br", "img"}
        names = {name for _, attributes in page.tags for name in attributes}
        assert names <= {"style", "src", "alt"}
        assert not any(character in page.words for character in HOSTILE[2] if character in "\u202e\x00\x07")


def test_no_verdict_is_no_risk_of_none() -> None:
    nothing = make_audit(auditable=False)
    assert "no verdict" in repr(nothing)
    assert "no verdict" in Page(nothing._repr_html_()).words
    assert "none" not in repr(nothing)
    assert "12 suspects" in repr(AUDIT)


def test_a_card_says_where_the_report_lies(tmp_path: Path) -> None:
    audit = make_audit(samples=12, suspects=1, classes=2, layers=1)
    assert "write_report" in audit._repr_html_()
    page = cohaudit.write_report(audit, tmp_path)[0]
    for one in (audit, cohaudit.read_audit(tmp_path / "audit.json")):
        assert one.report_page == page
        assert page.name in Page(one._repr_html_()).words
    # of what was changed since, there is no page
    assert dataclasses.replace(audit, notices=()).report_page is None


def test_one_sample_is_shown_with_its_evidence() -> None:
    row = AUDIT.suspects.iloc[0]
    shown = AUDIT.show(row["id"])
    words = repr(shown)
    for part in (row["id"], row["label"], row["suggested"], "suspect"):
        assert part in words
        assert part in Page(shown._repr_html_()).words
    evidence = AUDIT.evidence[0]
    assert all(
        one.id in Page(shown._repr_html_()).words for one in (*evidence.supporters, *evidence.opponents)
    )
    # a sample without evidence too; an id may be a number
    assert AUDIT.samples["id"].iloc[100] in repr(AUDIT.show(AUDIT.samples["id"].iloc[100]))
    with pytest.raises(ReportError, match=r"sample '7': is not in the audit"):
        AUDIT.show(7)


@pytest.mark.parametrize("audit", [AUDIT, make_audit(auditable=False), make_audit(told=False)])
def test_a_plot_is_a_figure_that_a_notebook_shows(audit: cohaudit.Audit) -> None:
    figure = audit.plot()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert [axes.get_title() for axes in figure.axes] == ["Samples by suspicion", "Accuracy"]


def test_every_result_has_a_short_line() -> None:
    seen: set[type] = set()

    def visit(value: object) -> None:
        if isinstance(value, tuple):
            for item in value:
                visit(item)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            seen.add(type(value))
            assert len(repr(value)) <= 2 * MAX_LINE, repr(value)
            assert "\n" not in repr(value)
            for field in dataclasses.fields(value):
                visit(getattr(value, field.name))

    visit(AUDIT)
    difference = cohaudit.diff(AUDIT, AUDIT)
    parts = [difference, *(one for one in vars(difference).values() if dataclasses.is_dataclass(one))]
    assert max(len(repr(one)) for one in parts) <= 2 * MAX_LINE
    assert {results.Risk, results.WrongLabels, results.Layer, results.AuditResults} <= seen
    assert repr(results.Estimate(0.0625, 0.05, 0.1)) == "Estimate(0.0625, 0.0500 to 0.100)"
