"""The figures: bounded in size, described in words, and honest about what was not measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html import unescape
from typing import Any

import numpy as np
import pytest
from support.audits import make_audit

from cohaudit.report.figures.audits.decay import decay_figure
from cohaudit.report.figures.audits.depth_trend import depth_trend_figure
from cohaudit.report.figures.audits.inputs import inputs_figure
from cohaudit.report.figures.audits.robust_step import robust_step_figure
from cohaudit.report.figures.audits.stability import stability_figure
from cohaudit.report.figures.audits.trajectory import numbers_of, trajectory_figure
from cohaudit.report.figures.audits.width import width_figure
from cohaudit.report.html.view._classes import Classes, build_classes
from cohaudit.report.html.view._depth import build_depth
from cohaudit.report.html.view._gallery import build_gallery
from cohaudit.results import Audit, Skipped

BY_LAYERS: dict[str, Callable[..., str]] = {
    "depth": lambda **variant: build_depth(audit_of(**variant)).figure,
    "trend": lambda **variant: depth_trend_figure(further(**variant).depth),
    "width": lambda **variant: width_figure(further(**variant).width),
    "robust": lambda **variant: robust_step_figure(further(**variant).robust),
}
"""Figure → how it is drawn: those that grow with the number of layers."""
BY_CLASSES: dict[str, Callable[..., str]] = {
    "classes": lambda **variant: classes_of(**variant).dots,
    "cosines": lambda **variant: classes_of(**variant).heat_map or "",
}
"""Those that grow with the number of classes."""
OTHERS: dict[str, Callable[..., str]] = {
    "suspicion": lambda **variant: build_gallery(audit_of(**variant)).histogram or "",
    "inputs": lambda **variant: inputs_figure(further(**variant).inputs),
    "decay": lambda **variant: decay_figure(further(**variant).decay),
    "trajectory": lambda **variant: trajectory_figure(further(**variant).trajectory),
    "stability": lambda **variant: stability_figure(further(**variant).stability),
}
FIGURES = BY_LAYERS | BY_CLASSES | OTHERS


@cache
def audit_of(**variant: Any) -> Audit:
    """Return `make_audit(**variant)`, made once."""
    return make_audit(**variant)


@cache
def classes_of(**variant: Any) -> Classes:
    """Return the section on the classes, which draws two figures."""
    return build_classes(audit_of(**variant))


def further(**variant: Any) -> Any:
    """Return the optional audits, none of which is skipped in audits made by hand."""
    return audit_of(**variant).audits


@cache
def figure(name: str, **variant: Any) -> str:
    """Return one figure of `make_audit(**variant)`, drawn once."""
    return FIGURES[name](**variant)


def description(name: str, **variant: Any) -> str:
    """Return the text alternative of a figure, without the marks that isolate names."""
    match = re.search("<desc[^>]*>(.*?)</desc>", figure(name, **variant))
    assert match is not None
    return re.sub("[\u2068\u2069]", "", unescape(match[1]))


# size


SIZES = (
    *((name, {"layers": layers}) for name in BY_LAYERS for layers in (1, 5, 13, 50, 500)),
    *((name, {"classes": classes}) for name in BY_CLASSES for classes in (2, 10, 100, 1000)),
    ("classes", {"classes": 1}),
    *((name, {}) for name in OTHERS),
)


@pytest.mark.parametrize(("name", "size"), SIZES, ids=str)
@pytest.mark.parametrize("hostile", [False, True], ids=["", "hostile"])
def test_figures_of_any_number_of_classes_and_layers_are_small(
    name: str, size: dict[str, int], hostile: bool
) -> None:
    samples = max(40, 2 * size.get("classes", 1))
    svg = figure(name, **({"samples": samples, "suspects": 2, "evidence": 1, "hostile": hostile} | size))
    assert re.search(r'id="(\w+)-title"', svg)[1] == name  # type: ignore[index]
    assert len(svg.encode()) < 120_000
    drawn = re.sub("<text.*?</text>|<desc.*?</desc>", "", svg, flags=re.DOTALL)
    assert re.search("nan|inf", drawn) is None


def test_a_single_class_has_no_cosines() -> None:
    assert figure("cosines", classes=1, samples=6, suspects=2, evidence=1) == ""


# words


def test_text_alternatives_say_what_is_found() -> None:
    audit = make_audit()
    layers = sorted(
        (one.coherence.pairwise.value, one.name)
        for one in audit.layers
        if not isinstance(one.coherence, Skipped)
    )
    depth = description("depth")
    assert f"Samples agree most in {layers[-1][1]}" in depth
    assert f"least in {layers[0][1]}" in depth
    assert "body.4.fc carries 33.3% of the gradient energy" in depth
    assert "1 layer without coherence" in depth
    assert not isinstance(audit.class_cosines, Skipped)
    upper = np.array(audit.class_cosines.matrix)[np.triu_indices(10, 1)]
    assert f"{(upper < 0).sum()} of 45 pairs pull the weights apart" in description("cosines")
    assert f"{upper.min():.2f}".replace("-", "\u2212") in description("cosines")
    assert "12 of 240 samples have at least the threshold of 0.5" in description("suspicion")
    assert "has the largest share of suspects" in description("classes")
    assert "The interval of each is \u00b1 " in description("classes")
    assert "in 32 groups of similar ones" in description("cosines", classes=100, samples=400)
    assert "1 only noise" in description("inputs")
    assert "mean 50.0%" in description("robust")
    assert "Number 4, epoch-3.pt, is recommended" in description("trajectory")
    assert "the bound rises from 0 to 1.00 nats; measured: 0.200" in description("stability")
    assert "trained with 0.00100" in description("decay")
    assert "samples with nothing in common have 0.00400" in description("trend")


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_has_a_title_and_numbers_in_its_description(name: str) -> None:
    svg = figure(name)
    title = re.search("<title[^>]*>(.+?)</title>", svg)
    assert title is not None
    assert len(title[1]) > 10
    assert re.search(r"\d", description(name))
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
    assert "3 layers without coherence" in build_depth(bare).figure
    assert build_classes(bare).dots.count("not measured</text>") == 3


def test_checkpoints_stand_at_the_number_that_rises_in_their_names() -> None:
    assert numbers_of(["e2.pt", "e10.pt", "e50.pt"]) == [2, 10, 50]
    assert numbers_of(["epoch=1-val=9", "epoch=2-val=3"]) == [1, 2]
    assert (
        numbers_of(["a1.pt", "b2.pt"])
        == numbers_of(["e2.pt", "e2.pt"])
        == numbers_of(["first", "last"])
        == []
    )
    assert numbers_of(["only-7.pt"]) == [7]


def test_the_extremes_of_many_layers_are_named_and_few_are_named_on_the_axis() -> None:
    def names(layers: int) -> int:
        svg = re.sub("<desc.*?</desc>", "", figure("depth", layers=layers))
        return len(re.findall(r"body\.\d+\.fc", svg))

    assert [names(layers) for layers in (5, 12, 13, 50, 500)] == [5, 12, 2, 2, 2]
