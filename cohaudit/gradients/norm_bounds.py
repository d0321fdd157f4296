"""How long a sample's gradient can be, from a backward pass that forms the gradient of no single sample.

With δ the gradient at a layer's output and a the layer's input, both over all positions, ‖δ‖²‖a‖² bounds the
squared norm of a sample's gradient in the layer, and is equal to it where there is one position.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from cohaudit.gradients.precision import widest_float
from cohaudit.gradients.sketch import full
from cohaudit.gradients.tracing.intercept import Call
from cohaudit.gradients.tracing.plan import Batch, Use
from cohaudit.gradients.vmap import is_float


class NormBounds:
    """Adds up the bounds of the layers during one backward pass.

    Args:
        samples: Samples in the batch.
        device: Device of the model.

    Attributes:
        squares: Σ_l ‖δ_i^l‖² ‖a_i^l‖² of the layers that the pass has reached, [samples], on the device.
    """

    def __init__(self, samples: int, device: torch.device) -> None:
        self._samples = samples
        self.squares = torch.zeros(samples, dtype=widest_float(device), device=device)

    def watch(self, made: Call, use: Use, output: Any) -> None:
        """Watch the gradient that will reach a call's output; a call of another kind adds nothing.

        Args:
            made: The call.
            use: How the plan measures it.
            output: What it returned.
        """
        given = use.inputs[0] if use.inputs else None
        result = use.outputs[0] if use.outputs else None
        if given is None or result is None or not is_float(output) or not output.requires_grad:
            return
        x = made.leaves[0]
        # a table's rows are looked up, not multiplied
        length = self._lengths(x.detach(), given) if is_float(x) else torch.ones_like(self.squares)
        output.register_hook(partial(self._add, result, length))

    def _lengths(self, x: Tensor, batch: Batch) -> Tensor:
        rows = batch.samples_first(x, self._samples).reshape(self._samples, -1)
        # in the numbers' own precision, a fifth of the time of float64: a square that underflows is
        # of a sample with no share in any sum
        return full(torch.linalg.vector_norm(rows, dim=1)).to(self.squares)

    def _add(self, batch: Batch, length: Tensor, gradient: Tensor) -> None:
        self.squares += (self._lengths(gradient.detach(), batch) * length).square()
