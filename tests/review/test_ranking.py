"""Which of two fitted networks of the same data is said to be better, and where nothing is said."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit.report import render_difference, render_difference_markdown
from cohaudit.results import Audit, Estimate, Flatness, Skipped
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.ranking import TOLD, probability_of, rank

PLAIN = make_audit()


def fitted(unchanged: float | None, accuracy: float = 0.99) -> Audit:
    """Return the audit of a network that fits its labels, with a flatness, or with none."""
    found = PLAIN.audits.flatness
    assert isinstance(found, Flatness)
    flat: Flatness | Skipped = Skipped("flatness", "not selected")
    if unchanged is not None:
        flat = replace(found, unchanged=Estimate(unchanged, unchanged, unchanged))
    return replace(
        PLAIN,
        audits=replace(PLAIN.audits, flatness=flat),
        sanity=replace(PLAIN.sanity, accuracy=accuracy),
    )


def test_the_flatter_network_is_probably_better() -> None:
    found = rank(fitted(0.3), fitted(0.9))
    assert found is not None
    assert found.better == "head"
    # .9 and .3, one more each way: 0.8 (logit .9 - logit .3) = 2.44, whose logistic is .92
    assert found.head_better == pytest.approx(0.92, abs=0.005)
    assert "90.0% of its answers stay, 30.0% of the base's" in found.reason
    other = rank(fitted(0.9), fitted(0.3))
    assert other is not None
    assert other.better == "base"


def test_small_differences_cannot_be_told() -> None:
    found = rank(fitted(0.7), fitted(0.71))
    assert found is not None
    assert found.better == ""
    assert "cannot be told" in found.reason


@given(st.floats(-20, 20))
def test_exchanging_the_two_exchanges_the_probability(rise: float) -> None:
    assert probability_of(rise) == pytest.approx(1 - probability_of(-rise))
    assert (probability_of(rise) >= TOLD) == (probability_of(-rise) <= 1 - TOLD + 1e-15)


def test_without_flatness_the_reader_learns_what_would_tell() -> None:
    found = rank(fitted(None), fitted(0.5))
    assert found is not None
    assert (found.better, found.head_better) == ("", None)
    assert "--audits flatness" in found.reason


@pytest.mark.parametrize("case", ["other data", "fewer samples", "not fitted", "not auditable"])
def test_nothing_is_ranked_but_fitted_networks_of_the_same_data(case: str) -> None:
    base = fitted(0.2)
    head = fitted(0.9)
    if case == "other data":
        head = replace(head, subject=replace(head.subject, data_fingerprint="other"))
    elif case == "fewer samples":
        head = replace(head, subject=replace(head.subject, samples=head.subject.samples - 1))
    elif case == "not fitted":
        head = fitted(0.9, accuracy=0.9)
    else:
        head = replace(head, sanity=replace(head.sanity, auditable=False, reason="at chance"))
    assert rank(base, head) is None


def test_every_view_of_the_difference_says_it() -> None:
    difference = compare(fitted(0.3), fitted(0.9))
    assert difference.ranking is not None
    words = "The head is probably better on new data"
    assert words in render_difference(difference)
    assert words in render_difference_markdown(difference)
    assert json.loads(json.dumps(asdict(difference)))["ranking"]["better"] == "head"
