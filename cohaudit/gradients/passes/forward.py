"""Class probabilities of a network, by forward passes alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.errors import EngineError
from cohaudit.gradients.checks.failures import attribute_batch_failure
from cohaudit.gradients.checks.probe import to_model
from cohaudit.gradients.pass_setup import Source
from cohaudit.gradients.precision import full_precision
from cohaudit.gradients.residuals import class_logits, class_probability, logits_of
from cohaudit.gradients.tracing.trace import call, every_module_called

MAX_NAMED_LOGITS = 10
"""Logits that an error message lists."""


@full_precision()
def answers(
    model: nn.Module,
    source: Source,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the class probabilities that `measure` returns as `Measurement.probability`, without gradients.

    Args:
        model: On `device`, in eval mode.
        source: The samples.
        batch_size: Samples per forward pass.
        device: Device to run on.
        advance: Called with the number of samples done.

    Returns:
        Probability of each class at temperature 1, [samples, classes].

    Raises:
        ModelError: If the model fails on a sample.
        EngineError: If a logit is not finite, or memory does not suffice.
    """
    probability = np.zeros((len(source.labels), len(source.class_names)), dtype=np.float32)
    for start in range(0, len(probability), batch_size):
        indices = list(range(start, min(start + batch_size, len(probability))))
        with attribute_batch_failure(model, source, indices, device, batch_size=batch_size):
            inputs = to_model(source.load(indices), model, device)
            # the same operations as in `measure`: fused layers would round differently
            with torch.no_grad(), every_module_called():
                logits = class_logits(logits_of(call(model, inputs)))
        # refused here: argmax would name a class for NaNs, too
        bad = (~torch.isfinite(logits)).any(1).nonzero().flatten().tolist()
        if bad:
            raise EngineError(
                f"sample {source.ids[indices[bad[0]]]}",
                f"its logits are not finite: {logits[bad[0]].tolist()[:MAX_NAMED_LOGITS]}",
                "check the weights and this sample's input for overflow, or build the model in float32",
            )
        probability[indices] = class_probability(logits).float().numpy()
        advance(len(indices))
    return probability
