"""The ways to get per-sample gradients that torch alone offers, and cohaudit's own.

A method is prepared once for a workload and then run as often as needed. Each run goes over all samples
and returns what it found: every sample's squared gradient norm and, where the method can, the squared
norm of every class's gradient sum. Samples come sorted by class, so one sum in memory is enough for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.shared.measuring import default_options, silent, source_of
from benchmarks.shared.workloads import Workload
from cohaudit.gradients import Measurement, measure, observe
from cohaudit.gradients.precision import backward_in_eval_mode

CHUNK_BYTES = 2**29
"""Memory that the explicit gradients of one chunk may take on the vmap path, on the CPU."""
GPU_CHUNK_BYTES = 2**33
"""The same on a GPU."""


@dataclass(frozen=True)
class Found:
    """What a pass over the data gives.

    Attributes:
        norms: Squared norm of each sample's gradient, [samples]; None for plain training passes.
        classes: Squared norm of each class's gradient sum, [classes]; None where the method has none.
        extras: Further figures for the row of the results.
    """

    norms: Tensor | None = None
    classes: Tensor | None = None
    extras: Mapping[str, Any] | None = None


Pass: TypeAlias = Callable[[Workload], Found]
"""Goes over a workload's data with a model that was prepared before."""
Method: TypeAlias = Callable[[Workload], Pass]
"""Prepares a pass: wraps the model, registers hooks."""


class Sums:
    """Squared norms per sample and parameter, and per class the squared norm of the gradient sum."""

    def __init__(self, named: Iterable[tuple[str, Tensor]], classes: int) -> None:
        self._sums = {name: torch.zeros_like(p) for name, p in named}
        self._classes = torch.zeros(classes, dtype=torch.float64)
        self._norms: list[Tensor] = []
        self._current = -1

    def add(self, gradients: Mapping[str, Tensor], labels: Tensor) -> None:
        """Add a batch of explicit gradients, name → [batch, *shape]; its labels continue the last one's."""
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        self._norms.append(torch.stack(squares, 1).double().cpu())
        values, counts = labels.unique_consecutive(return_counts=True)
        stop = 0
        for label, count in zip(values.tolist(), counts.tolist(), strict=True):
            start = stop
            stop = stop + count
            if label != self._current:
                self._close()
                self._current = label
            for name, gradient in gradients.items():
                self._sums[name] += gradient[start:stop].sum(0)

    def _close(self) -> None:
        if self._current >= 0:
            self._classes[self._current] = sum(s.double().square().sum().item() for s in self._sums.values())
            for total in self._sums.values():
                total.zero_()

    def found(self) -> Found:
        """Return what was added up."""
        self._close()
        return Found(torch.cat(self._norms).sum(1), self._classes)


def plain(workload: Workload, bf16: bool = False) -> Pass:
    """Forward and backward, as in training: the yardstick."""
    model = workload.model
    recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]

    def run(data: Workload) -> Found:
        for module in recurrent:
            module.train()  # cuDNN's have no backward pass in eval mode
        try:
            for x, y in data.batches():
                with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
                    loss = F.cross_entropy(model(x.to(data.device)), y.to(data.device))
                loss.backward()
                model.zero_grad()
        finally:
            for module in recurrent:
                module.eval()
        return Found()

    return run


def cohaudit(workload: Workload, bf16: bool = False) -> Pass:
    """Run the whole measuring pass with the default settings: norms, class sums, sketches, certificate."""
    options = default_options(batch_size=workload.batch_size, bf16=bf16)

    def run(data: Workload) -> Found:
        source = source_of(data.inputs, data.labels, data.classes)
        result = measure(workload.model, source, options, data.device, silent)
        return Found(
            torch.from_numpy(result.squared_norms.sum(1)),
            torch.from_numpy(result.class_squares.sum(1)),
            {"result_mb": _size(result) / 2**20},
        )

    return run


def _size(result: Measurement) -> int:
    """Return the bytes of the arrays that a measurement keeps."""
    return sum(getattr(getattr(result, field.name), "nbytes", 0) for field in fields(result))


def vmap_grad(workload: Workload) -> Pass:
    """Explicit per-sample gradients by torch.func, as many at a time as memory allows."""
    model = workload.model
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    size = sum(p.numel() * p.element_size() for p in parameters.values())

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, values, (x[None],)), y[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))

    def run(data: Workload) -> Found:
        sums = Sums(parameters.items(), data.classes)
        chunk = max(1, (CHUNK_BYTES if data.device.type == "cpu" else GPU_CHUNK_BYTES) // size)
        for x, y in data.batches():
            for x_part, y_part in zip(x.split(chunk), y.split(chunk), strict=True):
                # fused attention has no vmap rule; its plain form has
                with sdpa_kernel(SDPBackend.MATH), backward_in_eval_mode(model, data.device):
                    gradients = per_sample(parameters, x_part.to(data.device), y_part.to(data.device))
                sums.add(gradients, y_part)
        return sums.found()

    return run


def loop(workload: Workload) -> Pass:
    """One sample at a time by plain autograd."""
    model: nn.Module = workload.model
    named = dict(model.named_parameters())

    def run(data: Workload) -> Found:
        sums = Sums(named.items(), data.classes)
        for x, y in zip(data.inputs.split(1), data.labels.split(1), strict=True):
            with backward_in_eval_mode(model, data.device):
                loss = F.cross_entropy(model(x.to(data.device)), y.to(data.device))
            gradients = torch.autograd.grad(loss, list(named.values()))
            sums.add({name: g[None] for name, g in zip(named, gradients, strict=True)}, y)
        return sums.found()

    return run


def observing(workload: Workload, *, sums: bool) -> Pass:
    """Run the pass of a scan that measures no single gradient; with the classes' gradient sums or without."""
    options = default_options(batch_size=workload.batch_size)

    def run(data: Workload) -> Found:
        source = source_of(data.inputs, data.labels, data.classes)
        seen = observe(workload.model, source, options, data.device, silent, sums=sums)
        return Found(None, None if seen.sums is None else torch.from_numpy(seen.sums.class_squares.sum(1)))

    return run
