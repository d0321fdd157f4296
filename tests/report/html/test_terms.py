"""Each number once: on the page of a real audit a term has one value, the audit's, wherever it stands.

A term's numbers are collected in two ways. Where a number stands alone, the template marks it with
`data-term`. In sentences, every number within a few words of the term counts as stated for it, so that a new
sentence is collected without being known here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser

import pytest
from support.page import render_undrawn
from support.real_audits import REAL, real_audit

from cohaudit.report.words import count, percent, points
from cohaudit.results import Audit, Estimate, Holdout, Risk, Skipped
from cohaudit.results.kinds import is_memorized

BLOCKS = frozenset(
    (
        *("p", "li", "dd", "dt", "td", "th", "tr", "div", "section", "summary", "caption", "label", "option"),
        *("h1", "h2", "h3", "h4", "title", "desc"),
    )
)
UNSEEN = frozenset({"script", "style", "template"})
UNCOUNTED = {"definitions", "settings", "filters", "judging", "cards"}
"""Ids of what states no number of the whole: constants, settings, the fields of forms, and single samples."""
NUMBER = r"(?>(?<![\d±.,\w])(?:≤ )?\d[\d,]*(?:\.\d+)?%?)"
REACH = 5
"""Words between a term and a number that is stated for it, at most."""


class Texts(HTMLParser):
    """The texts of a page, block by block, and the numbers that are marked with their term."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self.marked: dict[str, list[str]] = defaultdict(list)
        self._open: list[tuple[str, str | None]] = []
        self._text = ""
        self.feed(html)
        self._end()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in BLOCKS:
            self._end()
        if "data-term" in found:
            self._open.append((tag, f"term:{found['data-term']}"))
        elif tag not in {"meta", "img", "br", "input", "link"}:
            self._open.append((tag, found.get("id")))

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._end()
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(tag in UNSEEN or name in UNCOUNTED for tag, name in self._open):
            return
        if self._open and (name := self._open[-1][1] or "").startswith("term:"):
            self.marked[name.removeprefix("term:")].append(data.strip())
        self._text += data

    def _end(self) -> None:
        if words := " ".join(self._text.split()):
            self.blocks.append(words)
        self._text = ""


@cache
def texts(name: str) -> Texts:
    return Texts(render_undrawn(real_audit(name)))


def stated(audit: Audit, blocks: list[str], term: str) -> Iterator[tuple[str, str]]:
    """Yield the numbers that sentences state for a term, each with its sentence."""
    names = "|".join(re.escape(layer.name) for layer in audit.layers)
    named = re.compile(rf"\u2068.*?\u2069|layers? (?:before )?(?:{names})(?!\w)")
    between = rf"(?:\W+[A-Za-z]+){{0,{REACH}}}?\W+"
    near = re.compile(rf"({NUMBER}){between}{term}|{term}{between}({NUMBER})", re.IGNORECASE)
    for block in blocks:
        for sentence in re.split(r"(?<=[.;:?]) ", named.sub("…", block)):
            for found in near.finditer(sentence):
                yield (found[1] or found[2]), sentence


def estimates(*found: Estimate) -> set[str]:
    """Return an estimate and its interval, as a share and in points."""
    ends = [end for one in found for end in (one.value, one.low, one.high)]
    return {write(end) for end in ends for write in (percent, points)}


def class_gaps(audit: Audit) -> list[tuple[float, float]]:
    """Return the training accuracy and the gap of each class."""
    found = [(one.accuracy, one.predicted_gap) for one in audit.classes]
    return [(accuracy, gap.value) for accuracy, gap in found if isinstance(gap, Estimate)]


def memorized(audit: Audit) -> set[str]:
    """Return the number of memorized samples, of those that look mislabeled, and their shares."""
    own = is_memorized(audit.samples["memorization"].to_numpy(dtype=float))
    wrong = int((own & audit.samples["suspect"].to_numpy(dtype=bool)).sum())
    numbers = {int(own.sum()), wrong, int(own.sum()) - wrong, len(own)}
    shares: set[str] = set()
    robust, history = audit.audits.robust, audit.audits.trajectory
    if not isinstance(robust, Skipped):
        shares |= {percent(one.memorized.value) for one in robust.steps}
        shares |= {f"{one.memorized.value:.0%}" for one in robust.steps}
    if not isinstance(history, Skipped):
        shares |= {percent(one.memorized) for one in history.points}
        # at the checkpoint where labels are judged, which the sentence names
        shares |= {count(history.sizes[-1])}
    return {*map(count, numbers), percent(float(own.mean()))} | shares


def suspects(audit: Audit) -> set[str]:
    """Return the number of suspects, their share and precision, and the same of each class."""
    total = int(audit.samples["suspect"].sum())
    precision = {percent(float(audit.suspects["suspicion"].mean()))} if total else set()
    classes = {count(one.suspects) for one in audit.classes}
    shares = {percent(one.suspects / one.samples) for one in audit.classes}
    return {count(total), percent(total / len(audit.samples))} | precision | classes | shares


