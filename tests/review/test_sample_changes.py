"""What became of the samples between two audits, with the answer known by construction."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit.results import Audit
from cohaudit.review.diff.samples import SampleChanges, compare_samples

MADE = make_audit(samples=60, suspects=5, questions=0)


def audit_of(table: pd.DataFrame, total: int = 0) -> Audit:
    subject = replace(MADE.subject, samples=len(table), samples_total=total or len(table))
    return replace(MADE, samples=table, subject=subject)


def hashed(*inputs: object) -> list[str]:
    return [hashlib.sha256(repr(one).encode()).hexdigest()[:16] for one in inputs]


TABLE = MADE.samples.assign(content=hashed(*range(60)))
BASE = audit_of(TABLE)


def test_an_audit_has_the_samples_of_itself() -> None:
    found = compare_samples(BASE, BASE)
    assert found == SampleChanges(60, 0, 0, 0, 0, 0, 0)
    assert found.words == "60 in both"


def test_a_corrected_image_lies_in_another_folder() -> None:
    ids, labels = TABLE["id"].tolist(), TABLE["label"].tolist()
    for i in range(7):
        ids[i], labels[i] = f"moved/{i}.png", labels[(i + 1)]
    found = compare_samples(BASE, audit_of(TABLE.assign(id=ids, label=labels)))
    assert found == SampleChanges(60, 7, 0, 0, 0, 0, 0)


def test_row_numbers_move_and_are_no_names() -> None:
    rows = TABLE.assign(id=[str(i) for i in range(60)])
    left = rows.drop(index=[3, 10]).assign(id=[str(i) for i in range(58)])
    found = compare_samples(audit_of(rows), audit_of(left))
    # rows 0 to 2 stay in their places
    assert found == SampleChanges(58, 0, 0, 55, 0, 2, 0)
    assert found.words == "58 in both (55 in another row), 2 dropped"


def test_copies_of_one_input_are_matched_with_themselves() -> None:
    same = TABLE.assign(content=hashed(*[0] * 60))
    backwards = same.iloc[::-1].reset_index(drop=True)
    assert compare_samples(audit_of(same), audit_of(backwards)) == SampleChanges(60, 0, 0, 0, 0, 0, 0)


FATES = st.sampled_from(["same", "relabeled", "renamed", "edited", "dropped"])


@settings(max_examples=10, deadline=None)
@given(st.lists(FATES, min_size=60, max_size=60), st.integers(0, 4))
def test_every_sample_is_counted_as_what_became_of_it(fates: list[str], added: int) -> None:
    head = TABLE.copy()
    for i, fate in enumerate(fates):
        if fate == "relabeled":
            head.loc[i, "label"] = "another"
        elif fate == "renamed":
            head.loc[i, "id"] = f"renamed/{i}.png"
        elif fate == "edited":
            head.loc[i, "content"] = hashed("edited", i)[0]
    head = head[[fate != "dropped" for fate in fates]]
    contents = hashed(*(("new", i) for i in range(added)))
    new = TABLE.head(added).assign(id=[f"new/{i}" for i in range(added)], content=contents)
    head = pd.concat([head, new], ignore_index=True)
    found = compare_samples(BASE, audit_of(head))
    count = fates.count
    assert found == SampleChanges(
        both=60 - count("dropped"),
        relabeled=count("relabeled"),
        renamed=count("renamed"),
        moved=0,
        edited=count("edited"),
        dropped=count("dropped"),
        added=added,
    )
