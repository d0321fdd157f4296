"""The pass without gradients of single samples: against plain autograd, and the pass that has them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from support.cases import ALL_CASES, make
from support.networks import CLASSES, SAMPLES
from support.oracle import (
    CPU,
    LABELS,
    case_gradients,
    layer_squares,
    measured_case,
    options,
    oracle,
    planned_case,
    run,
    source,
)
from torch import Tensor, nn

from cohaudit.gradients import GradientSums, Observation, observe
from cohaudit.gradients.passes import observe as observe_module
from cohaudit.gradients.passes.resume_protocol import Arrays, PassState, ResumeState

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),  # RMSNorm under autocast
]


def seen(model: nn.Module, inputs: Any, *, sums: bool = True, classes: int = CLASSES, **changed: Any) -> Any:
    store = changed.pop("store", None)
    return observe(
        model,
        source(inputs, classes=classes),
        options(**changed),
        CPU,
        lambda count: None,
        sums=sums,
        store=store,
    )


def seen_case(name: str, monkeypatch: pytest.MonkeyPatch) -> Observation:
    """Return what the pass sees of a case in float64, by the plan that other tests have made."""
    model, inputs, plan = planned_case(name)
    monkeypatch.setattr(observe_module, "prepare", lambda *_: plan)
    found: Observation = seen(model, inputs)
    return found


def assert_sums(found: Observation, grads: dict[str, Tensor], tolerance: float) -> GradientSums:
    """Check the classes' sums; samples have the gradients `grads`, [samples, *shape] each."""
    grads = {name: g.double() for name, g in grads.items()}
    assert found.sums is not None
    per_class = layer_squares(
        found.forward,
        grads,
        lambda g: torch.stack([g[c == LABELS].sum(0) for c in range(CLASSES)]),
    )
    atol = tolerance * per_class.max()
    np.testing.assert_allclose(found.sums.class_squares, per_class, rtol=tolerance, atol=atol)
    total = layer_squares(found.forward, grads, lambda g: g.sum(0, keepdim=True))[0]
    np.testing.assert_allclose(found.sums.total_squares, total, rtol=tolerance, atol=tolerance * total.max())
    return found.sums


@pytest.mark.parametrize("name", ALL_CASES)
def test_sums_are_those_of_autograd_and_of_the_samples_gradients(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen_case(name, monkeypatch)
    sums = assert_sums(found, case_gradients(name), 1e-10)
    measured = measured_case(name)
    atol = 1e-6 * np.abs(measured.class_sketches).max()
    np.testing.assert_allclose(sums.class_sketches, measured.class_sketches, rtol=1e-5, atol=atol)
    gram = measured.class_gram
    np.testing.assert_allclose(sums.class_gram, gram, rtol=1e-4, atol=1e-5 * gram.max())
    for score in ("scale", "loss", "margin", "probability"):
        expected = getattr(measured, score)
        np.testing.assert_allclose(getattr(found.forward, score), expected, rtol=1e-9, atol=1e-12)
    assert (found.forward.predicted == measured.predicted).all()
    assert [view.layer for view in found.forward.views] == [view.layer for view in measured.views]
    for view, other in zip(found.forward.views, measured.views, strict=True):
        np.testing.assert_allclose(view.rows, other.rows, rtol=1e-6, atol=1e-7)


# a recurrent layer runs step by step where the gradients of single samples are measured
@pytest.mark.parametrize("name", ["perceptron", "ResNet", "GPT", "activation checkpointing"])
@pytest.mark.parametrize("sums", [True, False])
def test_views_and_answers_are_bit_identical_on_equal_batches(name: str, sums: bool) -> None:
    model, inputs = make(name, torch.float32)
    # batches of a sample each: what a sample's numbers are must not depend on the pass
    found = seen(model, inputs, sums=sums, batch_size=1)
    measured = run(model, inputs, batch_size=1)
    assert (found.sums is None) == (not sums)
    for score in ("scale", "loss", "margin", "probability", "predicted"):
        np.testing.assert_array_equal(getattr(found.forward, score), getattr(measured, score))
    for view, other in zip(found.forward.views, measured.views, strict=True):
        np.testing.assert_array_equal(view.rows, other.rows)


@pytest.mark.parametrize("name", ["perceptron", "LSTM", "ViT", "conv2d", "batch norm 2d"])
def test_in_bfloat16_sums_are_off_by_no_more_than_rounding(name: str) -> None:
    model, inputs = make(name, torch.float32)
    found = seen(model, inputs, bf16=True)
    assert_sums(found, case_gradients(name), 0.1)
    exact = seen(model, inputs)
    # the loss is not rounded
    np.testing.assert_allclose(found.forward.loss, exact.forward.loss, rtol=1e-5)


class Looped(nn.Module):
    """A network that takes gradients in its own forward pass, so that its calls cannot be watched."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Linear(4, 1).double()
        self.head = nn.Linear(4, CLASSES).double()

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (moved,) = torch.autograd.grad(self.energy(x).square().sum(), x, create_graph=True)
        out: Tensor = self.head(x - moved)
        return out


class Single(nn.Module):
    """A network with one output."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.body = nn.Linear(4, 1).double()
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out[:, 0] if self.flat else out


def test_a_network_that_takes_gradients_itself_is_summed_too() -> None:
    torch.manual_seed(0)
    model, inputs = Looped().eval(), torch.randn(SAMPLES, 4).double()
    assert_sums(seen(model, inputs), oracle(model, inputs), 1e-10)


@pytest.mark.parametrize("flat", [True, False])
def test_a_single_output_is_the_logit_of_the_second_class(flat: bool) -> None:
    torch.manual_seed(0)
    model, inputs = Single(flat).eval(), torch.randn(SAMPLES, 4).double()
    labels = np.minimum(LABELS, 1)
    found = observe(model, source(inputs, labels, 2), options(), CPU, lambda count: None, sums=True)
    assert found.sums is not None
    z = model(inputs).reshape(-1)
    loss = nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(labels).double(), reduction="sum")
    (weight, bias) = torch.autograd.grad(loss, list(model.parameters()))
    assert found.sums.total_squares[0] == pytest.approx(float(weight.square().sum() + bias.square().sum()))
    assert found.forward.probability[:, 1] == pytest.approx(torch.sigmoid(z).detach().numpy(), rel=1e-6)


