"""Sketches compared with their definition: every entry, with its signs, added to one number."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.oracle import case_gradients, measured_case, planned_case
from torch import Tensor

from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lookup, Outer
from cohaudit.gradients.sketch import Projection, make_projections

shapes = st.tuples(st.integers(2, 90), st.integers(1, 90))
sizes = st.integers(2, 300)
seeds = st.integers(0, 2**31)


def by_definition(projection: Projection, gradient: Tensor) -> Tensor:
    """Return the sketch of one gradient [rows, columns], entry by entry."""
    if projection.keeps_all:
        return gradient.flatten()
    sketch = gradient.new_zeros(projection.size)
    for r, row in enumerate(gradient):
        for c, entry in enumerate(row):
            place = (r // projection.group * projection.step + c) % projection.size
            sketch[place] += projection.row_signs[r] * projection.column_signs[c] * entry
    return sketch


@settings(max_examples=25)
@given(shapes, sizes, seeds)
def test_all_ways_to_a_sketch_are_its_definition(shape: tuple[int, int], size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = shape
    projection = make_projections({"weight": torch.zeros(shape, dtype=torch.float64)}, size, seed)["weight"]
    b = torch.randn(2, 3, rows, generator=generator, dtype=torch.float64)
    a = torch.randn(2, 3, columns, generator=generator, dtype=torch.float64)
    outer = Outer(b, a)
    whole = outer.dense().gradients
    expected = torch.stack([by_definition(projection, gradient) for gradient in whole])
    torch.testing.assert_close(Dense(whole).sketch(projection), expected)
    torch.testing.assert_close(outer.sketch(projection), expected)
    if not projection.keeps_all:
        signed = outer.signed(projection).dense().gradients
        torch.testing.assert_close(projection.of_signed(signed), expected)
        torch.testing.assert_close(projection.sign(signed[0]), whole[0])


@settings(max_examples=25)
@given(shapes, sizes, seeds)
def test_a_sketch_of_looked_up_rows_is_that_of_the_whole_gradient(
    shape: tuple[int, int], size: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = shape
    projection = make_projections({"weight": torch.zeros(shape, dtype=torch.float64)}, size, seed)["weight"]
    index = torch.randint(rows, (2, 5), generator=generator)
    lookup = Lookup(index, torch.randn(2, 5, columns, generator=generator, dtype=torch.float64), rows)
    expected = torch.stack([by_definition(projection, gradient) for gradient in lookup.dense().gradients])
    torch.testing.assert_close(lookup.sketch(projection), expected)


def sample_sketches(size: int, seed: int) -> np.ndarray:
    """Return the sketches of the perceptron's whole gradients, [samples, size]."""
    gradients = case_gradients("perceptron")
    projections = make_projections(planned_case("perceptron")[2].parameters, size, seed)
    return torch.cat([Dense(gradients[name]).sketch(own) for name, own in projections.items()], 1).numpy()


def test_sketches_are_unbiased() -> None:
    """Averaged over seeds, inner products of the samples' sketches are those of their gradients."""
    whole = torch.cat([g.flatten(1) for g in case_gradients("perceptron").values()], 1)
    exact = (whole @ whole.T).numpy()
    sketches = [sample_sketches(30, seed) for seed in range(200)]
    products = [rows @ rows.T for rows in sketches]
    error = np.std(products, axis=0) / np.sqrt(len(products))
    assert (np.abs(np.mean(products, axis=0) - exact) < 5 * error + 1e-6 * exact.max()).all()
    assert error.max() > 0  # the sketch is shorter than the gradient


def test_a_measurement_has_these_sketches() -> None:
    measured = measured_case("perceptron")
    rows = measured.sketches * measured.scale[:, None]
    np.testing.assert_allclose(rows, sample_sketches(60, 0), rtol=1e-5, atol=1e-7)
