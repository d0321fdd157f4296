"""The file of provenance: what is written is read, hostile content is refused, entries find their samples."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.analysis.corrected_labels import expected_remainder, likelier_to_help, shifted
from cohaudit.errors import ConfigError
from cohaudit.results import CorrectionRound, Estimate, LabelChange
from cohaudit.review import label_provenance
from cohaudit.review.label_provenance import (
    LabelProvenance,
    match_changes,
    provenance_file,
    provenance_json,
    read_provenance,
)

SHARES = st.floats(0, 1)
COUNTS = st.integers(0, 2**40)
TEXTS = st.text(max_size=20)
HASHES = st.text("0123456789abcdef", min_size=16, max_size=16)
ROUNDS = st.builds(
    CorrectionRound,
    audit=TEXTS,
    samples=COUNTS,
    relabeled=COUNTS,
    removed=COUNTS,
    by_audit=COUNTS,
    wrong_changes=SHARES,
    told=st.booleans(),
    remainder=st.lists(SHARES, min_size=3, max_size=3).map(sorted).map(lambda s: Estimate(s[1], s[0], s[2])),
)
CHANGES = st.builds(
    LabelChange,
    content=HASHES,
    id=TEXTS,
    given=TEXTS,
    label=TEXTS,
    wrong=SHARES,
    by=st.sampled_from(["audit", "list", "review"]),
    round=st.just(1),
)
FILES = st.builds(
    LabelProvenance,
    fingerprint=st.text("0123456789abcdef", min_size=64, max_size=64),
    rounds=st.lists(ROUNDS, min_size=1, max_size=3).map(tuple),
    changes=st.lists(CHANGES, max_size=5).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provenance") / "train.csv.provenance.json"


def change(content: str = "a" * 16, **values: Any) -> LabelChange:
    first = LabelChange(content, "s1", "cat", "dog", 0.25, "audit", 1)
    return replace(first, **values)


def whole(*changes: LabelChange) -> LabelProvenance:
    one = CorrectionRound("cohaudit 1", 4, 2, 0, 2, 0.25, True, Estimate(0.1, 0.05, 0.2))
    return LabelProvenance("f" * 64, (one,), changes)


@given(FILES)
def test_what_is_written_is_read(path: Path, provenance: LabelProvenance) -> None:
    path.write_text(provenance_json(provenance), encoding="utf-8")
    assert read_provenance(path) == provenance


@given(st.data())
def test_whatever_stands_in_a_file_it_is_read_whole_or_refused_with_its_name(
    path: Path, data: st.DataObject
) -> None:
    content = json.loads(provenance_json(whole(change())))
    # any value anywhere
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)
            break
        place = place[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    found = None
    with contextlib.suppress(ConfigError):  # any other error is a bug
        found = read_provenance(path)
    if found is not None:
        assert 0 <= found.rounds[-1].remainder.low <= found.rounds[-1].remainder.high <= 1
        assert all(0 <= one.wrong <= 1 for one in found.changes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "found a list, not an object"),
        (b'{"answers": []}', "is not a file of label provenance"),
        (b'{"form": "cohaudit label provenance", "version": 2}', "reads version 1"),
        (b'{"form": "cohaudit label provenance", "version": 1}', "fingerprint: is missing"),
    ],
)
def test_what_is_no_provenance_is_refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_provenance(path)


def test_a_file_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_provenance, "MAX_FILE_BYTES", 100)
    path.write_text(provenance_json(whole(change())), encoding="utf-8")
    with pytest.raises(ConfigError, match="more than is read"):
        read_provenance(path)


def test_it_lies_beside_the_data() -> None:
    assert provenance_file(Path("data/photos")) == Path("data/photos.provenance.json")


# samples


def test_a_change_is_about_the_sample_with_this_input_and_todays_label() -> None:
    contents = ["a" * 16, "a" * 16, "b" * 16]
    ids = ["s0", "s1", "s2"]
    found = match_changes(whole(change()), contents, ids, ["dog", "dog", "dog"], same_data=False)
    # of two equal samples the one of this id
    assert list(found) == [1]
    # renamed
    assert list(match_changes(whole(change()), contents, ["x", "y", "z"], ["dog"] * 3, same_data=False)) == [
        0
    ]
    # edited by hand since: the label of today is somebody else's word
    assert not match_changes(whole(change()), contents, ids, ["cat", "cow", "dog"], same_data=False)


def test_under_another_transform_the_id_names_a_sample_of_the_same_data() -> None:
    changed = ["c" * 16, "d" * 16]
    for same_data in (True, False):
        found = match_changes(whole(change()), changed, ["s0", "s1"], ["dog"] * 2, same_data=same_data)
        assert list(found) == [1] * same_data


@given(st.lists(CHANGES, max_size=6), st.integers(0, 2**32 - 1))
def test_each_change_finds_its_own_sample_in_any_order(changes: list[LabelChange], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(changes)).tolist()
    samples = [changes[k] for k in order]
    found = match_changes(
        whole(*changes),
        [one.content for one in samples],
        [one.id for one in samples],
        [one.label for one in samples],
        same_data=False,
    )
    assert len(found) == len(changes)
    for i, one in found.items():
        assert (one.content, one.id, one.label) == (samples[i].content, samples[i].id, samples[i].label)


# how many wrong labels are left


@given(
    st.lists(st.tuples(SHARES, SHARES, st.booleans()), min_size=1, max_size=30),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
def test_the_remainder_is_the_mean_of_what_was_known_and_between_its_bounds(
    rows: list[tuple[float, float, bool]], below: float, above: float
) -> None:
    wrong = np.array([row[0] for row in rows])
    new_right = wrong * np.array([row[1] for row in rows])
    changed = np.array([row[2] for row in rows])
    share = float(wrong.mean())
    estimate = Estimate(share, max(share - below, 0), min(share + above, 1))
    found = expected_remainder(wrong, new_right, changed, estimate)
    assert found.value == pytest.approx(np.where(changed, 1 - new_right, wrong).mean())
    assert 0 <= found.low <= found.value <= found.high <= 1
    # who changes only what is likelier to help than to harm leaves no more wrong labels than there were
    helps = likelier_to_help(wrong, new_right)
    assert expected_remainder(wrong, new_right, helps, estimate).value <= share + 1e-12


def test_the_interval_holds_what_is_left_of_draws_from_the_claim() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        wrong = rng.beta(0.2, 1.2, 300)
        new_right = 0.9 * wrong
        changed = likelier_to_help(wrong, new_right)
        share = Estimate(float(wrong.mean()), float(wrong.mean()), float(wrong.mean()))
        found = expected_remainder(wrong, new_right, changed, share)
        left = np.where(changed, rng.random(300) < 1 - new_right, rng.random(300) < wrong).mean()
        held.append(found.low <= left <= found.high)
    assert 0.85 <= np.mean(held) <= 0.95


def test_all_log_odds_move_by_one_number() -> None:
    moved = shifted(np.array([0.0, 0.1, 0.5, 1.0]), 0.5)
    assert moved.mean() == pytest.approx(0.5)
    assert moved[[0, 3]].tolist() == [0, 1]
    odds = np.log(moved[1:3] / (1 - moved[1:3]))
    assert odds[1] - odds[0] == pytest.approx(np.log(9))
