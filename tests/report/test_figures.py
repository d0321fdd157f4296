"""The figures: bounded in size, told in words, and apart for every eye in light, in dark and on paper."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.audits import make_audit

from cohaudit.report import render_html
from cohaudit.report.figures import class_map
from cohaudit.report.figures.class_map import group_classes, most_unlike
from cohaudit.results import Skipped

FIGURES = {
    *("depth", "classes", "cosines", "suspicion", "trend", "width", "inputs", "decay", "robust"),
    *("trajectory", "stability"),
}
STYLE = (Path(__file__).parents[2] / "templates" / "style.css").read_text("utf-8")
Color = npt.NDArray[np.float64]
"""Red, green and blue in [0, 1], as written in CSS."""


@cache
def html_of(**variant: Any) -> str:
    return render_html(make_audit(**variant))


@cache
def figures_of(**variant: Any) -> dict[str, str]:
    found = re.findall(r"<svg.*?</svg>", html_of(**variant), flags=re.DOTALL)
    return {re.search(r'id="(\w+)-title"', svg)[1]: svg for svg in found}  # type: ignore[index]


def told(name: str, **variant: Any) -> str:
    """Return the text alternative of a figure, without the isolation of names."""
    match = re.search("<desc[^>]*>(.*?)</desc>", figures_of(**variant)[name])
    assert match is not None
    return re.sub("[\u2068\u2069]", "", unescape(match[1]))


# size


SIZES = [(1, 1, 6), (2, 5, 40), (10, 50, 240), (100, 500, 400), (1000, 13, 2000)]


@pytest.mark.parametrize(("classes", "layers", "samples"), SIZES)
@pytest.mark.parametrize("hostile", [False, True], ids=["", "hostile"])
def test_figures_of_any_number_of_classes_and_layers_are_small(
    classes: int, layers: int, samples: int, hostile: bool
) -> None:
    found = figures_of(
        classes=classes, layers=layers, samples=samples, hostile=hostile, suspects=2, evidence=1
    )
    assert {*found} == FIGURES - ({"cosines"} if classes == 1 else set())
    for name, svg in found.items():
        assert len(svg.encode()) < 120_000, name
        assert (
            re.search("nan|inf", re.sub("<text.*?</text>|<desc.*?</desc>", "", svg, flags=re.DOTALL)) is None
        )


def test_a_page_of_a_thousand_classes_and_five_hundred_layers_stays_small() -> None:
    html = html_of(classes=1000, layers=500, samples=3000)
    assert len(html.encode()) < 1_000_000
    words = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert "And 850 classes more, in audit.json." in words
    assert "The first and the last 75 rows; 350 between them are in audit.json." in words
    assert "The first and the last 50 rows; 400 between them are in audit.json." in words


def test_a_page_of_many_of_everything_keeps_to_three_megabytes() -> None:
    audit = make_audit(classes=1000, layers=500, samples=3000, suspects=60, image_side=64)
    assert len(render_html(audit).encode()) < 3_000_000


def test_tables_that_fit_are_whole() -> None:
    assert (
        "in audit.json." not in html_of(classes=100, layers=100, samples=400).split("Class against class")[0]
    )


# many classes


def planted(classes: int, kinds: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return cosines of classes of some kinds in any order, near 1 within a kind, and the kinds."""
    rng = np.random.default_rng(0)
    kind = rng.permutation(np.arange(classes) % kinds)
    vectors = np.eye(kinds)[kind] + 0.05 * rng.normal(size=(classes, kinds))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T, kind


def test_few_classes_have_a_row_each() -> None:
    cosines, _ = planted(40, 4)
    shown = group_classes(cosines)
    assert shown.groups == tuple((i,) for i in range(40))
    off = ~np.eye(40, dtype=bool)
    assert (shown.matrix[off] == cosines[off]).all()
    assert np.isnan(np.diag(shown.matrix)).all()


