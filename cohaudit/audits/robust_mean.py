"""Whose is the step? The mean gradient of a trained model beside averages that no few samples can pull.

What is computed is in `clipping`; here are the pass over the samples, and what is said of it.
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
    kept,
    share_of_step,
)
from cohaudit.gradients import Options, Source
from cohaudit.gradients.passes.coordinates import Coordinates, gradient_coordinates
from cohaudit.gradients.tracing.plan import owner_name
from cohaudit.results import ClippedSample, LayerSurvival, RobustStep, Skipped, StepShare, Survival

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

MEMORY = 128 * 2**20
"""Bytes of coordinates of all samples' gradients that are kept; more samples have fewer coordinates each."""
MEMORIZED = 0.5
"""Memorization above which a sample counts as memorized."""
FEWEST = 25
"""Samples of which the largest clip takes one on each side."""
NAMED = 20
"""Samples that are named, those clipped most."""
LONGER = 1.0
SHORTER = 0.7
"""Of the mean's length: where the largest clip leaves more than the former, and there are suspects, it points
closer to the gradient of new data than the mean in 42 of 46 networks; less than the latter, in 5 of 26."""
SOME = 0.01
"""Share of the samples that are suspects from which on there are some."""
WINSORIZED = tuple(f"winsorized, {clip:.0%} a side" for clip in CLIPS)
ROBUST = (*WINSORIZED, "median of three")


@dataclass(frozen=True)
class SampleFlags:
    """What the audit says of the samples, [N] each.

    Attributes:
        ids: Of the samples.
        memorization: 0 to 1; NaN where no layer told.
        suspect: Whether it is one.
    """

    ids: Sequence[str]
    memorization: Array
    suspect: Flags

    @property
    def sets(self) -> Flags:
        """Which samples are memorized, and which are suspects, [2, N]."""
        return np.stack([self.memorization > MEMORIZED, self.suspect])


