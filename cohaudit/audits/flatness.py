"""How many answers stay when noise is added to the weights: the flatness of the minimum, told by the answers.

Noise is relative to each weight tensor, w + s · rms(w) · ε with ε ~ N(0, 1), so that rescaling a layer and
the next one against it changes nothing. Flatness measured this way is the perturbation that PAC-Bayes bounds
speak of (Neyshabur et al., arXiv 1706.08947); relative to the weights' size, it was among the best of forty
measures in Jiang et al. (arXiv 1912.02178). Counted are answers, not the loss, which the size of the logits
changes. It compares networks that fit the same data (docs/same_data.md), and is part of the expected score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor, nn

from cohaudit.audits.training.earlier_predictions import restore_weights
from cohaudit.errors import EngineError
from cohaudit.gradients import Options, Source, answers
from cohaudit.results import Estimate, Flatness, NoiseSize, Skipped

NOISE_SIZES = (0.15, 0.3, 0.45, 0.7)
"""Standard deviations of the noise, in root mean squares of each tensor: from where most answers stay to
where many change, in small and large networks."""

DRAWS = 4
"""Draws of the noise at each size: their spread gives the interval."""

MAX_SAMPLES = 1000
"""Samples that are answered, at most: a share of a thousand has an error of 1.6 points."""

CONFIDENCE = 0.9
"""Level of the interval."""

FORWARD_PASSES = 1 + DRAWS * len(NOISE_SIZES)
"""Forward passes over these samples: one without noise."""


def flatness(
    model: nn.Module,
    source: Source,
    *,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> Flatness | Skipped:
    """Measure how many answers stay when noise is added to the weights, which are restored afterwards.

    Args:
        model: On `device`, in eval mode.
        source: Samples; at most MAX_SAMPLES of them, evenly spaced, are answered.
        options: How the model is run.
        device: Device to run on.
        advance: Called with the number of samples done, of all samples once.

    Returns:
        The flatness; skipped if the model has no weights, or overflows under noise.
    """
    count = len(source.labels)
    some = part_of(source, np.unique(np.linspace(0, count - 1, min(count, MAX_SAMPLES)).astype(int)))
    weights = [p for p in model.parameters() if p.is_floating_point() and p.numel()]
    if not weights:
        return Skipped("flatness", "the model has no weights to add noise to")

    def predicted() -> NDArray[np.int64]:
        found: NDArray[np.int64] = answers(model, some, options.batch_size, device, lambda done: None).argmax(
            1
        )
        return found

    before = predicted()
    stay = np.zeros((DRAWS, len(NOISE_SIZES)))
    try:
        with restore_weights(model):
            own = [p.detach().clone() for p in weights]
            for draw in range(DRAWS):
                for place, size in enumerate(NOISE_SIZES):
                    # a draw's noise has the same direction at every size
                    add_noise(weights, own, size, options.seed + draw)
                    stay[draw, place] = np.mean(predicted() == before)
    except EngineError as error:
        return Skipped("flatness", f"with noise in the weights, {error.found}")
    advance(count)
    return _result(stay, len(some.labels))


def part_of(source: Source, positions: NDArray[np.intp]) -> Source:
    """Return some of the samples."""
    chosen = positions.tolist()
    return replace(
        source,
        load=lambda indices: source.load([chosen[i] for i in indices]),
        labels=source.labels[positions],
        ids=[source.ids[i] for i in chosen],
    )


@torch.no_grad()
def add_noise(weights: Sequence[Tensor], own: Sequence[Tensor], size: float, seed: int) -> None:
    """Fill each tensor with its own value and Gaussian noise of `size` times its root mean square.

    Args:
        weights: Tensors to fill.
        own: Their values without noise, in the same order.
        size: Standard deviation in root mean squares of the tensor.
        seed: Seed of the noise, which is the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    for weight, value in zip(weights, own, strict=True):
        noise = torch.randn(value.shape, generator=generator).to(value.device, value.dtype)
        weight.copy_(value + size * value.float().square().mean().sqrt().to(value.dtype) * noise)


def _result(stay: NDArray[np.float64], samples: int) -> Flatness:
    """Return the flatness.

    Args:
        stay: Share of answers that stay, [draws, sizes].
        samples: Number of samples answered.
    """
    means = stay.mean(1)
    value = float(means.mean())
    half = float(stdtrit(len(means) - 1, (1 + CONFIDENCE) / 2) * means.std(ddof=1) / len(means) ** 0.5)
    sizes = tuple(
        NoiseSize(size, float(share)) for size, share in zip(NOISE_SIZES, stay.mean(0), strict=True)
    )
    advice = (
        f"With noise in the weights, {value:.1%} of the answers stay. Compare it with that "
        "of another network that fits the same data, by cohaudit diff."
    )
    return Flatness(
        samples, len(means), sizes, Estimate(value, max(0.0, value - half), min(1.0, value + half)), advice
    )
