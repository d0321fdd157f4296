"""Labels that changed between two audits: only they tell whether more labels are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import make_audit
from support.differences import relabeled, with_order

from cohaudit.results import Audit, Estimate, Skipped
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import Difference
from cohaudit.review.diff.label_changes import MAX_CHANGED, compare_labels

SAMPLES = 120
BASE = make_audit(samples=SAMPLES, suspects=12, evidence=1)
FIRST = range(20)
LAST = range(SAMPLES - 20, SAMPLES)


def untold(audit: Audit) -> Audit:
    """Return the audit as if it could not be told which labels are wrong."""
    wrong = audit.labels.wrong
    assert not isinstance(wrong, Skipped)
    samples = audit.samples.assign(suspect=False)
    return replace(audit, wrong_labels=replace(wrong, told=False), samples=samples, evidence=())


def spoiled(base: Audit) -> Difference:
    """Return the difference where ten changed labels became the most suspicious ones."""
    return compare(with_order(base, LAST), with_order(relabeled(base, FIRST[:10]), FIRST))


@pytest.mark.parametrize("base", [BASE, untold(BASE)], ids=["told", "untold"])
def test_changed_labels_that_became_more_suspicious_are_a_regression(base: Audit) -> None:
    found = spoiled(base)
    assert found.wrong_labels.outcome == "higher"
    sentence = "More labels are wrong: of 10 changed labels, 10 are more suspicious than the label before."
    assert sentence in found.regressions
    assert found.headline == "worse"
    assert found.unlike == (
        f"Data: {BASE.subject.samples_total} samples; of those audited, {SAMPLES} in both (10 relabeled).",
    )


@pytest.mark.parametrize("base", [BASE, untold(BASE)], ids=["told", "untold"])
def test_the_other_way_round_they_are_an_improvement(base: Audit) -> None:
    found = compare(with_order(relabeled(base, FIRST[:10]), FIRST), with_order(base, LAST))
    assert (found.wrong_labels.outcome, found.regressions) == ("lower", ())
    assert found.headline == "better"
    assert found.improvements[0].endswith("10 are less suspicious than the label before.")


@settings(max_examples=20)
@given(st.permutations(range(SAMPLES)), st.permutations(range(SAMPLES)))
def test_of_the_same_labels_none_became_wrong(before: list[int], after: list[int]) -> None:
    """Whatever another training run makes of them."""
    base, head = with_order(BASE, before), with_order(BASE, after)
    # other suspects, too
    head = replace(head, samples=head.samples.assign(suspect=head.samples["rank"] <= 40, suspicion=0.9))
    found = compare(base, head)
    assert found.wrong_labels.outcome in {"alike", "unknown"}
    assert not any("wrong" in one or "suspects" in one for one in found.regressions)


def test_labels_that_changed_at_random_are_seldom_called_worse() -> None:
    rng = np.random.default_rng(0)
    trials = 300
    called = 0
    for _ in range(trials):
        head = with_order(relabeled(BASE, rng.choice(SAMPLES, 30, replace=False)), rng.permutation(SAMPLES))
        called += compare_labels(with_order(BASE, rng.permutation(SAMPLES)), head).more_wrong
    # 5% at most, and three standard errors
    assert called / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_classes_that_were_renamed_are_not_compared() -> None:
    head = with_order(relabeled(BASE, range(int(MAX_CHANGED * SAMPLES) + 1)), FIRST)
    found = compare_labels(with_order(BASE, LAST), head)
    assert not found.more_wrong
    assert not found.fewer_wrong
    assert not found.judged


def test_samples_are_matched_by_their_input_whatever_their_id() -> None:
    head = with_order(relabeled(BASE, FIRST[:10]), FIRST)
    renamed = replace(head, samples=head.samples.assign(id="other/" + head.samples["id"]))
    assert compare_labels(with_order(BASE, LAST), renamed) == compare_labels(with_order(BASE, LAST), head)


def test_copies_of_an_input_are_matched_by_their_ids() -> None:
    same = BASE.samples["content"].to_numpy(copy=True)
    same[:3] = same[0]
    base = with_order(replace(BASE, samples=BASE.samples.assign(content=same)), LAST)
    head = with_order(relabeled(base, [1]), [1])
    found = compare_labels(base, head)
    assert (found.compared, found.changed, found.worse, found.better) == (SAMPLES, 1, 1, 0)


def test_an_added_sample_is_said_to_be_one() -> None:
    base = replace(BASE, samples=BASE.samples.iloc[:-5])
    head = replace(BASE, subject=replace(BASE.subject, data_fingerprint="more"))
    found = compare_labels(base, head)
    assert (found.compared, found.added, found.changed, found.judged) == (SAMPLES - 5, 5, 0, False)


def with_share(audit: Audit, share: float) -> Audit:
    """Return the audit of other data with this share of wrong labels."""
    wrong = audit.labels.wrong
    assert not isinstance(wrong, Skipped)
    estimate = Estimate(share, share - 0.01, share + 0.01)
    subject = replace(audit.subject, data_fingerprint=str(share))
    return replace(audit, wrong_labels=replace(wrong, share=estimate, told=True), subject=subject)


def test_wrong_labels_can_come_with_added_samples_but_not_with_removed_ones() -> None:
    part = replace(BASE, samples=BASE.samples.iloc[:-5])
    few, many = 0.05, 0.1
    assert compare(with_share(part, few), with_share(BASE, many)).wrong_labels.outcome == "higher"
    assert compare(with_share(BASE, few), with_share(part, many)).wrong_labels.outcome == "alike"
    # the wrong ones were dropped
    assert compare(with_share(BASE, many), with_share(part, few)).wrong_labels.outcome == "lower"


def test_the_order_alone_is_no_difference() -> None:
    head = replace(
        BASE,
        samples=BASE.samples.iloc[::-1].reset_index(drop=True),
        subject=replace(BASE.subject, data_fingerprint="another order"),
    )
    found = compare(BASE, head)
    assert (found.unlike, found.regressions, found.headline) == ((), (), "no clear change")
