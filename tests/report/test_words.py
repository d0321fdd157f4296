"""Numbers, names and pictures as a page shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import make_audit

from cohaudit.report.figures.thumbnails import thumbnail
from cohaudit.report.words import (
    count,
    fixed,
    interval,
    number,
    percent,
    plural,
    probability,
    seconds,
    signed,
    text,
)
from cohaudit.results import Estimate
from cohaudit.results.wording import rounded


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(0.0), "0"),
        (number(0.012345), "0.0123"),
        (number(-1234.5), "\u22121,234"),
        (number(12.345), "12.3"),
        (number(3.1e-7), "3.1 × 10⁻⁷"),
        (number(float("nan")), "–"),
        (signed(0.834), "+0.83"),
        (signed(-0.2), "\u22120.20"),
        (fixed(0.5625), "0.56"),
        (fixed(0.9981), ">0.99"),
        (fixed(0.001), "<0.01"),
        (fixed(1.0), "1.00"),
        (probability(0.834), "0.83"),
        (probability(0.001), "<0.01"),
        (probability(0.9971), "0.9971"),
        (probability(0.99983), "0.99983"),
        (probability(0.9999987), "0.9999987"),
        (probability(1 - 1e-15), ">0.99999999"),
        (probability(1.0), "1.00"),
        (percent(0.1014), "10.1%"),
        (percent(1.0), "100%"),
        (percent(0.9999), ">99.9%"),
        (percent(0.0), "0%"),
        (percent(0.0001), "<0.1%"),
        (percent(1.0000001), "100%"),
        (percent(-1e-9), "0%"),
        (rounded(0.9, 4), "0.9"),
        (rounded(12346.4, 4), "12,350"),
        (rounded(8.54321e-7, 4), "8.543 × 10⁻⁷"),
        (rounded(-5.0, 3), "\u22125"),
        (count(38000), "38,000"),
        (plural(1, "class"), "1 class"),
        (plural(1300, "sample"), "1,300 samples"),
        (plural(2, "class"), "2 classes"),
        (seconds(0.0412), "0.04 s"),
        (seconds(59.99), "60.0 s"),
        (seconds(245.2), "4 min 05 s"),
        (interval(Estimate(0.1, -0.01, 0.2)), "\u22120.0100 to 0.200"),
    ],
)
def test_numbers_in_words(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.floats(0, 1))
def test_only_a_whole_share_is_written_as_whole(share: float) -> None:
    assert (percent(share) == "100%") == (share == 1)
    assert (percent(share) == "0%") == (share == 0)
    assert not percent(share).startswith("100.0")


@given(st.text(), st.integers(6, 60))
def test_any_name_can_be_shown(raw: str, limit: int) -> None:
    shown = text(raw, limit)
    assert len(shown.short) <= limit
    assert (len(raw) > limit) == bool(shown.full)
    assert shown.short.isprintable() or not set(shown.short) & {chr(c) for c in range(32)}
    shown.short.encode()


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    shown = text("train/cats/" + "x" * 500 + "/0001.png", 24)
    assert shown.short == "train/cats/…xxx/0001.png"
    assert shown.full.startswith("train/cats/xxx")


def test_a_small_picture_is_kept_and_a_large_one_is_not() -> None:
    small, large = (
        next(iter(make_audit(suspects=1, evidence=0, image_side=side).previews.values())).image
        for side in (8, 200)
    )
    kept, shrunk = thumbnail(small, 48), thumbnail(large, 48)
    assert kept is not None
    assert (kept.uri, kept.coarse) == (small, True)
    assert shrunk is not None
    assert not shrunk.coarse
    assert len(shrunk.uri) < 6_000


@pytest.mark.parametrize(
    "uri", ["", "data:image/png;base64,", "data:image/png;base64,%%%", "data:image/png;base64,iVBORw0KGgo="]
)
def test_a_picture_that_cannot_be_decoded_is_none(uri: str) -> None:
    assert thumbnail(uri, 48) is None
