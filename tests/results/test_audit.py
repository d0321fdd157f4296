"""The audit as a value: its verdicts, its list of suspects, equality and hash, whatever was measured."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit.results import SAMPLE_COLUMNS, Audit, Preview, Risk, Skipped
from cohaudit.results.sample_table import order_by_suspicion

AUDIT = make_audit(samples=60, suspects=12, suppressed=2)


def not_measured() -> Audit:
    """Return an audit of a model without a representation of the samples."""
    blank = AUDIT.samples.assign(suspicion=np.nan, rank=0, suspect=False, loo_margin=np.nan)
    reason = "no layer sees numbers"
    return replace(
        AUDIT,
        samples=blank,
        evidence=(),
        risk=Skipped("risk", reason),
        wrong_labels=Skipped("wrong labels", reason),
        skipped=(Skipped("suspicion", reason),),
    )


UNJUDGED = {
    "not auditable": make_audit(auditable=False),
    "no representation": not_measured(),
    "without a reason": replace(not_measured(), skipped=()),
    "neither": replace(make_audit(auditable=False), samples=not_measured().samples, evidence=()),
}


# the verdicts


def test_the_suspects_are_the_list() -> None:
    suspects = AUDIT.suspects
    assert tuple(suspects.columns) == SAMPLE_COLUMNS
    assert list(suspects["id"]) == [evidence.id for evidence in AUDIT.evidence]
    assert suspects["suspicion"].is_monotonic_decreasing
    pd.testing.assert_frame_equal(suspects.sort_index(), AUDIT.samples[AUDIT.samples["suspect"]])


def test_the_verdict_on_the_labels() -> None:
    labels = AUDIT.labels
    assert (labels.samples, labels.suspects, labels.suppressed) == (60, 12, 2)
    assert labels.expected_precision == pytest.approx(AUDIT.suspects["suspicion"].mean())
    clean = make_audit(suspects=0).labels
    assert (clean.suspects, type(clean.expected_precision)) == (0, Skipped)
    assert labels.wrong == AUDIT.wrong_labels
    assert "wrong labels: about 6.2% (4.7% to 9.4%)" in str(AUDIT)
    assert "suspects: 12 " in str(AUDIT)
    with pytest.raises(FrozenInstanceError):
        labels.samples = 1  # type: ignore[misc]


def test_no_suspects_do_not_read_as_correct_labels_where_it_cannot_be_told() -> None:
    unclear = make_audit(told=False)
    assert not unclear.lists_suspects
    assert "wrong labels: at most 12.5%; which ones cannot be told here" in str(unclear)
    assert "suspects:" not in str(unclear)
    clean = make_audit(suspects=0)
    assert clean.lists_suspects
    assert "suspects: 0 " in str(clean)


def test_the_verdict_on_new_data_is_the_risk() -> None:
    assert isinstance(AUDIT.generalization, Risk)
    assert AUDIT.generalization == AUDIT.risk


@pytest.mark.parametrize("audit", UNJUDGED.values(), ids=UNJUDGED.keys())
def test_what_was_not_judged_says_why(audit: Audit) -> None:
    assert audit.suspects.empty
    assert tuple(audit.suspects.columns) == SAMPLE_COLUMNS
    labels = audit.labels
    assert labels.samples == len(audit.samples)
    assert isinstance(labels.suspects, Skipped)
    assert isinstance(labels.expected_precision, Skipped)
    assert isinstance(labels.wrong, Skipped)
    assert not audit.lists_suspects
    assert "wrong labels" not in str(audit)
    assert labels.suspects.reason == labels.expected_precision.reason == audit.labels_not_judged != ""
    assert isinstance(audit.generalization, Skipped)
    assert "suspects:" not in str(audit)


def test_no_samples_at_all() -> None:
    empty = replace(AUDIT, samples=AUDIT.samples.iloc[:0], evidence=())
    assert empty.suspects.empty
    assert empty.labels.samples == 0


# the one order


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9, np.nan]), st.integers(0, 3)), max_size=20))
def test_suspicion_comes_first_then_the_tie_breakers(rows: list[tuple[float, int]]) -> None:
    suspicion = np.array([row[0] for row in rows], dtype=float)
    ties = np.array([row[1] for row in rows], dtype=float)
    order = order_by_suspicion(suspicion, ties).tolist()
    # Python's own sort of tuples, with NaN after every number
    keys = [(np.isnan(s), -s if s == s else 0.0, t, i) for i, (s, t) in enumerate(rows)]
    assert order == [key[-1] for key in sorted(keys)]


def test_the_rank_decides_among_equal_suspicions() -> None:
    flat = AUDIT.samples.assign(suspicion=np.where(AUDIT.samples["suspect"], 0.9, 0.1))
    assert list(replace(AUDIT, samples=flat).suspects["id"]) == list(AUDIT.suspects["id"])
    backwards = replace(AUDIT, samples=flat.assign(rank=len(flat) + 1 - flat["rank"]))
    assert list(backwards.suspects["id"]) == list(AUDIT.suspects["id"])[::-1]
    assert backwards.ranked_samples()["rank"].tolist() == list(range(1, len(flat) + 1))


# equality and hash


VARIANTS: dict[str, dict[str, Any]] = {
    "images": {},
    "rows": {"kind": "row", "classes": 2},
    "not auditable": {"auditable": False},
    "holdout": {"holdout": True, "suppressed": 2},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_equal_audits_have_equal_hashes(variant: dict[str, Any]) -> None:
    one, other = make_audit(samples=40, **variant), make_audit(samples=40, **variant)
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    "changed",
    [
        replace(AUDIT, version="9"),
        replace(AUDIT, samples=AUDIT.samples.assign(loss=0.5)),
        replace(AUDIT, samples=AUDIT.samples.iloc[::-1]),
        replace(AUDIT, samples=AUDIT.samples.astype({"support_count": "float64"})),
        replace(AUDIT, settings={**AUDIT.settings, "seed": 99}),
        replace(AUDIT, previews={**AUDIT.previews, "x": Preview("none")}),
        replace(AUDIT, timings={}),
        not_measured(),
    ],
)
def test_a_change_makes_audits_unequal(changed: Audit) -> None:
    assert changed != AUDIT
    assert replace(AUDIT) == AUDIT


def test_an_audit_is_not_equal_to_anything_else() -> None:
    assert AUDIT != "an audit"
    assert AUDIT.samples.iloc[0].to_dict() != AUDIT


def test_parts_of_an_audit_can_be_hashed() -> None:
    preview = Preview("row", row={"a": "1"})
    assert hash(preview) == hash(replace(preview))
    assert hash(AUDIT.subject) == hash(replace(AUDIT.subject))
