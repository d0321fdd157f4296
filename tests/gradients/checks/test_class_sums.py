"""The check of exact sums by drawn samples: it passes honest runs, and finds what is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cohaudit.gradients.checks.class_sums import DrawnSamples, drawn_sum_errors
from cohaudit.gradients.drawing import draw_by_scale

Array = NDArray[np.float64]

CLASSES, SAMPLES, DRAWN = 4, 2000, 400
LAYERS = (slice(0, 30), slice(30, 60))


def run(seed: int, shared: float = 2.0) -> tuple[DrawnSamples, Array]:
    """Return the drawn samples of a run, and the sums over all."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(CLASSES, size=SAMPLES)
    scale = generator.lognormal(0, 2, SAMPLES)
    means = shared * generator.normal(size=(CLASSES, 60)) / 60**0.5
    unit = (means[labels] + generator.normal(size=(SAMPLES, 60)) / 60**0.5).astype(np.float32)
    gradients = unit * scale[:, None]
    sums = np.stack([gradients[labels == c].sum(0) for c in range(CLASSES)])
    draw = draw_by_scale(scale, labels, DRAWN, seed)
    drawn = DrawnSamples(
        labels=labels[draw.indices],
        weight=draw.weight,
        scale=scale[draw.indices],
        sketches=unit[draw.indices],
        layer_columns=LAYERS,
    )
    return drawn, sums


def test_honest_runs_pass() -> None:
    for seed in range(60):
        drawn, sums = run(seed)
        assert drawn_sum_errors(drawn, sums).max() == 0


def test_tiny_gradients_are_checked_like_others() -> None:
    drawn, sums = run(0)
    tiny = replace(drawn, scale=drawn.scale * 1e-150)
    assert drawn_sum_errors(tiny, sums * 1e-150).max() == 0
    assert drawn_sum_errors(tiny, sums * 3e-150) == pytest.approx(drawn_sum_errors(drawn, sums * 3))


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_layer_a_lost_class_and_swapped_classes_are_found(seed: int) -> None:
    drawn, sums = run(seed)
    lost = sums.copy()
    lost[:, LAYERS[1]] = 0
    errors = drawn_sum_errors(drawn, lost)
    assert errors[0] == 0
    assert errors[1] > 0.01
    one_less = sums.copy()
    one_less[2] = 0
    assert drawn_sum_errors(drawn, one_less).min() > 0.01
    assert drawn_sum_errors(drawn, sums[[1, 0, 2, 3]]).min() > 0.01
    assert drawn_sum_errors(drawn, -sums).min() > 0.01


def test_where_all_samples_were_measured_the_least_error_is_found() -> None:
    generator = np.random.default_rng(0)
    unit = generator.normal(size=(200, 60)).astype(np.float32)
    labels = np.arange(200) % CLASSES
    drawn = DrawnSamples(
        labels=labels,
        weight=np.ones(200),
        scale=np.ones(200),
        sketches=unit,
        layer_columns=LAYERS,
    )
    sums = np.stack([unit[labels == c].astype(np.float64).sum(0) for c in range(CLASSES)])
    assert drawn_sum_errors(drawn, sums).max() < 1e-12
    off = sums * np.array([1, 1.05, 1, 1])[:, None]
    # relative to the samples' lengths, which are longer than their sum
    assert drawn_sum_errors(drawn, off).min() > 0.005


@pytest.mark.parametrize("seed", range(5))
def test_a_class_off_by_a_twentieth_is_found_where_its_samples_agree(seed: int) -> None:
    # nearly all samples of a class pull one way and have one length: the draw tells the sum within 1 %
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), 500)
    means = generator.normal(size=(CLASSES, 60))
    unit = (means[labels] + 0.02 * generator.normal(size=(SAMPLES, 60))).astype(np.float32)
    sums = np.stack([unit[labels == c].astype(np.float64).sum(0) for c in range(CLASSES)])
    draw = draw_by_scale(np.ones(SAMPLES), labels, 1900, seed)
    rows = unit[draw.indices]
    drawn = DrawnSamples(
        labels=labels[draw.indices],
        weight=draw.weight,
        scale=np.ones(len(rows)),
        sketches=rows,
        layer_columns=LAYERS,
    )
    assert drawn_sum_errors(drawn, sums).max() == 0
    assert drawn_sum_errors(drawn, sums * np.array([1, 1, 1.1, 1])[:, None]).max() > 0.001
