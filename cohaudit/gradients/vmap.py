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
        key: Key of the call.
        parameters: Names of the parameters behind it.
        error: Error that torch raised.
    """

    def __init__(self, key: str, parameters: frozenset[str], error: Exception) -> None:
        self.parameters = parameters
        first_line = str(error).strip().partition("\n")[0]
        super().__init__(key, f"torch cannot vmap it: {first_line}", "measure its parameters by the loop")


class VmapVjp:
    """One call on the vmap path: its arguments, the gradients that reach its outputs, and its way back.

    Args:
        use: Where the samples stand in its arguments and outputs.
        stored: The call, on detached arguments.
        weights: Position among the arguments → label of the weight there.
        samples: Samples in the batch.
        gradients: Position among the outputs → gradient there; zero for an output that nothing depends on.
    """

    def __init__(
        self,
        use: Use,
        stored: Call,
        weights: Mapping[int, str],
        samples: int,
        gradients: dict[int, Tensor],
    ) -> None:
        self.weights = weights
        self._use = use
        self._stored = stored
        self._samples = samples
        self._gradients = gradients
        self._formed: tuple[int, int, dict[int, Tensor]] | None = None

    def reset(self) -> None:
        """Set the gradients to zero for another backward pass."""
        self._gradients = {k: torch.zeros_like(g) for k, g in self._gradients.items()}
        self._formed = None

    def receive(self, position: int, gradient: Tensor) -> None:
        """Store the gradient at one output."""
        # an output that does not follow the batch is not measured
        if position in self._gradients:
            self._gradients[position] = gradient

    def __call__(self, position: int, start: int, stop: int) -> Tensor:
        """Return the gradients of the weight at this position, for the samples start..stop-1.

        Raises:
            UnsupportedCallError: If torch cannot form them.
        """
        # one vjp gives the gradients of all weights of the call, which are asked for one after the other
        if self._formed is None or self._formed[:2] != (start, stop):
            try:
                self._formed = (start, stop, self._form(start, stop))
            except (RuntimeError, ValueError, TypeError) as error:
                behind = frozenset(name for names in self._use.weights.values() for name in names)
                raise UnsupportedCallError(self._stored.key, behind, error) from error
        return self._formed[2][position]

    def _rows(self, tensor: Tensor, batch: Batch, start: int, stop: int) -> Tensor:
        """Return the samples start..stop-1 of a tensor, [samples, as the call sees it for one sample]."""
        return batch.split(tensor.detach(), self._samples)[start:stop]

    def _form(self, start: int, stop: int) -> dict[int, Tensor]:
        use = self._use
        leaves = self._stored.leaves
        batched = [i for i, batch in enumerate(use.inputs) if batch is not None]
        own = {i: leaves[i] for i in self.weights}
        # an argument such as batch × positions, for a batch of one
        numbers = {i: leaves[i] // self._samples for i in use.numbers}

        def one_sample(tensors: list[Tensor], cotangents: list[Tensor]) -> dict[int, Tensor]:
            def forward(weights: dict[int, Tensor]) -> list[Tensor]:
                # clones: a function that works in place must not change what the next one sees
                changed = dict(zip(batched, (t.clone() for t in tensors), strict=True))
                made = self._stored.with_leaves(numbers | changed | weights)
                out = pytree.tree_leaves(made.run())
                return [out[k] for k in self._gradients]

            outputs, pull_back = vjp(forward, own)[:2]
            typed = [g.to(output.dtype) for g, output in zip(cotangents, outputs, strict=True)]
            gradients: dict[int, Tensor] = pull_back(typed)[0]
            return gradients

        tensors = [self._rows(leaves[i], _known(use.inputs[i]), start, stop) for i in batched]
        gradients = self._gradients.items()
        cotangents = [self._rows(g, _known(use.outputs[k]), start, stop) for k, g in gradients]
        # fused attention has no vmap rule, its plain form has one; for others without a rule torch loops and
        # warns
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings(), torch.enable_grad():
            warnings.filterwarnings("ignore", "There is a performance drop")
            # an error for random numbers: they would not be those of the forward pass
            formed: dict[int, Tensor] = vmap(one_sample, randomness="error")(tensors, cotangents)
        return {i: t.detach() for i, t in formed.items()}


def make_vjp(use: Use, stored: Call, weights: Mapping[int, str], outputs: list[Any], samples: int) -> VmapVjp:
    """Return the way back of a call.

    Args:
        use: Where the samples stand in its arguments and outputs.
        stored: The call, on detached arguments.
        weights: Position among the arguments → label of the weight there.
        outputs: What it returned, flattened.
        samples: Samples in the batch.
    """
    positions = [k for k, leaf in enumerate(outputs) if is_float(leaf) and use.outputs[k]]
    return VmapVjp(use, stored, weights, samples, {k: torch.zeros_like(outputs[k]) for k in positions})


def _known(batch: Batch | None) -> Batch:
    assert batch is not None
    return batch


def is_float(value: Any) -> bool:
    """Return whether a value is a tensor of floating point numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()
