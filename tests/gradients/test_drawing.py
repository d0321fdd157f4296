"""Draws of samples by their residuals: probabilities, and errors of what is estimated from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohaudit.gradients.drawing import draw_by_scale, relative_error

Array = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def scales_and_labels(seed: int, samples: int, classes: int) -> tuple[Array, NDArray[np.int64]]:
    """Return scales over many orders of magnitude, some of them zero, and labels."""
    generator = np.random.default_rng(seed)
    scale = np.exp(generator.normal(0, 4, samples))
    scale[generator.random(samples) < 0.1] = 0
    return scale, generator.integers(classes, size=samples)


@given(seeds, st.integers(1, 200), st.integers(1, 8), st.integers(1, 250))
def test_a_draw_has_the_size_asked_for_and_weights_of_at_least_one(
    seed: int, samples: int, classes: int, size: int
) -> None:
    scale, labels = scales_and_labels(seed, samples, classes)
    draw = draw_by_scale(scale, labels, size, seed)
    assert (draw.weight >= 1).all()
    # where none has a residual, all are alike
    assert not scale.any() or (scale[draw.indices] > 0).all()
    assert (np.diff(draw.indices) > 0).all()
    possible = np.count_nonzero(np.square(scale / max(scale.max(), 1e-300))) or samples
    # one more where rounding hides that the last one was passed
    assert min(size, possible) - 1 <= len(draw.indices) <= size + 1
    if size >= possible:
        assert len(draw.indices) == possible
        assert draw.weight == pytest.approx(1)


@given(seeds, st.floats(1e-160, 1e150))
def test_the_unit_of_the_scales_does_not_matter(seed: int, unit: float) -> None:
    scale, labels = scales_and_labels(seed, 100, 3)
    plain, other = draw_by_scale(scale, labels, 20, seed), draw_by_scale(scale * unit, labels, 20, seed)
    assert other.weight.sum() == pytest.approx(plain.weight.sum(), rel=1e-6)
    assert (other.indices == plain.indices).all()


@given(seeds)
def test_every_class_gets_its_due(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 50)
    # one class is fitted a million times as well as the others
    scale = generator.uniform(0.5, 1, 200) * np.where(labels == 2, 1e-6, 1)
    drawn = np.bincount(labels[draw_by_scale(scale, labels, 40, seed).indices], minlength=4)
    # half of the 40 are shared by the four classes alike
    assert drawn.min() >= 4


def test_samples_are_drawn_evenly_where_none_has_a_residual() -> None:
    draw = draw_by_scale(np.zeros(5), np.arange(5), 3, 0)
    assert len(draw.indices) == 3
    assert draw.weight == pytest.approx(5 / 3)


def test_sums_over_a_draw_are_unbiased_and_as_far_off_as_stated() -> None:
    scale, labels = scales_and_labels(1, 400, 4)
    # what is summed is nearly, not quite, in proportion to the squared scale
    generator = np.random.default_rng(2)
    values = np.square(scale)[:, None] * generator.lognormal(0, 0.5, (400, 3))
    truth = values.sum(0)
    found, stated = [], []
    for seed in range(400):
        draw = draw_by_scale(scale, labels, 60, seed)
        found.append(draw.weight @ values[draw.indices])
        stated.append(relative_error(values[draw.indices], draw.weight))
    errors = np.array(found) / truth - 1
    spread = errors.std(0)
    assert np.abs(errors.mean(0)) == pytest.approx(0, abs=4 * spread.max() / 400**0.5)
    # a systematic draw is at least as good as an independent one
    assert (np.sqrt(np.square(stated).mean(0)) > 0.8 * spread).all()
    assert (np.sqrt(np.square(stated).mean(0)) < 3 * spread).all()


def test_what_is_known_of_all_samples_has_no_error() -> None:
    values = np.random.default_rng(0).uniform(size=(10, 2))
    assert relative_error(values, np.ones(10)).tolist() == [0, 0]
    # of a single sample that stands for others, all that it stands for may be wrong
    weight = np.r_[np.ones(9), 4.0]
    assert relative_error(values, weight) == pytest.approx(3 * values[-1] / (weight @ values))
    assert relative_error(np.zeros((10, 2)), weight).tolist() == [0, 0]
