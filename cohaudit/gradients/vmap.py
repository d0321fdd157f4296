"""Per-sample gradients of a call without a closed form: its own vector-Jacobian product, under vmap."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from cohaudit.errors import EngineError
from cohaudit.gradients.tracing.intercept import Call
from cohaudit.gradients.tracing.plan import Batch, Use


class UnsupportedCallError(EngineError):
    """A call that the vmap path cannot express.

    Args:
        key: The call.
        parameters: Names of the parameters behind it.
        error: What torch said.
    """

    def __init__(self, key: str, parameters: frozenset[str], error: Exception) -> None:
        self.parameters = parameters
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(key, f"torch cannot vmap it: {first_line}", "measure its parameters by the loop")


class VmapVjp:
    """One call on the vmap path: its arguments, the gradients that reach its outputs, and the way back."""

    def __init__(
        self, use: Use, kept: Call, weights: Mapping[int, str], outputs: list[Any], samples: int
    ) -> None:
        self.weights = weights
        self._use = use
        self._kept = kept
        self._samples = samples
        self._outputs = [k for k, leaf in enumerate(outputs) if is_float(leaf) and use.outputs[k]]
        self._gradients = {k: torch.zeros_like(outputs[k]) for k in self._outputs}
        self._formed: tuple[int, int, dict[int, Tensor]] | None = None

    def reset(self) -> None:
        """Forget the gradients, for another backward pass."""
        self._gradients = {k: torch.zeros_like(g) for k, g in self._gradients.items()}
        self._formed = None

    def receive(self, position: int, gradient: Tensor) -> None:
        """Take in the gradient at one output."""
        if position in self._gradients:
            self._gradients[position] = gradient

    def __call__(self, position: int, start: int, stop: int) -> Tensor:
        """Return the gradients of the weight at this position, for the samples start..stop-1.

        Raises:
            UnsupportedCallError: If torch cannot form them.
        """
        if self._formed is None or self._formed[:2] != (start, stop):
            try:
                self._formed = (start, stop, self._form(start, stop))
            except (RuntimeError, ValueError, TypeError) as error:
                behind = frozenset(name for names in self._use.weights.values() for name in names)
                raise UnsupportedCallError(self._kept.key, behind, error) from error
        return self._formed[2][position]

    def _rows(self, tensor: Tensor, batch: Batch, start: int, stop: int) -> Tensor:
        """Return the samples start..stop-1 of a tensor, [samples, as the call sees it for one sample]."""
        return batch.split(tensor.detach(), self._samples)[start:stop]

    def _form(self, start: int, stop: int) -> dict[int, Tensor]:
        use = self._use
        leaves = self._kept.leaves
        batched = [i for i, batch in enumerate(use.inputs) if batch is not None]
        own = {i: leaves[i] for i in self.weights}
        numbers = {i: leaves[i] // self._samples for i in use.numbers}

        def one_sample(tensors: list[Tensor], cotangents: list[Tensor]) -> dict[int, Tensor]:
            def forward(weights: dict[int, Tensor]) -> list[Tensor]:
                changed = dict(zip(batched, (t.clone() for t in tensors), strict=True))
                made = self._kept.with_leaves(numbers | changed | weights)
                out = pytree.tree_leaves(made.run())
                return [out[k] for k in self._outputs]

            made: Any = vjp(forward, own)
            given = [g.to(output.dtype) for g, output in zip(cotangents, made[0], strict=True)]
            pulled: dict[int, Tensor] = made[1](given)[0]
            return pulled

        tensors = [self._rows(leaves[i], _known(use.inputs[i]), start, stop) for i in batched]
        gradients = self._gradients.items()
        cotangents = [self._rows(g, _known(use.outputs[k]), start, stop) for k, g in gradients]
        # fused attention has no vmap rule, its plain form has; where others lack one, torch loops and says so
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", "There is a performance drop")
            formed: dict[int, Tensor] = vmap(one_sample, randomness="error")(tensors, cotangents)
        return {i: t.detach() for i, t in formed.items()}


def _known(batch: Batch | None) -> Batch:
    assert batch is not None
    return batch


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floating point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()
