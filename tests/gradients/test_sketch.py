"""The sketch's map, held against its definition: every entry, with its signs, added to one number."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


@settings(max_examples=25, deadline=None)
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


@settings(max_examples=25, deadline=None)
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
