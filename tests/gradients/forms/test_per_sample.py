"""The forms of per-sample gradients against whole gradients by plain autograd."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from support.cases import ALL_CASES
from support.oracle import LABELS, case_gradients, planned_case
from torch import Tensor

from cohaudit.gradients.engine import Engine
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.forms.per_sample import PerSample
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
