"""Samples that every layer sees alike: copies, and what a person would take for one.

Arrays: N samples. Nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.neighbors import strongest_cosines, unit_rows

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

NEARLY_SAME = 0.995
"""Mean cosine over the views from which on two samples count as one. Copies with noise of 2 % of the pixels'
deviation, or 5 % brighter, reach it; of Fashion-MNIST, CIFAR-10 and the digits no other pair does."""


def joint_view(views: Sequence[Floats]) -> Tensor:
    """Return one vector a sample, whose cosines are the mean cosines of the views, about.

    The views' centered rows of length 1 are added with random signs, in random places, as a sketch of the
    views side by side: its inner products have the right mean, and equal rows stay equal.

    Args:
        views: What layers see of the samples, [N, any] each; at least one.

    Returns:
        Rows of length 1, or of zeros, float32 [N, width of the widest view].
    """
    generator = torch.Generator().manual_seed(0)
    size = max(view.shape[1] for view in views)
    total = torch.zeros(len(views[0]), size)
    for view in views:
        width = view.shape[1]
        signs = torch.randint(0, 2, (width,), generator=generator) * 2.0 - 1
        places = torch.randperm(size, generator=generator)[:width]
        total[:, places] += unit_rows(view - view.mean(0)) * signs
    return unit_rows(total.numpy())


def near_duplicates(joint: Tensor) -> Integers:
    """Return for each sample the one it is nearly the same as, −1 where there is none, [N].

    Args:
        joint: From `joint_view`.
    """
    found = strongest_cosines(joint.numpy(), 1, NEARLY_SAME)
    return found.supporters[:, 0].where(found.positive[:, 0] >= NEARLY_SAME, -1).numpy()


def nearly_same(joint: Tensor, sample: int, others: Sequence[int]) -> list[bool]:
    """Return which of the others are nearly the same as a sample."""
    found: list[bool] = (joint[list(others)] @ joint[sample] >= NEARLY_SAME).tolist()
    return found