@pytest.mark.parametrize("classes", [41, 100, 1000])
def test_many_classes_are_in_groups_that_pull_alike(classes: int) -> None:
    cosines, kind = planted(classes, 4)
    shown = group_classes(cosines)
    assert sorted(i for group in shown.groups for i in group) == list(range(classes))
    sizes = {len(group) for group in shown.groups}
    assert max(sizes) - min(sizes) <= 1
    pure = [len({kind[i] for i in group}) == 1 for group in shown.groups]
    assert np.mean(pure) > 0.8
    a, b = shown.groups[0], shown.groups[-1]
    assert shown.matrix[0, -1] == pytest.approx(cosines[np.ix_(a, b)].mean())


def test_the_most_central_class_names_its_group() -> None:
    cosines, _ = planted(100, 4)
    for group in group_classes(cosines).groups:
        sums = cosines[np.ix_(group, group)].sum(1)
        assert sums[0] == sums.max()


def test_pairs_are_the_lowest_and_the_highest_and_none_is_in_both() -> None:
    cosines = np.array([[1, -0.5, 0.25], [-0.5, 1, 0.75], [0.25, 0.75, 1]])
    assert most_unlike(cosines, 2) == ([(0, 1), (0, 2)], [(1, 2)])
    assert most_unlike(cosines[:2, :2], 5) == ([(0, 1)], [])


def test_groups_are_listed_with_their_classes() -> None:
    html = html_of(classes=100, samples=400)
    listed = html[html.index("The classes of each group") :]
    listed = listed[: listed.index("</details>")]
    assert {*re.findall(r"class \d+", listed)} == {f"class {i}" for i in range(100)}
    assert "The classes of each group" not in html_of()


# words


def test_text_alternatives_say_what_is_found() -> None:
    audit = make_audit()
    layers = sorted(
        (one.coherence.pairwise.value, one.name)
        for one in audit.layers
        if not isinstance(one.coherence, Skipped)
    )
    depth = told("depth")
    assert f"Samples agree most in {layers[-1][1]}" in depth
    assert f"least in {layers[0][1]}" in depth
    assert "body.4.fc carries 33.3% of the gradient energy" in depth
    assert "1 layer without a coherence" in depth
    assert not isinstance(audit.class_cosines, Skipped)
    upper = np.array(audit.class_cosines.matrix)[np.triu_indices(10, 1)]
    assert f"Of 45 pairs, {(upper < 0).sum()} pull the weights apart" in told("cosines")
    assert f"{upper.min():.2f}".replace("-", "\u2212") in told("cosines")
    assert "12 of 240 samples reach the threshold of 0.500" in told("suspicion")
    assert "has the largest share of suspects" in told("classes")
    assert "in 32 groups of similar ones" in told("cosines", classes=100, samples=400)
    assert "1 carry noise alone" in told("inputs")
    assert "50.0%, mean" in told("robust")
    assert "Number 4, epoch-3.pt, is advised" in told("trajectory")
    assert "the bound rises from 0 to 1.00 nats; measured: 0.200" in told("stability")
    assert "trained with 0.00100" in told("decay")
    assert "samples with nothing in common have 0.00400" in told("trend")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_has_a_title_and_numbers_in_its_description(name: str) -> None:
    svg = figures_of()[name]
    title = re.search("<title[^>]*>(.+?)</title>", svg)
    assert title is not None
    assert len(title[1]) > 10
    assert re.search(r"\d", told(name))
    assert 'role="img"' in svg
    assert f'aria-labelledby="{name}-title {name}-text"' in svg


def test_what_was_not_measured_leaves_a_gap_and_not_a_zero() -> None:
    audit = make_audit(layers=3, classes=3)
    nothing = Skipped("coherence", "no gradient reaches it")
    bare = replace(
        audit,
        layers=tuple(replace(one, coherence=nothing) for one in audit.layers),
        classes=tuple(replace(one, coherence=nothing) for one in audit.classes),
    )
    html = render_html(bare)
    assert "3 layers without a coherence" in html
    assert html.count("not measured</text>") == 3


def test_the_extremes_of_many_layers_are_named_and_few_are_named_on_the_axis() -> None:
    def names(layers: int) -> int:
        svg = re.sub("<desc.*?</desc>", "", figures_of(layers=layers)["depth"])
        return len(re.findall(r"body\.\d+\.fc", svg))

    assert [names(layers) for layers in (5, 12, 13, 50, 500)] == [5, 12, 2, 2, 2]


