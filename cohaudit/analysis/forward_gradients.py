"""What stands for a sample's gradient where only a forward pass is known.

The gradient of a layer's weights is b aᵀ, with a what the layer receives and b what arrives there from the
loss. Backward passes tell b; a forward pass tells the residual r at the output, which b is a linear map of.
With r in place of every b, and each layer's part scaled to length 1, two samples have the cosine cos(r, r') ·
mean of cos(a, a') over the layers: what looks alike to the layers supports where the labels err alike, and
opposes where they err the other way. Whitened, these cosines agree with retrained networks as well as those
of whole gradients do (`python -m benchmarks.gradients.datamodeling`).

Arrays: N samples, C classes, D numbers per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from cohaudit.analysis.nearest_neighbors import unit_rows

Integers = NDArray[np.int64]

NUMBERS = 1024
"""D, if r aᵀ has more entries: cosines then err by about 1/√D = 0.03."""


@dataclass(frozen=True)
class ForwardGradients:
    """The stand-ins of samples' gradients, r aᵀ of all layers side by side, made when they are asked for.

    Above `NUMBERS` entries they are sketched: entry (c, k) is added, with a random sign, to number (h(c) + k)
    mod D. That is the circular convolution of a short vector made of r with one made of a (TensorSketch; Pham
    and Pagh, KDD 2013), so that r aᵀ is not formed.

    Attributes:
        views: What the layers receive, [N, any] each; at least one.
        probability: The network's probability of each class, [N, C].
        labels: Given labels, [N].
    """

    views: Sequence[NDArray[np.float32]]
    probability: NDArray[np.float32]
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, wanted: Integers | slice) -> NDArray[np.float32]:
        """Return those of some samples, of length about 1, [wanted, D]."""
        residual = self.residuals(wanted)
        inputs = torch.cat([unit_rows(view[wanted]) for view in self.views], 1) / len(self.views) ** 0.5
        if residual.shape[1] * inputs.shape[1] <= NUMBERS:
            whole: NDArray[np.float32] = (residual[:, :, None] * inputs[:, None]).flatten(1).numpy()
            return whole
        left, places, right = self._signs
        spread = torch.zeros(len(residual), NUMBERS).index_add_(1, places, residual * left)
        folded = F.pad(inputs * right, (0, -inputs.shape[1] % NUMBERS)).unflatten(1, (-1, NUMBERS)).sum(1)
        spectrum = torch.fft.rfft(spread) * torch.fft.rfft(folded)
        sketched: NDArray[np.float32] = torch.fft.irfft(spectrum, NUMBERS).numpy()
        return sketched

    def residuals(self, wanted: Integers | slice) -> Tensor:
        """Return the directions of some samples' residuals p − y, [wanted, C]."""
        labels = torch.from_numpy(self.labels[wanted])[:, None]
        wrong = torch.from_numpy(np.asarray(self.probability[wanted])).scatter(1, labels, 0.0)
        # relative to the largest: the probabilities of a fitted sample's wrong labels are tiny
        wrong = wrong / wrong.amax(1, keepdim=True).clamp_min(torch.finfo(wrong.dtype).tiny)
        # where they are zero, what is left is that the label's logit should rise
        total = wrong.sum(1, keepdim=True)
        return F.normalize(wrong.scatter(1, labels, -torch.where(total > 0, total, 1.0)), dim=1)

    @cached_property
    def _signs(self) -> tuple[Tensor, Tensor, Tensor]:
        """The classes' signs and places, [C] each, and the signs of the layers' inputs, [any]."""
        generator = torch.Generator().manual_seed(0)

        def signs(count: int) -> Tensor:
            return torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1.0

        classes = self.probability.shape[1]
        places = torch.randint(0, NUMBERS, (classes,), generator=generator)
        return signs(classes), places, signs(sum(view.shape[1] for view in self.views))


def evenly(samples: int, most: int) -> Integers:
    """Return the indices of at most `most` samples, drawn evenly and the same each time, rising."""
    if samples <= most:
        return np.arange(samples)
    return np.sort(np.random.default_rng(0).choice(samples, most, replace=False))