def wrong_labels(audit: Audit) -> set[str]:
    """Return the share of wrong labels with its interval; where it cannot be told, only the bound."""
    wrong = audit.labels.wrong
    assert not isinstance(wrong, Skipped)
    if not wrong.told:
        return {percent(wrong.share.high), f"≤ {percent(wrong.share.high)}"}
    precision = audit.labels.expected_precision
    assert isinstance(precision, float)
    return estimates(wrong.share) | {percent(precision), count(round(wrong.share.value * len(audit.samples)))}


def expected(audit: Audit) -> set[str]:
    """Return the expected accuracy, also on labels as given and of each class."""
    assert isinstance(audit.risk, Risk)
    classes = {percent(min(max(accuracy - gap, 0.0), 1.0)) for accuracy, gap in class_gaps(audit)}
    return estimates(audit.risk.expected, audit.risk.expected_given) | classes


def gaps(audit: Audit) -> set[str]:
    """Return the gap, also as predicted and as measured, and that of each class."""
    risk = audit.risk
    assert isinstance(risk, Risk)
    found = [risk.gap, risk.predicted]
    if isinstance(risk.holdout, Holdout):
        found += [one for one in (risk.holdout.gap, risk.holdout.right_gap) if isinstance(one, Estimate)]
    return estimates(*found) | {points(gap) for _, gap in class_gaps(audit)}


def training_accuracy(audit: Audit) -> set[str]:
    """Return the training accuracy, of each class, of sub-networks and of earlier checkpoints too."""
    found = [audit.sanity.accuracy, *(one.accuracy for one in audit.classes)]
    width, history = audit.audits.width, audit.audits.trajectory
    if not isinstance(width, Skipped):
        found += [accuracy for one in width.sub_networks for accuracy in (one.accuracy, one.random)]
    if not isinstance(history, Skipped):
        found += [accuracy for one in history.points for accuracy in (one.accuracy, one.corrected)]
    # "8.3 points below the training accuracy"
    return set(map(percent, found)) | gaps(audit)


def of_kind(kind: str) -> Callable[[Audit], set[str]]:
    """Return a function from an audit to the number of its samples of one kind, and their share."""

    def numbers(audit: Audit) -> set[str]:
        own = int((audit.samples["kind"] == kind).sum())
        return {count(own), percent(own / len(audit.samples))}

    return numbers


def duplicates(audit: Audit) -> set[str]:
    """Return the number of near-duplicates, and of those of this kind."""
    return of_kind("duplicate")(audit) | {count(int((audit.samples["duplicate_of"] != "").sum()))}


TERMS: dict[str, Callable[[Audit], set[str]]] = {
    r"memorized": memorized,
    r"suspects?": suspects,
    r"(?:labels (?:are|may be) wrong|wrong labels)": wrong_labels,
    r"(?:expected (?:accuracy )?on new data|expected accuracy|accuracy expected)": expected,
    r"\bgap": gaps,
    r"training accuracy": training_accuracy,
    r"\bambiguous": of_kind("ambiguous"),
    r"\btypical": of_kind("typical"),
    r"\bduplicates?": duplicates,
}
"""Term, as a regular expression → the numbers that an audit has for it."""


@pytest.mark.parametrize("term", TERMS)
def test_sentences_state_the_numbers_of_the_audit(term: str) -> None:
    found = 0
    for name in REAL:
        audit = real_audit(name)
        known = TERMS[term](audit)
        for number, sentence in stated(audit, texts(name).blocks, term):
            assert number in known, sentence
            found += 1
    assert found, "no page states a number for it"


@pytest.mark.parametrize("name", REAL)
def test_a_number_that_stands_alone_is_that_of_the_audit(name: str) -> None:
    audit, marked = real_audit(name), texts(name).marked
    assert isinstance(audit.risk, Risk)
    wrong = audit.labels.wrong
    assert not isinstance(wrong, Skipped)
    share = percent(wrong.share.value) if wrong.told else f"≤ {percent(wrong.share.high)}"
    lowest = min(accuracy - gap for accuracy, gap in class_gaps(audit))
    assert marked["wrong labels"] == [share]
    assert marked["expected accuracy"] == [percent(audit.risk.expected.value)]
    assert marked["expected accuracy of the worst class"] == [percent(min(max(lowest, 0.0), 1.0))]
    total = int(audit.samples["suspect"].sum())
    # where it cannot be told which labels are wrong, no 0 says that none are
    assert marked["suspects"] == marked["mislabeled"] == [count(total) if audit.lists_suspects else "–"]
    assert sum(map(int, marked["suspects of a class"])) == total
    for kind in ("typical", "ambiguous", "rare", "duplicate"):
        assert marked[kind] == [count(int((audit.samples["kind"] == kind).sum()))]


def test_a_number_that_differs_is_found() -> None:
    """The collector itself: a second truth, stated anywhere, is seen."""
    audit = real_audit("tumors")
    blocks = [*texts("tumors").blocks, "Of all labels, 687 were memorized by it."]
    strange = [number for number, _ in stated(audit, blocks, "memorized") if number not in memorized(audit)]
    assert strange == ["687"]
