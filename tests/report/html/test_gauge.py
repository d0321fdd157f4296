"""The gauge: its scale holds the value, the whole interval and all levels, and says where each begins."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cohaudit.report.html.view._gauge import build_gauge
from cohaudit.results import Estimate

BOUNDS = (0.05, 0.1, 0.2)
GAPS = st.floats(-1, 1)


def share(css: str) -> float:
    assert css.endswith("%")
    return float(css[:-1])


@given(st.tuples(GAPS, GAPS, GAPS).map(sorted))
def test_nothing_leaves_the_scale(gap: list[float]) -> None:
    low, value, high = gap
    found = build_gauge(Estimate(value, low, high), BOUNDS)
    start, width, place = share(found.start), share(found.width), share(found.position)
    assert 0 <= start <= place + 0.11
    assert place <= start + width + 0.21
    assert start + width <= 100.11
    assert abs(sum(share(band.width) for band in found.bands) - 100) < 0.5
    assert all(share(band.width) > 0 for band in found.bands)
    assert all(0 <= share(tick.place) <= 100 for tick in found.ticks)
    # all but those that would overlap
    assert {"0", "20"} <= {tick.words for tick in found.ticks}


@given(st.tuples(GAPS, GAPS, GAPS).map(sorted))
def test_no_two_numbers_overlap_and_a_bound_gives_way_only_to_another_number(gap: list[float]) -> None:
    low, value, high = gap
    found = build_gauge(Estimate(value, low, high), BOUNDS)
    places = [share(tick.place) for tick in found.ticks]
    assert all(b - a > 7.8 for a, b in pairwise(places))
    edge = 0.0
    for band in found.bands[:-1]:
        edge += share(band.width)
        assert min(abs(edge - place) for place in places) < 8.3


def test_a_small_gap_does_not_leave_half_of_the_scale_to_the_last_level() -> None:
    found = build_gauge(Estimate(0.095, 0.078, 0.111), BOUNDS)
    assert [band.width for band in found.bands] == ["20.0%", "20.0%", "40.0%", "20.0%"]
    assert [(tick.place, tick.words) for tick in found.ticks] == [
        ("0.0%", "0"),
        ("20.0%", "5"),
        ("40.0%", "10"),
        ("80.0%", "20"),
        ("100.0%", "25"),
    ]