def test_gradients_of_a_sparse_embedding_are_summed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(11, 4, sparse=True), nn.Linear(4, CLASSES)).double().eval()
    inputs = torch.randint(11, (SAMPLES, 5))
    dense = nn.Sequential(nn.EmbeddingBag(11, 4), nn.Linear(4, CLASSES)).double().eval()
    dense.load_state_dict(model.state_dict())
    assert_sums(seen(model, inputs), oracle(dense, inputs), 1e-10)


class Interrupting:
    """Interrupts a pass after a few batches, and gives what it kept to the next one."""

    def __init__(self, batches: int) -> None:
        self.left = batches
        self.kept: PassState | None = None

    def load(self, restore: Callable[[ResumeState], None]) -> None:
        if self.kept is not None:
            state = self.kept
            rows: list[tuple[int, int, Arrays]] = [(0, state.done, state.rows(0, state.done))]
            restore(ResumeState(state.done, state.sums, state.metadata, rows))

    def watching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def maybe_save(self, state: Callable[[], PassState]) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def keep(self, state: PassState) -> None:
        arrays = {name: array.copy() for name, array in state.sums.items()}
        self.kept = PassState(state.done, arrays, state.metadata, state.rows, state.row_bytes)


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("batches", [1, 2, 4])
def test_an_interrupted_pass_continues_to_the_same_bits(sums: bool, batches: int) -> None:
    model, inputs = make("ResNet", torch.float32)
    store = Interrupting(batches)
    with pytest.raises(KeyboardInterrupt):
        seen(model, inputs, sums=sums, batch_size=2, store=store)
    assert store.kept is not None
    assert 0 < store.kept.done < SAMPLES
    resumed = seen(model, inputs, sums=sums, batch_size=2, store=store)
    whole = seen(model, inputs, sums=sums, batch_size=2)
    for score in ("scale", "loss", "margin", "probability", "predicted"):
        np.testing.assert_array_equal(getattr(resumed.forward, score), getattr(whole.forward, score))
    for view, other in zip(resumed.forward.views, whole.forward.views, strict=True):
        np.testing.assert_array_equal(view.rows, other.rows)
    if sums:
        for part in ("class_squares", "class_sketches", "total_squares", "class_gram"):
            np.testing.assert_array_equal(getattr(resumed.sums, part), getattr(whole.sums, part))
