"""The difference of two audits: what is matched, what is clear, what is a regression, and what is shown."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import content, make_audit
from support.differences import BASE, with_gap, with_suspicions
from support.page import Page

from cohaudit.report import render_difference
from cohaudit.results import Audit, Estimate, Skipped
from cohaudit.results.suppression import Suppression
from cohaudit.review.diff.compare import compare
from cohaudit.review.diff.difference import Difference, EstimateChange, compare_estimates
from cohaudit.review.diff.suspects import ComparedSuspect, sign_test

MIRRORED = {"higher": "lower", "lower": "higher", "alike": "alike", "unknown": "unknown"}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hostile": {"hostile": True},
    "not auditable": {"auditable": False},
    "no suspects": {"suspects": 0},
    "suppressed": {"suppressed": 3},
    "holdout": {"holdout": True},
}


def renamed(audit: Audit) -> Audit:
    """Return the audit of the same samples under other ids."""
    table = audit.samples.assign(id="new/" + audit.samples["id"])
    return replace(audit, samples=table, evidence=tuple(replace(e, id=f"new/{e.id}") for e in audit.evidence))


def whole(audit: Audit) -> Audit:
    """Return the audit as one of all samples of its data."""
    return replace(audit, subject=replace(audit.subject, samples_total=audit.subject.samples))


def suspects(difference: Difference) -> Any:
    assert difference.suspects is not None
    return difference.suspects


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_an_audit_does_not_differ_from_itself(variant: dict[str, Any]) -> None:
    audit = make_audit(**variant)
    found = compare(audit, audit)
    assert found.headline in {"no clear change", "nothing to compare"}
    assert found.regressions == found.unlike == ()
    changes = [found.gap, *(one.coherence for one in found.layers), *(one.gap for one in found.classes)]
    assert {one.outcome for one in changes} <= {"alike", "unknown"}
    assert not any(one.only_in for one in (*found.layers, *found.classes))
    if found.suspects is not None:
        assert (found.suspects.new, found.suspects.fixed) == ((), ())
        assert len(found.suspects.still) == len(audit.evidence)


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 20), st.integers(0, 20))
def test_swapping_the_two_swaps_what_is_new_and_fixed(a: int, b: int, before: int, after: int) -> None:
    base = make_audit(samples=60, suspects=before, seed=a, evidence=1, kind="none")
    head = make_audit(samples=60, suspects=after, seed=b, evidence=1, kind="none", layers=4)
    there, back = compare(base, head), compare(head, base)
    found, mirrored = suspects(there), suspects(back)
    assert (found.new, found.fixed) == (mirrored.fixed, mirrored.new)
    assert {(one.base, one.head) for one in found.still} == {(one.head, one.base) for one in mirrored.still}
    assert len(found.new) + len(found.still) == after
    assert len(found.fixed) + len(found.still) == before
    assert not (found.more and found.fewer)
    assert MIRRORED[there.gap.outcome] == back.gap.outcome
    for mine, other in ((there.layers, back.layers), (there.classes, back.classes)):
        outcomes = {one.name: MIRRORED[one.coherence.outcome] for one in mine}
        assert outcomes == {one.name: one.coherence.outcome for one in other}


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_a_change_is_clear_where_the_intervals_do_not_overlap(values: list[float]) -> None:
    low, value, high = sorted(values[:3])
    base = Estimate(value, low, high)
    low, value, high = sorted(values[3:])
    head = Estimate(value, low, high)
    clear = max(base.low, head.low) > min(base.high, head.high)
    assert (compare_estimates(base, head).outcome != "alike") == clear
    if clear:
        assert (compare_estimates(base, head).outcome == "higher") == (head.value > base.value)


def test_what_one_audit_lacks_is_unknown() -> None:
    one = Estimate(0.1, 0.0, 0.2)
    assert compare_estimates(None, one) == EstimateChange(None, one, "unknown")
    assert compare_estimates(one, None).outcome == "unknown"


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_test_is_the_exact_one(new: int, fixed: int) -> None:
    n = new + fixed
    exact = sum(math.comb(n, k) for k in range(new, n + 1)) / 2**n
    assert sign_test(new, fixed) == pytest.approx(exact, rel=1e-9)


def test_the_sign_test_takes_many_suspects() -> None:
    assert sign_test(50_000, 50_000) == pytest.approx(0.5, abs=0.01)
    assert sign_test(51_000, 49_000) < 1e-6


def test_suspects_are_matched_by_content_whatever_their_ids() -> None:
    found = suspects(compare(BASE, renamed(BASE)))
    assert (found.new, found.fixed, found.unhashed) == ((), (), 0)
    assert {(one.base.id, one.head.id) for one in found.still} == {
        (evidence.id, f"new/{evidence.id}") for evidence in BASE.evidence
    }


def test_what_has_no_hash_is_matched_by_id_and_counted() -> None:
    bare = replace(BASE, evidence=tuple(replace(one, content="") for one in BASE.evidence))
    found = suspects(compare(BASE, bare))
    assert (found.new, found.fixed, len(found.still), found.unhashed) == ((), (), 12, 12)
    assert len(suspects(compare(BASE, renamed(bare))).new) == 12


def test_a_sample_that_occurs_twice_is_matched_once_each() -> None:
    twice = with_suspicions({3: 0.9, 7: 0.8})
    twice = replace(twice, evidence=tuple(replace(one, content=content("same")) for one in twice.evidence))
    once = with_suspicions({7: 0.9})
    once = replace(once, evidence=(replace(once.evidence[0], content=content("same")),))
    found = suspects(compare(twice, once))
    assert [(one.base.id, one.head.id) for one in found.still] == [(BASE.samples["id"][7],) * 2]
    assert [one.id for one in found.fixed] == [BASE.samples["id"][3]]


def test_it_is_said_what_a_suspect_of_one_audit_is_in_the_other() -> None:
    head = with_suspicions({1: 0.9, 2: 0.9, 3: 0.9, 4: 0.9})
    ids, labels = head.samples["id"], head.samples["label"]
    base = with_suspicions({})
    table = base.samples.assign(label=labels.where(ids != ids[2], "another"))
    reviewed = Suppression(content(ids[3]), labels[3], "Ada", "it is right", ids[3])
    base = replace(base, samples=table[ids != ids[4]], suppressed=(reviewed,))
    found = {one.id: one.elsewhere for one in suspects(compare(whole(base), head)).new}
    assert found == {
        ids[1]: "not a suspect",
        ids[2]: "relabeled",
        ids[3]: "suppressed",
        ids[4]: "added",
    }
    # of a part of the data
    assert {one.id: one.elsewhere for one in suspects(compare(base, head)).new} == {
        **found,
        ids[4]: "not audited",
    }
    assert {one.id: one.elsewhere for one in suspects(compare(head, whole(base))).fixed} == {
        **found,
        ids[4]: "removed",
    }


def test_relabeled_renamed_removed_and_added_samples_are_told_apart() -> None:
    base = with_suspicions({5: 0.9})
    table = base.samples
    rows = table.assign(label=table["label"].where(table.index % 4 != 1, "another"))
    rows = rows.assign(id=[f"moved/{one}" if k % 3 == 0 else one for k, one in enumerate(rows["id"])])
    # without the first ten, in another order, and five that are new
    rows = rows.iloc[10:].sample(frac=1, random_state=0)
    new = table.head(5).assign(id=list("abcde"), content=[f"{k:016x}" for k in range(5)])
    head = replace(base, samples=pd.concat([rows, new], ignore_index=True), evidence=())
    found = compare(base, head).samples
    kept = range(10, len(table))
    assert (found.both, found.dropped, found.added) == (len(kept), 10, 5)
    assert found.relabeled == sum(k % 4 == 1 for k in kept)
    assert found.renamed == sum(k % 3 == 0 and k % 4 != 1 for k in kept)


def test_row_numbers_that_moved_name_no_other_sample() -> None:
    """Whoever drops the suspects has the next rows under their ids."""
    base = with_suspicions({3: 0.9, 7: 0.8})
    base = replace(base, samples=base.samples.assign(id=[str(k) for k in range(len(base.samples))]))
    base = replace(
        base, evidence=tuple(replace(one, id=str(k)) for one, k in zip(base.evidence, (3, 7), strict=True))
    )
    rows = base.samples[~base.samples["suspect"]]
    rows = rows.assign(id=[str(k) for k in range(len(rows))])
    head = replace(base, samples=rows.reset_index(drop=True), evidence=())
    head = replace(head, subject=replace(head.subject, data_fingerprint="other"))
    found = compare(base, whole(head))
    assert {one.elsewhere for one in suspects(found).fixed} == {"removed"}
    assert any(one.endswith(", 2 dropped.") for one in found.unlike)


def test_an_image_that_was_corrected_is_relabeled_though_its_id_has_changed() -> None:
    """The id is the path, which contains the folder of the class."""
    base = with_suspicions({1: 0.9, 2: 0.9})
    head = with_suspicions({})
    ids = head.samples["id"]
    table = head.samples.assign(id=ids.map(lambda i: f"other/{i}"))
    table.loc[ids == ids[1], "label"] = "another"
    found = {one.id: one.elsewhere for one in suspects(compare(base, replace(head, samples=table))).fixed}
    assert found == {ids[1]: "relabeled", ids[2]: "not a suspect"}


def test_levels_are_those_of_the_heads_thresholds() -> None:
    strict = replace(with_gap(0.15), settings={**BASE.settings, "risk_levels": (0.01, 0.02, 0.03)})
    found = compare(with_gap(0.15), strict)
    assert (found.base.level, found.head.level, found.regressions) == ("severe", "severe", ())
    assert found.unlike == ("Settings: risk_levels.",)


def test_more_clear_suspects_are_a_regression() -> None:
    few, many = with_suspicions({0: 0.9}), with_suspicions(dict.fromkeys(range(6), 0.75))
    # the others were added
    few = replace(few, samples=few.samples.drop(index=range(1, 50)))
    found = compare(few, many)
    assert found.regressions == (
        "5 new and 0 fixed suspects with a suspicion of at least 0.75: "
        "chance alone would give that many new ones with a probability of 0.0312.",
    )
    assert compare(many, few).headline == "fewer suspects"
    assert "Fewer suspects" in Page(render_difference(compare(many, few))).words
    assert not compare(few, with_suspicions(dict.fromkeys(range(50), 0.74))).regressions
    assert not compare(few, with_suspicions(dict.fromkeys(range(5), 0.9))).regressions
    # the same labels: another training run finds more of the wrong ones
    assert not compare(with_suspicions({0: 0.9}), many).regressions


def test_more_fixed_than_new_is_no_regression() -> None:
    base, head = (dict.fromkeys(rows, 0.9) for rows in (range(40), range(30, 60)))
    assert not compare(with_suspicions(base), with_suspicions(head)).regressions


def test_what_the_head_did_not_measure_is_a_regression() -> None:
    nothing = make_audit(auditable=False)
    found = compare(BASE, nothing)
    assert [one.split(":")[0] for one in found.regressions] == [
        "The head has no verdict",
        "The head judged no labels.",
    ]
    assert (found.suspects, found.gap.outcome, found.width) == (None, "unknown", None)
    assert compare(nothing, BASE).headline == "nothing to compare"


def test_it_is_said_what_else_is_not_the_same() -> None:
    other = replace(
        BASE,
        version="9",
        subject=replace(BASE.subject, data_fingerprint="other", samples_total=7, earlier={}),
        settings={**BASE.settings, "seed": 1, "batch_size": 7, "temperature": 2.0},
    )
    assert compare(BASE, other).unlike == (
        "Data: 240 samples in the base, 7 in the head; of those audited, 120 in both.",
        "Settings: seed, temperature.",
        "Earlier checkpoints used: 1 in the base, 0 in the head.",
        "Version of cohaudit: 0.1.0 in the base, 9 in the head.",
    )
    held = replace(BASE, risk=make_audit(holdout=True).risk)
    assert compare(BASE, held).unlike == ("Holdout: only the head has one.",)


def test_layers_and_classes_are_matched_by_name() -> None:
    first, *rest = BASE.layers
    head = replace(BASE, layers=(replace(first, name="stem"), *reversed(rest)), classes=BASE.classes[1:])
    found = compare(BASE, head)
    assert [(one.name, one.only_in) for one in found.layers] == [
        ("stem", "head"),
        *((layer.name, "") for layer in reversed(rest)),
        (first.name, "base"),
    ]
    assert {one.coherence.outcome for one in found.layers} == {"alike", "unknown"}
    assert (found.classes[-1].name, found.classes[-1].only_in) == (BASE.classes[0].name, "base")
    assert (found.classes[-1].head_suspects, found.classes[-1].gap.outcome) == (None, "unknown")


def test_two_widths_stand_side_by_side() -> None:
    width = BASE.audits.width
    assert not isinstance(width, Skipped)
    wide = replace(width.layers[0], energy=(0.1,) * 10, participation=1.0, kept=tuple(range(9)))
    head = replace(BASE, audits=replace(BASE.audits, width=replace(width, layers=(wide,), units=10)))
    found = compare(BASE, head).width
    assert found is not None
    assert (found.base.units, found.base.kept, found.base.participation) == (40, 25, 0.5)
    assert (found.head.units, found.head.kept, found.head.participation) == (10, 9, 1.0)
    assert (found.head.alone, found.head.random) == (0.875, 0.5)
    assert [one.name for one in found.layers if one.head is None] == [one.name for one in width.layers[1:]]
    bare = replace(width, layers=(), sub_networks=())
    skipped = replace(BASE, audits=replace(BASE.audits, width=bare))
    narrow = compare(BASE, skipped).width
    assert narrow is not None
    assert (narrow.head.kept, narrow.head.participation, narrow.head.alone) == (0, 0.0, None)


def test_suspects_come_most_suspicious_first() -> None:
    found = suspects(compare(with_suspicions({}), make_audit(samples=120, suspects=12)))
    values = [one.suspicion for one in found.new]
    assert values == sorted(values, reverse=True)
    assert isinstance(found.new[0], ComparedSuspect)


def test_a_lower_threshold_alone_makes_no_more_clear_suspects() -> None:
    rows = dict.fromkeys(range(30), 0.4)
    lower = with_suspicions(rows)
    table = lower.samples.assign(suspect=lower.samples["suspicion"] >= 0.3)
    lower = replace(lower, samples=table, settings={**BASE.settings, "suspicion_threshold": 0.3})
    found = compare(with_suspicions(rows), lower)
    assert (len(suspects(found).new), suspects(found).clear_from, found.regressions) == (30, 0.75, ())
