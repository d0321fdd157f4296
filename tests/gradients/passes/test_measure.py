"""The batched engine against plain autograd, one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import SAMPLES
from support.oracle import (
    CPU,
    TWO_BATCHES,
    assert_exact,
    case_gradients,
    measured_case,
    options,
    planned_case,
    run,
    source,
)
from torch import Tensor
from torch.utils import _pytree as pytree

from cohaudit.gradients import measure
from cohaudit.gradients.forms.dense import Dense
from cohaudit.gradients.passes import reading
from cohaudit.gradients.residuals import logits_of, random_combination
from cohaudit.gradients.sketch import make_projections
from cohaudit.gradients.tracing.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")


@pytest.mark.parametrize("name", ALL_CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_norms_and_sums_are_those_of_autograd(name: str, dtype: torch.dtype, tolerance: float) -> None:
    assert_exact(measured_case(name, dtype), case_gradients(name, dtype), tolerance)


@pytest.mark.parametrize("name", ALL_CASES)
def test_sketches_are_those_of_the_loss_and_of_a_combination_of_the_logits(name: str) -> None:
    model, inputs, plan = planned_case(name)
    measured = measured_case(name)
    loss_gradients = case_gradients(name)
    scale = measured.scale[:, None]
    sketches = sketched(plan, [loss_gradients[parameter] for parameter in plan.parameters])
    atol = 1e-7 * np.abs(sketches).max()
    np.testing.assert_allclose(measured.sketches * scale, sketches, rtol=1e-6, atol=atol)
    combined = []
    for i in range(SAMPLES):
        one = pytree.tree_map(lambda t, i=i: t[i : i + 1], inputs)
        logits = logits_of(model(*one) if isinstance(one, tuple) else model(one))
        direction = random_combination(logits, 0)
        combined.append(
            torch.autograd.grad(
                logits,
                list(plan.parameters.values()),
                direction,
                allow_unused=True,
                materialize_grads=True,
            )
        )
    rows = sketched(plan, [torch.stack(gradients) for gradients in zip(*combined, strict=True)])
    assert measured.jacobian_sketches is not None
    np.testing.assert_allclose(measured.jacobian_sketches, rows, rtol=1e-5, atol=1e-6 * np.abs(rows).max())


def sketched(plan: Plan, gradients: list[Tensor]) -> np.ndarray:
    """Return the sketches of whole gradients, one [samples, *shape] per parameter, as `options` has them."""
    projections = make_projections(plan.parameters, options().sketch_size, options().seed)
    parts = [Dense(g).sketch(p) for g, p in zip(gradients, projections.values(), strict=True)]
    return torch.cat(parts, 1).numpy()


@pytest.mark.parametrize("name", ["perceptron", "ResNet", "LSTM"])
def test_the_label_free_measurement_changes_nothing_else(name: str) -> None:
    plain = run(*make(name), **TWO_BATCHES)
    measured = measured_case(name)
    assert plain.jacobian_sketches is None
    np.testing.assert_array_equal(plain.sketches, measured.sketches)
    np.testing.assert_array_equal(plain.squared_norms, measured.squared_norms)


@pytest.mark.parametrize("name", ["residual with in-place addition", "LSTM", "class token and positions"])
def test_batch_size_changes_nothing(name: str) -> None:
    model, inputs = make(name)
    whole, single = run(model, inputs, batch_size=SAMPLES), run(model, inputs, batch_size=1)
    np.testing.assert_allclose(whole.squared_norms, single.squared_norms, rtol=1e-9)
    np.testing.assert_allclose(whole.class_squares, single.class_squares, rtol=1e-9)
    np.testing.assert_allclose(whole.sketches, single.sketches, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["conv2d grouped", "linear over many narrow positions: whole gradients", "one layer called three times"],
)
def test_pieces_of_a_batch_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make(name)
    whole = run(model, inputs)
    monkeypatch.setattr(reading, "CACHE_BYTES", 8)
    pieces = run(model, inputs)
    np.testing.assert_allclose(pieces.squared_norms, whole.squared_norms, rtol=1e-12)
    np.testing.assert_allclose(pieces.class_squares, whole.class_squares, rtol=1e-12)
    np.testing.assert_allclose(pieces.sketches, whole.sketches, rtol=1e-5, atol=1e-7)


def test_measuring_is_deterministic() -> None:
    model, inputs = make("residual with in-place addition", torch.float32)
    first, second = run(model, inputs), run(model, inputs)
    assert first.sketches.tobytes() == second.sketches.tobytes()
    assert first.squared_norms.tobytes() == second.squared_norms.tobytes()


def test_measure_reports_every_sample_once() -> None:
    model, inputs = make("perceptron")
    seen: list[int] = []
    measure(model, source(inputs), options(), CPU, seen.append)
    assert seen == [4, 4, 1]
