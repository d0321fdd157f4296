"""The colors of page and figures: distinct for every eye in light, in dark and on paper, and readable."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cohaudit.report.figures import class_map

STYLE = (Path(__file__).parents[3] / "templates" / "style.css").read_text("utf-8")
Color = npt.NDArray[np.float64]
"""Red, green and blue in [0, 1], as written in CSS."""


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
