"""The forms of per-sample gradients against whole gradients by plain autograd."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases import ALL_CASES
from support.oracle import LABELS, case_gradients, planned_case
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cohaudit.gradients.engine import Engine
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import Lookup, PerSample
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.sketch import make_projections

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


@cache
def forms_of(name: str) -> tuple[dict[str, PerSample], Tensor]:
    """Return the form of each parameter's gradients, and the samples' scales."""
    model, inputs, plan = planned_case(name)
    forms: dict[str, PerSample] = {}

    def keep(name: str, form: PerSample, residuals: Residuals) -> None:
        forms[name] = form

    residuals = Engine(model, plan).run(inputs, torch.from_numpy(LABELS), 1.0, keep).residuals
    return forms, residuals.scale


@pytest.mark.parametrize("size", [40, 700])
@pytest.mark.parametrize("name", ALL_CASES)
def test_sketches_and_dots_are_those_of_autograd(name: str, size: int) -> None:
    plan = planned_case(name)[2]
    grads = case_gradients(name)
    projections = make_projections(plan.parameters, size, seed=3)
    forms, scales = forms_of(name)
    scale = max(g.abs().max().item() for g in grads.values())
    for parameter, form in forms.items():
        expected = Dense(grads[parameter] / scales.reshape(-1, *[1] * (grads[parameter].ndim - 1)))
        direction = torch.randn(grads[parameter].shape[1:], dtype=torch.float64)
        torch.testing.assert_close(
            form.sketch(projections[parameter]),
            expected.sketch(projections[parameter]),
            rtol=1e-9,
            atol=1e-10 * scale,
        )
        torch.testing.assert_close(form.dot(direction), expected.dot(direction), rtol=1e-8, atol=1e-9 * scale)
        part = form.rows(2, 5)
        torch.testing.assert_close(part.squared_norms(), expected.squared_norms()[2:5], rtol=1e-9, atol=1e-20)
    assert set(forms) == set(plan.parameters)


def lookup(samples: int, positions: int, rows: int, seed: int) -> Lookup:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(rows, (samples, positions), generator=generator)
    return Lookup(index, torch.randn(samples, positions, 3, generator=generator, dtype=torch.float64), rows)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**31))
def test_positions_of_the_same_row_add_up(samples: int, positions: int, rows: int, seed: int) -> None:
    form = lookup(samples, positions, rows, seed)
    table = nn.Embedding(rows, 3, dtype=torch.float64)
    for index, b, square in zip(form.index, form.b, form.squared_norms(), strict=True):
        (gradient,) = torch.autograd.grad((table(index) * b).sum(), [table.weight])
        torch.testing.assert_close(square, gradient.square().sum())


class LargestResult(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_norms_of_a_long_text_take_memory_in_proportion_to_it() -> None:
    for positions in (100, 1000):
        form = lookup(2, positions, 50, seed=0)
        with LargestResult() as largest:
            form.squared_norms()
        assert largest.numbers == form.b.numel()
