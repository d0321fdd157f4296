"""The loss at the model's output: cross-entropy, its residual p − y, and what can be read off the logits.

On a fully fitted sample p_y is 1 to the last bit and p − y vanishes in float32, yet its direction is what
the sample wants. So the residual is formed in float64 from log-probabilities and split into a direction of
norm 1, which is sent back through the network, and a scale, which is multiplied in afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cohaudit.errors import EngineError


@dataclass(frozen=True)
class Residuals:
    """Per sample of a batch, on the CPU, in float64 unless noted.

    Attributes:
        direction: Gradient of the loss with respect to the model's output, scaled to norm 1; shaped and
            typed like the output.
        scale: The norm taken out of it, [batch].
        loss: Cross-entropy at temperature 1, in nats, [batch].
        margin: Logit of the label minus the largest other logit, [batch].
        predicted: Class with the largest logit, int64 [batch].
        probability: Of each class at temperature 1, [batch, classes].
    """

    direction: Tensor
    scale: Tensor
    loss: Tensor
    margin: Tensor
    predicted: Tensor
    probability: Tensor


def logits_of(output: Any) -> Tensor:
    """Return the logits in a model's output: the tensor itself, its `logits` entry, or the first of a tuple.

    Raises:
        EngineError: If there is no tensor, or it is not [batch, classes].
    """
    found = output
    if isinstance(found, dict) and "logits" in found:
        found = found["logits"]
    elif hasattr(found, "logits"):
        found = found.logits
    elif isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.ndim not in {1, 2} or not found.is_floating_point():
        what = type(found).__name__
        if isinstance(found, Tensor):
            what = f"{str(found.dtype).removeprefix('torch.')} numbers of shape {list(found.shape)}"
        raise EngineError(
            "model output",
            f"found {what}, not logits [batch, classes]",
            "wrap the model so that it returns its logits",
        )
    return found


def class_logits(logits: Tensor) -> Tensor:
    """Return float64 logits [batch, classes] on the CPU; a single output z becomes [0, z]: σ(z)."""
    wide = logits.detach().cpu().double()
    if wide.ndim == 1:
        wide = wide[:, None]
    return torch.cat([torch.zeros_like(wide), wide], 1) if wide.shape[1] == 1 else wide


def class_probability(logits: Tensor) -> Tensor:
    """Return the probability of each class at temperature 1, from what `class_logits` returns."""
    return torch.softmax(logits, 1)


def residuals(logits: Tensor, labels: Tensor, temperature: float) -> Residuals:
    """Compute the residuals of ℓ = cross-entropy(logits / T, labels).

    ∂ℓ/∂z_c = (p_c − [c = y]) / T with p = softmax(z / T), and p_y − 1 = −Σ_{c≠y} p_c, which has no
    cancellation. The largest wrong log-probability is taken out before anything is exponentiated, so that
    the direction survives where p itself underflows.

    Args:
        logits: The model's output, [batch, classes], [batch, 1] or [batch].
        labels: int64 [batch], on the CPU.
        temperature: T > 0.

    Returns:
        Direction, scale and the sample's scores.
    """
    z = class_logits(logits)
    given = labels[:, None]
    log_p = torch.log_softmax(z / temperature, 1)
    wrong = log_p.scatter(1, given, -torch.inf)
    peak = wrong.amax(1, keepdim=True)
    direction = torch.exp(wrong - peak)
    direction = direction.scatter(1, given, -direction.sum(1, keepdim=True))
    single = logits.ndim == 1 or logits.shape[1] == 1
    if single:
        direction = direction[:, 1:]
    norm = direction.norm(dim=1, keepdim=True)
    label_logit = z.gather(1, given)[:, 0]
    return Residuals(
        direction=(direction / norm).reshape(logits.shape).to(logits),
        scale=(torch.exp(peak) * norm / temperature)[:, 0],
        loss=-torch.log_softmax(z, 1).gather(1, given)[:, 0],
        margin=label_logit - z.scatter(1, given, -torch.inf).amax(1),
        predicted=z.argmax(1),
        probability=class_probability(z),
    )


def random_combination(logits: Tensor, seed: int) -> Tensor:
    """Return a direction for the output that knows no label: normal numbers of norm 1, the same for all.

    The gradients along it are rows of the network's Jacobian, mixed alike for every sample.

    Args:
        logits: The model's output, [batch, classes] or [batch].
        seed: Of the numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(logits.shape[1:], generator=generator, dtype=torch.float64)
    unit: Tensor = (direction / direction.norm()).to(logits)
    return unit.expand_as(logits).contiguous()
