"""New samples from old ones: two training samples of one expected class, crossed.

A network's answers to its training samples show what it learned and what it memorized alike. A crossed sample
was in no training set: half of it comes from one sample, half from another, so that the memory of either is
of little help. Its class is the one that models of the raw data expect of both, without their own labels.
The share of these samples that a checkpoint classifies as expected tells it from other checkpoints of its
run; the number alone says nothing.

Crossed are places: the halves of images, as in CutMix (Yun et al., ICCV 2019, arXiv 1905.04899), single cells
of a table and single words of a text, as in the uniform crossover of genetic algorithms (Syswerda, 1989).
That answers to mixes of two samples of one label rank networks was found in a contest of such measures
(Natekar & Sharma, arXiv 2012.02775); with labels as given, they rank memorized ones just as high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohaudit.analysis.outside_views import InputKind, kind_of
from cohaudit.gradients import Source
from cohaudit.results import Skipped

Integers = NDArray[np.int64]

MAX_CROSSED = 4000
"""Crossed samples, at most: the difference of two checkpoints then has an error of about a point."""

MAX_PARTNERS = 4
"""Partners of a sample, at most: with more, the error hardly falls, as the samples stay the same."""

CROSSED_SAMPLES = "crossed samples"
"""What is skipped, if it is."""


@dataclass(frozen=True, eq=False)
class CrossedSamples:
    """Samples, each crossed with a few partners of the same expected class.

    Attributes:
        samples: Positions of the samples that are crossed, [M].
        source: All crossed samples, labeled with their expected class, those of a sample in succession.
    """

    samples: Integers
    source: Source

    def accuracy(self, predicted: Integers) -> NDArray[np.float64]:
        """Return the share of each sample's crossings that are classified as expected, [M].

        Args:
            predicted: Predicted class of each crossed sample, [M · partners].
        """
        right: NDArray[np.bool_] = predicted == self.source.labels
        share: NDArray[np.float64] = right.reshape(len(self.samples), -1).mean(1)
        return share


def cross_samples(source: Source, classes: Integers, seed: int) -> CrossedSamples | Skipped:
    """Return samples crossed with others of their expected class.

    Args:
        source: The samples.
        classes: Expected class of each, [N].
        seed: Seed of partners and places.

    Returns:
        The crossed samples; skipped if the inputs are of an unknown kind, or no two are of one class.
    """
    samples, partners = pair_up(classes, seed)
    if not len(samples):
        return Skipped(CROSSED_SAMPLES, "no two samples are expected to be of one class")
    known = kind_of(source.load(samples[:1].tolist()))
    if isinstance(known, str):
        return Skipped(CROSSED_SAMPLES, known)
    first, second = np.repeat(samples, partners.shape[1]), partners.ravel()

    def load(indices: Sequence[int]) -> Any:
        places = list(indices)
        both = source.load([*first[places].tolist(), *second[places].tolist()])
        return cross(both, [(seed, place) for place in places])

    pairs = zip(first.tolist(), second.tolist(), strict=True)
    ids = [f"{source.ids[a]} crossed with {source.ids[b]}" for a, b in pairs]
    crossed = Source(load=load, labels=classes[first], ids=ids, class_names=source.class_names)
    return CrossedSamples(samples, crossed)


def pair_up(classes: Integers, seed: int) -> tuple[Integers, Integers]:
    """Return samples drawn at random, [M], and partners of their class, never themselves, [M, partners].

    Args:
        classes: Class of each sample, [N].
        seed: Seed of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    # a sample that is alone in its class has no partner
    samples = order[np.bincount(classes)[classes[order]] > 1][:MAX_CROSSED]
    count = min(MAX_PARTNERS, MAX_CROSSED // max(1, len(samples)))
    partners = np.empty((len(samples), count), dtype=np.int64)
    for c in np.unique(classes[samples]):
        own = order[classes[order] == c]
        (rows,) = np.nonzero(classes[samples] == c)
        # `samples` and `own` have the same order: the partners of each are those that follow it
        ahead = np.arange(count) % (len(own) - 1) + 1
        partners[rows] = own[(np.arange(len(rows))[:, None] + ahead) % len(own)]
    return samples, partners


def cross(inputs: Any, seeds: Sequence[tuple[int, int]]) -> Any:
    """Return the first half of a batch, crossed with the second half.

    Args:
        inputs: Arguments of the model for 2B samples, of a kind that `kind_of` knows.
        seeds: Seed of each crossed sample, which decides what comes from its partner, [B].

    Raises:
        ValueError: If they are of another kind.
    """
    known = kind_of(inputs)
    if isinstance(known, str):
        raise ValueError(known)
    if known.kind is InputKind.IMAGES:
        return _cross_images(inputs, known.values, seeds)
    width = known.values.shape[1]
    # drawn place by place: padding at the end does not change what is drawn before it
    drawn = np.stack([np.random.default_rng(seed).random(width) for seed in seeds])
    swapped = torch.from_numpy(drawn < 0.5)
    if isinstance(inputs, Mapping):
        return {name: _cross_places(value, swapped) for name, value in inputs.items()}
    return _cross_places(inputs, swapped)


def _cross_places(value: Any, swapped: Tensor) -> Any:
    """Return one of the model's arguments, crossed where `swapped`, bool [B, L], says so."""
    count, width = swapped.shape
    if not isinstance(value, Tensor):
        return value
    # the mask and the types of a text go with its words
    if value.shape[:2] != (2 * count, width):
        return value[:count]
    shaped = swapped.view(count, width, *[1] * (value.ndim - 2))
    return torch.where(shaped, value[count:], value[:count])


def _cross_images(inputs: Tensor, images: Tensor, seeds: Sequence[tuple[int, int]]) -> Tensor:
    """Return images whose lower or right half comes from their partner.

    Args:
        inputs: Images and their partners, the dimensions in any order, [2B, ...].
        images: The same as [2B, C, H, W].
        seeds: Seed of each crossed image, [B].
    """
    count = len(seeds)
    height, width = images.shape[2:]
    lower = (torch.arange(height) >= height // 2)[:, None].expand(height, width)
    right = (torch.arange(width) >= width // 2).expand(height, width)
    swapped = torch.stack([right if np.random.default_rng(seed).integers(2) else lower for seed in seeds])
    found = inputs[:count].clone()
    # a view: what is written to it stands in `found`, in its order of dimensions
    view = kind_of(found)
    assert not isinstance(view, str), "the inputs are images"
    view.values.copy_(torch.where(swapped[:, None], images[count:], images[:count]))
    return found