# colors


def palettes() -> dict[str, dict[str, Color]]:
    """Return the colors of style.css in light, in dark and in print."""
    light, dark, paper = (
        {
            name: np.array(
                [
                    int(c, 16)
                    for c in re.findall("..", code if len(code) == 6 else "".join(2 * c for c in code))
                ]
            )
            / 255
            for name, code in re.findall(r"--([\w-]+): #([0-9a-f]{3,6})\b", block)
        }
        for block in re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)[:3]
    )
    return {"light": light, "dark": light | dark, "print": light | paper}


PALETTES = palettes()
each_palette = pytest.mark.parametrize("palette", PALETTES)

# Machado, Oliveira & Fernandes 2009, "A physiologically-based model for simulation of color vision
# deficiency", table for severity 1.0; they act on linear light.
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
each_vision = pytest.mark.parametrize("vision", VISIONS)


def linear(color: Color) -> Color:
    """Return linear light (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    low, high = sorted(float(linear(color) @ (0.2126, 0.7152, 0.0722)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(color: Color, vision: str) -> Color:
    """Return CIE L*a*b* (D65) of a color as such eyes see it."""
    seen = np.clip(VISIONS[vision] @ linear(color), 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.072175],
            [0.0193339, 0.119192, 0.9503041],
        ]
    )
    ratio = to_xyz @ seen / (to_xyz @ np.ones(3))
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: Color, other: Color, vision: str) -> float:
    """Return the CIE76 difference; 2.3 is just noticed, 10 at a glance."""
    return math.dist(lab(one, vision), lab(other, vision))


def over(color: Any, opacity: float, below: Color) -> Color:
    return opacity * np.array(color) + (1 - opacity) * below


def test_the_measures_of_color_are_right() -> None:
    black, white = np.zeros(3), np.ones(3)
    assert contrast(black, white) == pytest.approx(21)
    assert distance(black, white, "all cones") == pytest.approx(100)
    red, green = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert distance(red, green, "all cones") == pytest.approx(170.6, abs=0.5)
    assert distance(red, green, "deuteranopia") < 80


@each_vision
@each_palette
def test_colors_that_carry_meaning_are_apart_for_every_eye(palette: str, vision: str) -> None:
    colors = PALETTES[palette]
    of_figures = [colors[name] for name in ("blue", "orange", "muted", "ink")]
    for one, other in itertools.combinations(of_figures, 2):
        assert distance(one, other, vision) > 12
    for opacity in (class_map.STRONGEST, class_map.BEHIND_NUMBERS):
        ends = [over(c, opacity, colors["paper"]) for c in (class_map.POSITIVE, class_map.NEGATIVE)]
        assert distance(*ends, vision) > 40
        for end in ends:
            assert distance(end, colors["paper"], vision) > 25
    assert distance(colors["rust"], colors["blue"], vision) > 25


@each_vision
@each_palette
def test_levels_are_apart_beside_their_words(palette: str, vision: str) -> None:
    levels = [PALETTES[palette][name] for name in ("low", "moderate", "high", "severe")]
    for one, other in itertools.combinations(levels, 2):
        assert distance(one, other, vision) > 6


@each_palette
def test_what_is_drawn_stands_out_from_the_page(palette: str) -> None:
    colors = PALETTES[palette]
    for name in ("blue", "orange", "muted", "ink"):
        assert contrast(colors[name], colors["paper"]) >= 3, name
    for color in (class_map.POSITIVE, class_map.NEGATIVE):
        assert contrast(over(color, class_map.STRONGEST, colors["paper"]), colors["paper"]) >= 3


@each_palette
def test_text_can_be_read(palette: str) -> None:
    colors = PALETTES[palette]
    words = ("ink", "muted", "link", "rust", "blue", "failed", "low", "moderate", "high", "severe")
    for name in words:
        for ground in ("paper", "wash"):
            assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
    assert contrast(colors["paper"], colors["rust"]) >= 4.5, "a mark with its word in the page's color"
    for color in (class_map.POSITIVE, class_map.NEGATIVE):
        assert contrast(colors["ink"], over(color, class_map.BEHIND_NUMBERS, colors["paper"])) >= 4.5
