"""The loss at the model's output: cross-entropy, its residual p − y, and scores that follow from the logits.

On a fully fitted sample p_y is 1 to the last bit and p − y vanishes in float32, although its direction still
says in which direction the sample pulls. So the residual is formed in float64 from log-probabilities and
split in two: a direction of norm 1, which the backward pass starts from, and a scale, which is multiplied in
afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cohaudit.errors import EngineError


@dataclass(frozen=True)
class Residuals:
    """Residuals and scores of a batch, on the CPU, in float64 unless noted.

    Attributes:
        direction: Gradient of the loss with respect to the model's output, scaled to norm 1; shaped and
            typed like the output.
        scale: Norm that the direction was divided by, [batch].
        loss: Cross-entropy at temperature 1, in nats, [batch].
        margin: Logit of the label minus the largest other logit, [batch].
        predicted: Class with the largest logit, int64 [batch].
        probability: Probability of each class at temperature 1, [batch, classes].
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
    logits = output
    if isinstance(logits, dict) and "logits" in logits:
        logits = logits["logits"]
    elif hasattr(logits, "logits"):
        logits = logits.logits
    elif isinstance(logits, tuple | list) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor) or logits.ndim not in {1, 2} or not logits.is_floating_point():
        what = type(logits).__name__
        if isinstance(logits, Tensor):
            what = f"{str(logits.dtype).removeprefix('torch.')} numbers of shape {list(logits.shape)}"
        raise EngineError(
            "model output",
            f"found {what}, not logits [batch, classes]",
            "wrap the model so that it returns its logits",
        )
    return logits


def along(logits: Tensor, direction: Tensor) -> Tensor:
    """Return ⟨direction, logits⟩, whose gradients are those of the logits in that direction.

    The same as `torch.autograd.grad(logits, …, direction)`, bit for bit. But given a direction, torch imports
    its symbolic shapes and sympy, which takes as long as scanning a small network.

    Args:
        logits: In autograd's graph.
        direction: Shaped like the logits.
    """
    with torch.enable_grad():
        return (logits * direction).sum()


def class_logits(logits: Tensor) -> Tensor:
    """Return float64 logits [batch, classes] on the CPU; see `one_per_class` for a single output."""
    return one_per_class(logits.detach().cpu().double())


def one_per_class(logits: Tensor) -> Tensor:
    """Return one logit for each class, [batch, classes], of a model that may have a single output z.

    z becomes the two logits [0, z], whose softmax is the sigmoid of z.
    """
    if logits.ndim == 1:
        logits = logits[:, None]
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def class_probability(logits: Tensor) -> Tensor:
    """Return the probability of each class at temperature 1, from the logits that `class_logits` returns."""
    return torch.softmax(logits, 1)


def residuals(logits: Tensor, labels: Tensor, temperature: float) -> Residuals:
    """Compute the residuals of ℓ = cross-entropy(logits / T, labels).

    ∂ℓ/∂z_c = (p_c − [c = y]) / T with p = softmax(z / T). For the label's entry, p_y − 1 = −Σ_{c≠y} p_c is
    used: the sum has no cancellation, where 1 − p_y loses all digits on a fitted sample. The largest wrong
    log-probability is subtracted before exponentiating, so that the direction survives where p underflows.

    Args:
        logits: The model's output, [batch, classes], [batch, 1] or [batch].
        labels: int64 [batch], on the CPU.
        temperature: T > 0.

    Returns:
        Direction, scale and the samples' scores.
    """
    z = class_logits(logits)
    given = labels[:, None]
    # log-probabilities stay exact where the probability rounds to 0 or 1
    log_p = torch.log_softmax(z / temperature, 1)
    wrong = log_p.scatter(1, given, -torch.inf)
    peak = wrong.amax(1, keepdim=True)
    direction = torch.exp(wrong - peak)
    direction = direction.scatter(1, given, -direction.sum(1, keepdim=True))
    single = logits.ndim == 1 or logits.shape[1] == 1
    if single:
        direction = direction[:, 1:]  # the logit of class 0 is the constant 0, no output
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
    """Return a random direction for the output, the same for all samples: normal numbers scaled to norm 1.

    The gradients along it are rows of the network's Jacobian, mixed alike for every sample.

    Args:
        logits: The model's output, [batch, classes] or [batch].
        seed: Seed of the numbers.
    """
    # on the CPU and in float64, so that the direction is the same on every device
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(logits.shape[1:], generator=generator, dtype=torch.float64)
    unit: Tensor = (direction / direction.norm()).to(logits)
    return unit.expand_as(logits).contiguous()
