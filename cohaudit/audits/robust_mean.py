"""What share of the update comes from memorized samples? The mean gradient beside robust averages.

The statistics are in `winsorized_statistics`; here are the pass over the samples, the result and the advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cohaudit.audits.winsorized_statistics import (
    CLIPS,
    CoordinateSample,
    Totals,
    allowance,
    averages,
    blocks,
    choose_coordinates,
    clipped_shares,
    cosine,
    groups_of_three,
    norm_ratio,
    share_of_step,
)
from cohaudit.gradients import Options, Source
from cohaudit.gradients.passes.coordinates import Coordinates, gradient_coordinates
from cohaudit.gradients.tracing.plan import owner_name
from cohaudit.results import ClippedSample, LayerSurvival, RobustStep, Skipped, StepShare, Survival
from cohaudit.results.kinds import is_memorized
from cohaudit.results.wording import percent

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

MAX_COORDINATE_BYTES = 128 * 2**20
"""Bytes of gradient coordinates in memory, of all samples; with more samples, fewer coordinates of each."""

MIN_SAMPLES = 25
"""Fewest samples of which the largest clip, 4 %, takes one on each side."""

MAX_CLIPPED_LISTED = 20
"""Samples that are listed, those clipped most."""

LENGTHENED = 1.0
"""Length of the most clipped average, relative to the mean, from which it is the better update, if there are
suspects: it pointed closer to the gradient of new data than the mean in 42 of 46 networks."""

SHORTENED = 0.7
"""Length below which the mean is the better update: there the clipped average pointed closer in only 5 of 26
networks."""

MIN_SUSPECT_SHARE = 0.01
"""Share of suspects among the samples from which on their presence counts."""

WINSORIZED = tuple(f"winsorized, {clip:.0%} a side" for clip in CLIPS)
"""Names of the winsorized means, one for each of `CLIPS`."""

ROBUST = (*WINSORIZED, "median of three")
"""Names of all robust averages, in the order of `winsorized_statistics`."""


@dataclass(frozen=True)
class SampleFlags:
    """What the audit found of each sample.

    Attributes:
        ids: Ids of the samples, [N].
        memorization: Memorization, 0 to 1; NaN if unknown, [N].
        suspect: Whether the sample is a suspect, [N].
    """

    ids: Sequence[str]
    memorization: Array
    suspect: Flags

    @property
    def sets(self) -> Flags:
        """Set of memorized samples and set of suspects, [2, N]."""
        # NaN is above no number: an unknown memorization counts as none
        return np.stack([is_memorized(self.memorization), self.suspect])


def layers_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """Return the layers with trainable parameters: layer name → parameter name → number of its entries."""
    layers: dict[str, dict[str, int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layers.setdefault(owner_name(name), {})[name] = parameter.numel()
    return layers


def sample_coordinates(model: nn.Module, samples: int, seed: int) -> dict[str, Indices]:
    """Draw coordinates of each layer, as many as `MAX_COORDINATE_BYTES` holds; all of a small layer.

    Args:
        model: The network; its trainable parameters are sampled.
        samples: N.
        seed: Seed of the draw.

    Returns:
        Parameter name → indices into the flattened parameter.
    """
    layers = layers_of(model)
    # float32: four bytes for each coordinate of each sample; a small layer leaves its bytes to larger ones
    most = allowance([sum(own.values()) for own in layers.values()], MAX_COORDINATE_BYTES // (4 * samples))
    owner = {name: layer for layer, own in layers.items() for name in own}
    sizes = {name: size for own in layers.values() for name, size in own.items()}
    return choose_coordinates(sizes, owner, most, seed)


def averaged(
    coordinates: Coordinates, layers: Mapping[str, Mapping[str, int]], sets: Flags, seed: int
) -> dict[str, CoordinateSample]:
    """Return the robust averages of each layer that has a gradient.

    Args:
        coordinates: Sampled coordinates of every sample's gradient.
        layers: Layer name → parameter name → number of its entries.
        sets: Samples whose share of the update is wanted, [S, N].
        seed: Seed of the groups for the median.
    """
    # one grouping for all layers: the median is of whole gradients
    thirds = groups_of_three(len(coordinates.scale), seed)
    samples = {}
    for layer, own in layers.items():
        parts = [
            averages(coordinates.gradients(name, part), sets, thirds)
            for name in own
            for part in blocks(coordinates.rows[name].shape[1], len(coordinates.scale))
        ]
        if any(part.energy.any() for part in parts):
            samples[layer] = CoordinateSample(sum(own.values()), parts)
    return samples


def robust_step(
    model: nn.Module,
    source: Source,
    flags: SampleFlags,
    *,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> RobustStep | Skipped:
    """Compare robust averages with the mean gradient, in one pass over the samples.

    Args:
        model: The network in eval mode, on `device`; left as it was.
        source: The samples.
        flags: What the audit found of them.
        options: How gradients are measured.
        device: Device to run on.
        advance: Called with the number of samples done.

    Raises:
        EngineError: If gradients cannot be measured.
    """
    samples = len(source.labels)
    if samples < MIN_SAMPLES:
        return Skipped("robust", f"it needs at least {MIN_SAMPLES} samples, found {samples}")
    if np.isnan(flags.memorization).all():
        return Skipped("robust", "the memorization of the samples is unknown: no layer represents them")
    chosen = sample_coordinates(model, samples, options.seed)
    coordinates = gradient_coordinates(model, source, chosen, options, device, advance=advance)
    if not coordinates.scale.max() > 0:
        return Skipped("robust", "every gradient is zero")
    # only ratios are reported: a common scale keeps the squares of fitted samples' gradients above 0
    coordinates = Coordinates(coordinates.rows, coordinates.scale / coordinates.scale.max())
    layers = averaged(coordinates, layers_of(model), flags.sets, options.seed)
    if not layers:
        return Skipped("robust", "every gradient is zero")
    return summarize(layers, flags, options.seed)


def summarize(layers: Mapping[str, CoordinateSample], flags: SampleFlags, seed: int) -> RobustStep:
    """Return the result from the averages of each layer.

    Args:
        layers: Layer name → averages in its coordinates, with the sets of `flags`.
        flags: What the audit found of the samples.
        seed: Seed of the resampling.
    """
    samples = len(flags.ids)
    memorized, suspects = flags.sets
    whole = Totals(list(layers.values()), samples, seed)
    steps = tuple(
        StepShare(
            average=name,
            # the two sets in the order of `SampleFlags.sets`
            memorized=whole.estimate(share_of_step(which, 0)),
            suspects=whole.estimate(share_of_step(which, 1)),
        )
        for which, name in enumerate(("mean", *WINSORIZED))
    )
    survivals = _survivals(whole)
    share = _clipped_share(layers, samples)
    # stable: samples that are clipped alike stay in the order of the data
    order = np.argsort(-share, kind="stable")
    count = int(memorized.sum())
    return RobustStep(
        samples=samples,
        memorized=count,
        suspects=int(suspects.sum()),
        averages=survivals,
        steps=steps,
        layers=tuple(
            LayerSurvival(name, one.size, one.sampled, _survivals(Totals([one], samples, seed)))
            for name, one in layers.items()
        ),
        clipped=_most_clipped(flags, share, order),
        clipped_memorized=int(memorized[order[:count]].sum()),
        advice=_advice(survivals[len(CLIPS) - 1], steps[0], flags.sets),
    )


def _clipped_share(layers: Mapping[str, CoordinateSample], samples: int) -> Array:
    """Return the share of each sample's energy that is clipped, [N].

    By the smallest clip that takes a sample: a larger one takes typical samples too, and ranks them worse.
    """
    # there is one: with MIN_SAMPLES, the largest clip takes at least one sample
    ranking = next(k for k, clip in enumerate(CLIPS) if int(clip * samples))
    share: Array = clipped_shares(list(layers.values()))[ranking]
    return share


def _most_clipped(flags: SampleFlags, share: Array, order: Indices) -> tuple[ClippedSample, ...]:
    """Return the samples clipped most; `order` has all samples, most clipped first."""
    return tuple(
        ClippedSample(flags.ids[i], float(share[i]), float(flags.memorization[i]), bool(flags.suspect[i]))
        for i in order[:MAX_CLIPPED_LISTED].tolist()
        if share[i] > 0
    )


def _survivals(totals: Totals) -> tuple[Survival, ...]:
    """Return length and direction of each robust average, relative to the mean."""
    return tuple(
        Survival(name, totals.estimate(norm_ratio(which)), totals.estimate(cosine(which)))
        for which, name in enumerate(ROBUST, 1)
    )


def _advice(largest: Survival, mean: StepShare, sets: Flags) -> str:
    """Return what to do.

    Args:
        largest: Length and direction of the most clipped average.
        mean: Shares of the mean.
        sets: Memorized samples, and suspects, [2, N].
    """
    memorized, suspects = sets.mean(1).tolist()
    left = largest.kept.value
    count = int(sets[1].sum())
    clip = f"{CLIPS[-1]:.0%}"
    owner = f"Memorized samples, {percent(memorized)} of all, own {mean.memorized.value:.0%} of the update"
    if not 0 <= mean.memorized.value <= 1:
        owner += ": outside 0 to 100%, because gradients of opposite directions cancel"
    if left >= LENGTHENED and suspects >= MIN_SUSPECT_SHARE:
        return (
            f"Single samples cancel part of what the others share: with {clip} of the samples clipped on "
            f"each side, the update is {left:.2f} times as long. {owner}. Correct or drop the {count:,} "
            f"suspect{'s' * (count != 1)} before further training; as long as they are in the data, a "
            "winsorized update suits new data better than the mean."
        )
    if left < SHORTENED:
        return (
            f"Clipping {clip} of the samples on each side leaves {left:.2f} of the update's length. {owner}. "
            "A few samples at a time make up the rest, and new data mostly gain from them: keep the mean. "
            "Nothing to do."
        )
    return (
        f"Clipping {clip} of the samples on each side leaves {left:.2f} of the update's length. {owner}. It "
        "is not clearly better than the mean: nothing to do."
    )
