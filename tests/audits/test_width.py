"""The width audit: coherence, energy and participation of units against their definitions, and the advice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.audits.width import (
    coherent_energy,
    coherent_width,
    participation,
    unit_coherence,
)
from cohaudit.results import CoherentWidth, LayerUnits, Skipped, SubNetwork
from cohaudit.results.sub_network import smallest_set

ENERGIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


@given(ENERGIES)
def test_participation_lies_between_one_unit_and_all(energies: list[float]) -> None:
    found = participation(np.array(energies))
    if max(energies) == 0:
        assert found == 0
    else:
        assert 1 / len(energies) <= found * (1 + 1e-9)
        assert found <= 1 + 1e-9


def test_participation_of_equal_units_is_one_and_of_a_single_one_its_share() -> None:
    assert participation(np.full(7, 3.0)) == pytest.approx(1)
    assert participation(np.array([0, 0, 5.0, 0])) == pytest.approx(1 / 4)


@given(ENERGIES, st.floats(0.05, 1))
def test_no_smaller_set_holds_the_share(energies: list[float], share: float) -> None:
    kept, values = smallest_set(energies, share), np.array(energies)
    if values.sum() == 0:
        assert len(kept) == len(values)
        return
    assert values[kept].sum() >= share * values.sum() * (1 - 1e-9)
    strongest = np.sort(values)[::-1]
    # equal where half of the smallest number there is rounds to 0
    assert strongest[: len(kept) - 1].sum() <= share * values.sum() * (1 + 1e-9)
    assert (np.diff(kept) > 0).all()


@given(st.integers(2, 12), st.integers(0, 99))
def test_unit_coherence_is_the_mean_product_of_two_samples(samples: int, seed: int) -> None:
    g = np.random.default_rng(seed).normal(size=(samples, 3))
    sums, squares = np.array([np.square(g.sum(0)).sum()]), np.array([np.square(g).sum()])
    products = g @ g.T
    others = (products.sum() - np.trace(products)) / (samples - 1) / np.trace(products)
    assert unit_coherence(sums, squares, samples)[0] == pytest.approx(others, abs=1e-12)


def test_a_unit_without_a_gradient_has_neither_coherence_nor_energy() -> None:
    nothing = np.zeros(2)
    assert unit_coherence(nothing, nothing, 5).tolist() == [0, 0]
    assert coherent_energy(nothing, nothing + 1, 2).tolist() == [0, 0]


def energies(g: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the coherent energies of gradients [samples, units, entries], of ten classes."""
    classes = np.stack([g[labels == c].sum(0) for c in range(10)])
    return coherent_energy(np.square(classes).sum((0, 2)), np.square(g).sum((0, 2)), 10)


@pytest.mark.parametrize("entries", [1, 4, 64])
def test_units_of_noise_rarely_hold_any_coherent_energy(entries: int) -> None:
    """Independent units, and units that share activations of few kinds, as those of a network do."""
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.arange(200) % 10
        a = rng.normal(size=(200, 1, 2)) @ rng.normal(size=(2, entries)) if seed % 2 else 1
        delta = rng.normal(size=(200, 16, 1 if seed % 2 else entries))
        held.append(bool(energies(delta * a, labels).any()))
    # one in twenty for a layer whose units move together, and fewer for independent ones
    assert np.mean(held) <= 0.075


def test_only_units_with_something_in_common_hold_energy() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    shared = rng.normal(size=(10, 8, 4))
    g = rng.normal(size=(200, 64, 4))
    g[:, :8] += shared[labels]
    found = energies(g, labels)
    assert (found[:8] > 0).all()
    assert (found[8:] > 0).sum() <= 6
    assert len(smallest_set(found, 0.9)) <= 8


def width(*tried: tuple[float, int, float, float]) -> str:
    layer = LayerUnits("fc", "units", (0.1,) * 100, (0.01,) * 100, 1.0, tuple(range(90)))
    found = coherent_width([layer], 0.99, [SubNetwork(*one) for one in tried])
    assert isinstance(found, CoherentWidth)
    return found.advice


def test_the_advice_follows_what_was_measured() -> None:
    assert "nothing to cut" in width((0.9, 50, 0.7, 0.5), (0.99, 80, 0.9, 0.8))
    assert "nothing to cut" in width((0.9, 98, 0.99, 0.99), (0.99, 100, 0.99, 0.99))
    assert "80 of 100 hidden units hold 99%" in width((0.9, 50, 0.7, 0.5), (0.99, 80, 0.985, 0.8))
    assert "Train a narrower one" in width((0.9, 50, 0.99, 0.985), (0.99, 80, 0.99, 0.99))
    assert isinstance(coherent_width([], 0.9, []), Skipped)