def layers_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """Return the layers with trainable parameters: name → parameter → its number of entries."""
    found: dict[str, dict[str, int]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.setdefault(owner_name(name), {})[name] = parameter.numel()
    return found


def choose(model: nn.Module, samples: int, seed: int) -> dict[str, Indices]:
    """Draw the coordinates of each layer that are looked at, as many as `MEMORY` holds; all of a small one.

    Args:
        model: Its trainable parameters.
        samples: N.
        seed: Of the draw.

    Returns:
        Name of a parameter → places in it.
    """
    layers = layers_of(model)
    most = allowance([sum(own.values()) for own in layers.values()], MEMORY // (4 * samples))
    owner = {name: layer for layer, own in layers.items() for name in own}
    sizes = {name: size for own in layers.values() for name, size in own.items()}
    return choose_coordinates(sizes, owner, most, seed)


def averaged(
    found: Coordinates, layers: Mapping[str, Mapping[str, int]], sets: Flags, seed: int
) -> dict[str, CoordinateSample]:
    """Return the robust averages of each layer that has a gradient.

    Args:
        found: Coordinates of every sample's gradient.
        layers: Name of a layer → parameter → its number of entries.
        sets: Samples whose share of the step is wanted, [S, N].
        seed: Of the groups for the median.
    """
    thirds = groups_of_three(len(found.scale), seed)
    drawn = {}
    for layer, own in layers.items():
        parts = [
            averages(found.gradients(name, part), sets, thirds)
            for name in own
            for part in blocks(found.rows[name].shape[1], len(found.scale))
        ]
        if any(part.energy.any() for part in parts):
            drawn[layer] = CoordinateSample(sum(own.values()), parts)
    return drawn


def robust_step(
    model: nn.Module,
    source: Source,
    standing: SampleFlags,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> RobustStep | Skipped:
    """Return what robust averages make of the step, in one pass over the samples.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        standing: What the audit says of them.
        options: How gradients are measured.
        device: Where.
        advance: Called with the number of samples done.

    Raises:
        EngineError: If gradients cannot be measured.
    """
    samples = len(source.labels)
    if samples < FEWEST:
        return Skipped("robust", f"it takes {FEWEST} samples to clip one on each side, there are {samples}")
    if np.isnan(standing.memorization).all():
        return Skipped("robust", "no layer tells which samples are memorized")
    chosen = choose(model, samples, options.seed)
    found = gradient_coordinates(model, source, chosen, options, device, advance=advance)
    if not found.scale.max() > 0:
        return Skipped("robust", "every gradient is zero")
    # only ratios are told: a common scale keeps squares of fitted samples' gradients above 0
    found = Coordinates(found.rows, found.scale / found.scale.max())
    drawn = averaged(found, layers_of(model), standing.sets, options.seed)
    if not drawn:
        return Skipped("robust", "every gradient is zero")
    return told(drawn, standing, options.seed)


def told(drawn: Mapping[str, CoordinateSample], standing: SampleFlags, seed: int) -> RobustStep:
    """Put the averages of each layer together.

    Args:
        drawn: Name of a layer → its averages; the sets are those of `standing`.
        standing: What the audit says of the samples.
        seed: Of the resamples.
    """
    samples = len(standing.ids)
    sets = standing.sets
    whole = Totals(list(drawn.values()), samples, seed)
    steps = tuple(
        StepShare(name, *(whole.estimate(share_of_step(which, members)) for members in range(2)))
        for which, name in enumerate(("mean", *WINSORIZED))
    )
    survivals = _survivals(whole)
    layers = tuple(
        LayerSurvival(name, one.size, one.looked_at, _survivals(Totals([one], samples, seed)))
        for name, one in drawn.items()
    )
    # the smallest clip that takes a sample ranks them best
    ranking = next(k for k, clip in enumerate(CLIPS) if int(clip * samples))
    share = clipped_shares(list(drawn.values()))[ranking]
    order = np.argsort(-share, kind="stable")
    memorized = int(sets[0].sum())
    return RobustStep(
        samples=samples,
        memorized=memorized,
        suspects=int(sets[1].sum()),
        averages=survivals,
        steps=steps,
        layers=layers,
        clipped=tuple(
            ClippedSample(
                standing.ids[i],
                float(share[i]),
                float(standing.memorization[i]),
                bool(standing.suspect[i]),
            )
            for i in order[:NAMED].tolist()
            if share[i] > 0
        ),
        clipped_memorized=int(sets[0][order[:memorized]].sum()),
        advice=_advice(survivals[len(CLIPS) - 1], steps[0], sets),
    )


def _survivals(totals: Totals) -> tuple[Survival, ...]:
    return tuple(
        Survival(name, totals.estimate(kept(which)), totals.estimate(cosine(which)))
        for which, name in enumerate(ROBUST, 1)
    )


def _advice(largest: Survival, mean: StepShare, sets: Flags) -> str:
    """Say what to do.

    Args:
        largest: What the largest clip leaves.
        mean: Whose the mean is.
        sets: The memorized samples, and the suspects, [2, N].
    """
    memorized, suspects = sets.mean(1).tolist()
    left = largest.kept.value
    count = int(sets[1].sum())
    clip = f"{CLIPS[-1]:.0%}"
    whose = f"memorized samples, {memorized:.1%} of all, own {mean.memorized.value:.0%} of it"
    if not 0 <= mean.memorized.value <= 1:
        whose += ", as samples that pull against each other cancel"
    if left >= LONGER and suspects >= SOME:
        return (
            f"Single samples cancel part of what the others share: clipped to what all but {clip} a side "
            f"stay within, the step is {left:.2f} times as long ({whose}). Correct or drop the {count:,} "
            f"suspect{'s' * (count != 1)} before you train on; with them, a winsorized step serves new data "
            "better than the mean."
        )
    if left < SHORTER:
        return (
            f"Clipping {clip} a side would leave {left:.2f} of the step ({whose}): few samples at a time "
            "make it up, and new data mostly gain from them. Keep to the mean: nothing to do here."
        )
    return (
        f"Clipping {clip} a side would leave {left:.2f} of the step's length ({whose}): no clear gain over "
        "the mean, nothing to do here."
    )
