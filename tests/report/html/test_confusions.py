"""The table of given and suggested labels: it counts every suspect once, whatever the number of classes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit.report.html.view._confusions import MAX_CLASSES, MAX_PAIRS, build_confusions

AUDITS = {classes: make_audit(classes=classes, layers=1, suspects=120) for classes in (2, 14, 15, 40)}


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(AUDITS)), st.integers(0, 120))
def test_every_suspect_is_counted_once(classes: int, listed: int) -> None:
    audit = AUDITS[classes]
    suspects = audit.suspects.head(listed)
    found = build_confusions(audit, list(suspects["id"]))
    names = [one.name for one in audit.classes]
    apart = suspects[suspects["label"] != suspects["suggested"]]
    if apart.empty:
        assert found is None
        return
    assert found is not None
    places = [place for place, _ in found.heads]
    assert len(places) <= MAX_CLASSES + 1
    own = {name: place if place in places else -1 for place, name in enumerate(names)}
    expected = Counter(zip(apart["label"].map(own), apart["suggested"].map(own), strict=True))
    counted = {(c.given, c.suggested): int(c.samples) for row in found.rows for c in row if c.samples}
    assert counted == expected
    assert [[(c.given, c.suggested) for c in row] for row in found.rows] == [
        [(i, j) for j in places] for i in places
    ]
    assert (found.note == "") == (classes <= MAX_CLASSES) == (found.pairs == ())
    most = Counter(zip(apart["label"], apart["suggested"], strict=True)).most_common(MAX_PAIRS)
    if found.pairs:
        assert [int(one.cell.samples) for one in found.pairs] == [times for _, times in most]


def test_the_strongest_color_leaves_the_number_readable() -> None:
    audit = AUDITS[15]
    found = build_confusions(audit, list(audit.suspects["id"]))
    assert found is not None
    assert max(float(cell.opacity) for row in found.rows for cell in row) == 0.5
