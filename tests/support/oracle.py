"""Per-sample gradients by plain autograd, one sample at a time, which the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.cases import make
from support.networks import CLASSES
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients import Measurement, Options, Source, measure
from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.residuals import logits_of
from cohaudit.gradients.tracing.plan import Plan

CPU = torch.device("cpu")
LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0])
TWO_BATCHES: dict[str, Any] = {"batch_size": 5, "certificate_samples": 1}


def options(**changed: Any) -> Options:
    settings: dict[str, Any] = {
        "batch_size": 4,
        "temperature": 1.0,
        "sketch_size": 60,
        "sketch_memory": 64,
        "feature_size": 1024,
        "class_memory": 64,
        "certificate_samples": 3,
        "certificate_tolerance": 1e-3,
        "seed": 0,
    }
    return Options(**(settings | changed))


def source(inputs: Any, labels: Any = LABELS, classes: int = CLASSES) -> Source:
    return Source(
        lambda indices: pytree.tree_map(lambda t: t[list(indices)], inputs),
        np.asarray(labels),
        [f"s{i}" for i in range(len(labels))],
        [f"c{i}" for i in range(classes)],
    )


def run(model: nn.Module, inputs: Any, **changed: Any) -> Measurement:
    device = next(model.parameters()).device
    return measure(model, source(inputs), options(**changed), device, lambda count: None)


def oracle(model: nn.Module, inputs: Any, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return name → [samples, *shape], each sample's loss gradient alone, by plain autograd."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for i, label in enumerate(LABELS):
        one = pytree.tree_map(lambda t, i=i: t[i : i + 1], inputs)
        logits = logits_of(model(*one) if isinstance(one, tuple) else model(one))
        loss = F.cross_entropy(logits / temperature, torch.tensor([label], device=logits.device))
        rows.append(torch.autograd.grad(loss, list(named.values()), allow_unused=True))
    return {
        name: torch.stack([torch.zeros_like(p) if row[k] is None else row[k] for row in rows])
        for k, (name, p) in enumerate(named.items())
    }


@cache
def planned_case(name: str) -> tuple[nn.Module, Any, Plan]:
    """Return a case's network in float64, its inputs and its plan, once per process: tests only read."""
    model, inputs = make(name)
    return model, inputs, prepare(model, source(inputs), CPU)


@cache
def measured_case(name: str, dtype: torch.dtype = torch.float64, bf16: bool = False) -> Measurement:
    """Return a case's measurement, once per process: tests only read it.

    In float64 it is label-free too, and by the plan of `planned_case`, so that little is computed twice. In
    bfloat16 the certificate bounds a median, for which one sample is not enough.
    """
    if dtype == torch.float64:
        model, inputs, plan = planned_case(name)
        with patch("cohaudit.gradients.passes.measure.prepare", return_value=plan):
            return run(model, inputs, label_free=True, **TWO_BATCHES)
    model, inputs = make(name, dtype)
    return run(model, inputs, bf16=True) if bf16 else run(model, inputs, **TWO_BATCHES)


@cache
def case_gradients(name: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return the `oracle` of a case, once per process: tests only read it."""
    return oracle(*make(name, dtype))


def layer_squares(
    measured: Measurement, grads: dict[str, Tensor], reduce: Callable[[Tensor], Tensor]
) -> np.ndarray:
    """Return reduce(gradients), squared and summed over each layer's parameters, [..., layers]."""
    totals = []
    for layer in measured.layers:
        own = [g for n, g in grads.items() if owner(n) == layer.name]
        totals.append(sum(reduce(g).reshape(len(reduce(g)), -1).square().sum(1) for g in own).cpu().numpy())
    return np.stack(totals, -1)


def owner(name: str) -> str:
    return name.replace(".parametrizations.weight", "").rpartition(".")[0] or "(model)"


def assert_exact(measured: Measurement, grads: dict[str, Tensor], tolerance: float) -> None:
    grads = {n: g.double().cpu() for n, g in grads.items()}
    expected = layer_squares(measured, grads, lambda g: g)
    np.testing.assert_allclose(
        measured.squared_norms, expected, rtol=tolerance, atol=tolerance * expected.max()
    )
    per_class = layer_squares(
        measured, grads, lambda g: torch.stack([g[c == LABELS].sum(0) for c in range(CLASSES)])
    )
    np.testing.assert_allclose(
        measured.class_squares, per_class, rtol=tolerance, atol=tolerance * per_class.max()
    )
    total = layer_squares(measured, grads, lambda g: g.sum(0, keepdim=True))[0]
    np.testing.assert_allclose(measured.total_squares, total, rtol=tolerance, atol=tolerance * total.max())
    flat = torch.cat([g.reshape(len(g), -1) for g in grads.values()], 1)
    sums = torch.stack([flat[c == LABELS].sum(0) for c in range(CLASSES)])
    # the classes' sums are kept in float32
    np.testing.assert_allclose(
        measured.class_gram, sums @ sums.T, rtol=1e-4, atol=1e-5 * float((sums @ sums.T).max())
    )


def refusal(model: nn.Module, inputs: Any, kind: type[Exception] = EngineError) -> str:
    """Return the message with which a model is refused."""
    with pytest.raises(kind) as caught:
        run(model.double().eval(), inputs)
    return str(caught.value)
