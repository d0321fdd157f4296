"""Labels predicted from pictures by descriptors that nothing was trained for: gradients and random patches.

Arrays: N images, C channels, H × W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cohaudit.analysis.outside_views.features import Floats, predict_from_features, standardized
from cohaudit.analysis.outside_views.view import Integers, OutsideView

GRADIENT_SIDE = 32
"""Pixels to which the longer sides are averaged before gradients are taken."""
PATCH_SIDE = 16
"""Pixels to which the longer sides are averaged before patches are compared: on photos as good as 32 pixels
with a stride of 2, at a fifth of the cost of each position."""
PATCH = 4
"""Side of a patch, in pixels."""
PATCHES = 256
"""Random patches that each image is compared with; 192 and 128 were worse by .01 and .02 of the accuracy."""
SAMPLED_PATCHES = 20_000
"""Patches that contrast and whitening are computed from."""
CONTRAST = 0.1
"""Deviation, relative to that of all pixels, that is added to a patch's own: flat patches stay flat."""
WHITENING = 0.1
"""Added to the variances of the patches' components before whitening: the smallest ones are noise."""
THRESHOLD = 0.5
"""Similarity below which a patch does not count; 0.25 was worse, 1 the same."""
CELLS = 4
"""Cells a side in which gradients are gathered."""
DIRECTIONS = 8
"""Directions of gradients, over the full circle."""
QUARTERS = 2
"""Parts a side in which similarities to patches are averaged."""
BATCH = 16
"""Images described at once: what is computed of them stays in a processor's cache, which takes a quarter of
the time of 256."""


@dataclass(frozen=True)
class ImageDescriptor:
    """Turns images into vectors; holds the random patches.

    Attributes:
        filters: Convolution filters of the whitened patches, float32 [PATCHES, C, side, side].
        offset: Filter response to the mean patch, to be subtracted, float32 [PATCHES].
        contrast: Deviation that is added to each patch's own.
    """

    filters: Tensor
    offset: Tensor
    contrast: float

    @property
    def length(self) -> int:
        """Numbers in a descriptor."""
        return DIRECTIONS * CELLS**2 + PATCHES * QUARTERS**2

    def describe(self, images: Tensor) -> Floats:
        """Return the images' descriptors, float32 [N, `length`].

        The first ones are histograms of gradient directions (Dalal & Triggs, CVPR 2005), the others
        similarities to random patches (Coates & Ng, "The Importance of Encoding Versus Training with Sparse
        Coding and Vector Quantization", ICML 2011).

        Args:
            images: [N, C, H, W].
        """
        rows = [
            torch.cat([_gradient_directions(part), self._similarities(part)], 1)
            for part in images.float().split(BATCH)
        ]
        return torch.cat(rows).numpy()

    def _similarities(self, images: Tensor) -> Tensor:
        """Return how similar the quarters of each image are to each patch, [N, 4 · PATCHES]."""
        x = shrink(images, PATCH_SIDE)
        count = self.filters[0].numel()
        average = torch.full_like(self.filters[:1], 1 / count)
        mean = F.conv2d(x, average)
        variance = (F.conv2d(x.square(), average) - mean.square()).clamp_min(0) * count / (count - 1)
        # a filter sums to 0, so that the patch's mean has no part in it
        response = F.conv2d(x, self.filters) / (variance + self.contrast**2).sqrt()
        similar = F.relu(response - self.offset[:, None, None] - THRESHOLD)
        return F.adaptive_avg_pool2d(similar, QUARTERS).flatten(1)


def fit_descriptor(images: Tensor, seed: int) -> ImageDescriptor:
    """Return a descriptor whose patches are drawn from images; labels have no part in it.

    Args:
        images: Some images, [N, C, H, W]; C · H · W at least 2.
        seed: Seed of the patches.
    """
    x = shrink(images.float(), PATCH_SIDE)
    count, channels, height, width = x.shape
    sides = min(PATCH, height), min(PATCH, width)
    generator = torch.Generator().manual_seed(seed)
    windows = x.unfold(2, sides[0], 1).unfold(3, sides[1], 1)
    image, top, left = (
        torch.randint(0, size, (SAMPLED_PATCHES,), generator=generator)
        for size in (count, height - sides[0] + 1, width - sides[1] + 1)
    )
    patches = windows[image, :, top, left].reshape(SAMPLED_PATCHES, -1)
    # images of one value everywhere have no deviation
    contrast = max(CONTRAST * float(x.std()), torch.finfo(x.dtype).eps)
    patches = patches - patches.mean(1, keepdim=True)
    patches = patches / (patches.var(1, keepdim=True) + contrast**2).sqrt()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    whitening = (vectors / (values.clamp_min(0) + WHITENING).sqrt()) @ vectors.T
    # the first ones: they were drawn at random
    chosen = F.normalize((patches[:PATCHES] - mean) @ whitening, dim=1) @ whitening
    centered = chosen - chosen.mean(1, keepdim=True)
    return ImageDescriptor(centered.reshape(PATCHES, channels, *sides), centered @ mean, contrast)


def shrink(images: Tensor, side: int = GRADIENT_SIDE) -> Tensor:
    """Return images whose sides are at most so long, by averages over areas.

    Args:
        images: [N, C, H, W].
        side: Longest side, in pixels.
    """
    height, width = images.shape[2:]
    if max(height, width) <= side:
        return images
    return F.adaptive_avg_pool2d(images, (min(height, side), min(width, side)))


def predict_from_descriptors(descriptors: Floats, labels: Integers, classes: int) -> OutsideView:
    """Predict each image's label from the descriptors of all other images; see `predict_from_features`.

    Args:
        descriptors: As `ImageDescriptor.describe` returns them, [N, any].
        labels: Given labels, [N].
        classes: K.
    """
    name = "ridge regression on gradient histograms and random patches"
    return predict_from_features(standardized(descriptors), labels, classes, name)


def _gradient_directions(images: Tensor) -> Tensor:
    """Return how much of each direction the gradients have in each cell, [N, DIRECTIONS · CELLS²]."""
    x = shrink(images)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    # of the channel whose gradient is largest
    strength, channel = (across.square() + down.square()).sqrt().max(1, keepdim=True)
    angle = torch.atan2(down.gather(1, channel), across.gather(1, channel)) / (2 * torch.pi)
    position = (angle % 1) * DIRECTIONS
    lower = position.floor()
    nearer = position - lower
    bins = torch.zeros(len(x), DIRECTIONS, *x.shape[2:])
    bins.scatter_add_(1, lower.long() % DIRECTIONS, strength * (1 - nearer))
    bins.scatter_add_(1, (lower.long() + 1) % DIRECTIONS, strength * nearer)
    cells = F.adaptive_avg_pool2d(bins, CELLS).flatten(1)
    # the root of a share, as gradients of different strength otherwise drown each other
    return F.normalize(cells, dim=1).sqrt()
