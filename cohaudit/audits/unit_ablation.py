"""A network's hidden units, and what it answers when some of them are silent.

The units of a layer are the rows of its weight: of `nn.Linear` its outputs, of a convolution its channels, of
`nn.MultiheadAttention` its heads (the rows of a head's queries, keys and values). A unit is silenced by zeros
in its rows of weight and bias, so that its output is 0 whatever comes in. A BatchNorm behind it makes a
constant of that. The weights are put back in the end, also on an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.audits.width import SHARES, layer_units, smallest_set
from cohaudit.gradients import Options, Source, WeightSums, answers
from cohaudit.results import CoherentWidth, LayerUnits, SubNetwork

RANDOM_DRAWS = 3
"""Random sub-networks that each one is held against."""
FORWARD_PASSES = len(SHARES) * (1 + RANDOM_DRAWS)
"""Over the samples, to measure what the sub-networks answer."""


@dataclass(frozen=True)
class HiddenUnits:
    """The units of one layer.

    Attributes:
        name: Of the layer.
        kind: units, channels or heads.
        parameters: Names of its weight and, if it has one, its bias.
        unit: The unit that each row of these belongs to, int64 [rows].
    """

    name: str
    kind: str
    parameters: tuple[str, ...]
    unit: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.unit.max()) + 1


def hidden_units(model: nn.Module, sums: WeightSums) -> tuple[HiddenUnits, ...]:
    """Return the hidden layers whose units can be silenced, input side first; the last one is the output.

    Layers with weights that others use too, that follow from other parameters, or that are frozen are left
    out.

    Args:
        model: Whose they are.
        sums: What was measured of it.
    """
    modules = dict(model.named_modules())
    uses = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    found = []
    for layer in dict.fromkeys(sums.layer_of.values()):
        units = _units_of(layer, modules[layer]) if layer in modules else None
        if units and all(
            name in sums.mean and uses[id(model.get_parameter(name))] == 1 for name in units.parameters
        ):
            found.append(units)
    return tuple(found[:-1])


def _units_of(name: str, module: nn.Module) -> HiddenUnits | None:
    if type(module) is nn.MultiheadAttention and module.in_proj_weight is not None and module.bias_k is None:
        rows = np.arange(len(module.in_proj_weight)) % module.embed_dim // module.head_dim
        given = [
            f"{name}.in_proj_weight",
            *([f"{name}.in_proj_bias"] if module.in_proj_bias is not None else []),
        ]
        return HiddenUnits(name, "heads", tuple(given), rows)
    # exactly these: a subclass may do anything with its weight
    if type(module) not in {nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d}:
        return None
    given = [f"{name}.{part}" for part, _ in module.named_parameters(recurse=False)]
    if f"{name}.weight" not in given:
        return None
    kind = "units" if type(module) is nn.Linear else "channels"
    return HiddenUnits(name, kind, tuple(given), np.arange(len(module.get_parameter("weight"))))


def measured_units(layers: Sequence[HiddenUnits], sums: WeightSums) -> tuple[LayerUnits, ...]:
    """Return what is told of each layer's units."""
    return tuple(_measured(layer, sums) for layer in layers)


def _measured(layer: HiddenUnits, sums: WeightSums) -> LayerUnits:
    m = sums.samples
    total, classes, squares = (np.zeros(layer.count) for _ in range(3))
    for name in layer.parameters:
        np.add.at(total, layer.unit, m**2 * _rows(sums.mean[name].square()))
        np.add.at(classes, layer.unit, sums.class_squares[name].numpy())
        np.add.at(squares, layer.unit, m * _rows(sums.mean_square[name]))
    return layer_units(layer.name, layer.kind, total, classes, squares, m)


def _rows(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.reshape(len(values), -1).sum(1).numpy())


@contextmanager
def only(
    model: nn.Module, layers: Sequence[HiddenUnits], kept: Mapping[str, NDArray[np.int64]]
) -> Iterator[None]:
    """Silence all hidden units but some in the block.

    Args:
        model: Its weights are put back in the end.
        layers: Its hidden layers.
        kept: Layer → the units to keep.
    """
    before: list[tuple[nn.Parameter, Tensor]] = []
    try:
        with torch.no_grad():
            for layer in layers:
                silent = torch.from_numpy(~np.isin(layer.unit, kept[layer.name]))
                for name in layer.parameters:
                    parameter = model.get_parameter(name)
                    before.append((parameter, parameter.detach().clone()))
                    parameter[silent.to(parameter.device)] = 0
        yield
    finally:
        with torch.no_grad():
            for parameter, value in before:
                parameter.copy_(value)


def sub_networks(
    model: nn.Module,
    source: Source,
    layers: Sequence[HiddenUnits],
    measured: Sequence[LayerUnits],
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> tuple[SubNetwork, ...]:
    """Measure the training accuracy of the most coherent units alone, and that of as many at random.

    Args:
        model: In eval mode, on `device`; left as it was.
        source: The samples.
        layers: Its hidden layers.
        measured: What was found of them, in the same order.
        options: Batch size, and the seed of the draws.
        device: Where.
        advance: Called with the number of samples done, `FORWARD_PASSES` times over.

    Raises:
        ModelError: If the model fails on a sample.
        EngineError: If an answer is not finite, or memory does not suffice.
    """
    rng = np.random.default_rng(options.seed)

    def accuracy(kept: Mapping[str, NDArray[np.int64]]) -> float:
        with only(model, layers, kept):
            given = answers(model, source, options.batch_size, device, advance).argmax(1)
        return float(np.mean(given == source.labels))

    found = []
    for share in SHARES:
        kept = {one.name: smallest_set(one.energy, share) for one in measured}
        drawn = (
            {layer.name: rng.permutation(layer.count)[: len(kept[layer.name])] for layer in layers}
            for _ in range(RANDOM_DRAWS)
        )
        random = float(np.mean([accuracy(one) for one in drawn]))
        found.append(SubNetwork(share, sum(len(own) for own in kept.values()), accuracy(kept), random))
    return tuple(found)


def mask(found: CoherentWidth, share: float = SHARES[0]) -> dict[str, Tensor]:
    """Return which units hold a share of the coherent energy.

    Args:
        found: `audit.audits.width`.
        share: Of each layer's energy, in (0, 1].

    Returns:
        Layer → bool [units], True for those to keep.
    """
    masks = {}
    for layer in found.layers:
        kept = torch.zeros(len(layer.energy), dtype=torch.bool)
        kept[torch.from_numpy(smallest_set(layer.energy, share))] = True
        masks[layer.name] = kept
    return masks
