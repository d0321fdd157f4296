"""Collects the gradients of a batch from the calls that used a parameter, and hands them on when complete."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from cohaudit.gradients.forms.per_sample import Lazy, PerSample, add
from cohaudit.gradients.forms.views import through_view
from cohaudit.gradients.residuals import Residuals
from cohaudit.gradients.tracing.plan import Plan


class GradientCollector:
    """Adds up the gradients of each parameter over its uses, and reports it after the last one.

    A parameter is reported as soon as it is complete, so that its gradients need not wait in memory for the
    end of the backward pass.

    Args:
        plan: How many uses each parameter has, and which parameters are behind a derived weight.
        samples: Samples in the batch.
    """

    def __init__(self, plan: Plan, samples: int) -> None:
        self._plan = plan
        self._samples = samples
        self._pending: dict[str, list[PerSample]] = {}
        self._report: Callable[[str, PerSample], None] = _refuse
        self._sources: Mapping[str, Tensor] = {}

    def begin(
        self,
        consume: Callable[[str, PerSample, Residuals], None],
        residuals: Residuals,
        sources: Mapping[str, Tensor],
    ) -> None:
        """Begin a backward pass.

        Args:
            consume: Receives each parameter's gradients.
            residuals: Residuals of the batch, handed on to `consume`.
            sources: Label of a weight → the weight in autograd's graph; see `Interceptor.sources`.
        """
        self._report = lambda name, form: consume(name, form, residuals)
        self._sources = sources

    def collect(self, label: str, form: PerSample) -> None:
        """Collect the gradients of a weight from one use, for each parameter behind it."""
        for name in self._plan.behind[label]:
            # the loop measures all uses of a parameter together, also those with a closed form; what was not
            # chosen is not measured, though its layer may be
            if name in self._plan.unwatched_gradients:
                continue
            forms = self._pending.setdefault(name, [])
            forms.append(form if label == name else self._through(label, name, form))
            if len(forms) == self._plan.uses_of_parameters[name]:
                self._release(name)

    def finish(self) -> None:
        """Report the parameters of which the backward pass did not reach every use."""
        for name in list(self._pending):
            self._release(name)

    def _through(self, label: str, name: str, form: PerSample) -> PerSample:
        """Return a parameter's gradients from those of a weight derived from it."""
        weight = self._sources[label]
        parameter = self._sources[name]
        as_view = through_view(form, weight, parameter)
        if as_view is not None:
            return as_view
        # a function of the weight (a norm, a product) mixes its entries: gradients must be formed
        return Lazy(partial(_derivative, form, weight, parameter), 0, self._samples)

    def _release(self, name: str) -> None:
        with torch.no_grad():
            self._report(name, add(self._pending.pop(name)))


def _derivative(form: PerSample, weight: Tensor, parameter: Tensor, start: int, stop: int) -> Tensor:
    """Return a parameter's gradients for some samples, by the chain rule from those of a derived weight."""
    at_weight = form.rows(start, stop).dense().gradients.to(weight)
    with torch.enable_grad(), warnings.catch_warnings():
        # an operation without a batching rule is looped over by torch: slower, and just as right
        warnings.filterwarnings("ignore", "There is a performance drop")
        # the graph of a derived weight serves every part of the batch, and a second backward pass
        (gradients,) = torch.autograd.grad(
            weight, parameter, at_weight, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
    return gradients if gradients is not None else parameter.new_zeros(len(at_weight), *parameter.shape)


def _refuse(name: str, form: PerSample) -> None:
    raise AssertionError(f"gradients of {name} before the backward pass")
