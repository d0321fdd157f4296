"""A network's hidden units, and what it predicts with some of them ablated.

The units of a layer are the rows of its weight: the outputs of `nn.Linear`, the channels of a convolution,
the heads of `nn.MultiheadAttention` (the rows of a head's queries, keys and values). A unit is ablated by
zeros in its rows of weight and bias, so that its output is 0 for any input; a BatchNorm behind it makes a
constant of that. The weights are restored afterwards, also after an error.
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

from cohaudit.audits.width import layer_units
from cohaudit.gradients import Options, Source, WeightSums, answers
from cohaudit.results import CoherentWidth, LayerUnits, SubNetwork
from cohaudit.results.sub_network import SUB_NETWORK_SHARES, smallest_set

RANDOM_DRAWS = 3
"""Random sub-networks that each coherent one is compared with."""

FORWARD_PASSES = len(SUB_NETWORK_SHARES) * (1 + RANDOM_DRAWS)
"""Forward passes over the samples to measure all sub-networks."""


@dataclass(frozen=True)
class HiddenUnits:
    """The units of one layer.

    Attributes:
        name: Layer name.
        kind: Kind of unit: units, channels or heads.
        parameters: Names of its weight and, if it has one, its bias.
        unit: Unit that each row of the parameters belongs to, int64 [rows].
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
    """Return the hidden layers whose units can be ablated, input side first.

    Left out: the last such layer, which is the output, and layers with weights that are tied, parametrized or
    frozen.

    Args:
        model: The network.
        sums: Sums of its gradients.
    """
    modules = dict(model.named_modules())
    # a tied weight cannot be ablated in one place alone
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
    """Return the units of a layer; None if it has no weight whose rows are units."""
    # torch has no packed weight where keys and values have sizes of their own
    if type(module) is nn.MultiheadAttention and module.in_proj_weight is not None and module.bias_k is None:
        # queries, keys and values are stacked: each head has rows in every third
        rows = np.arange(len(module.in_proj_weight)) % module.embed_dim // module.head_dim
        given = [
            f"{name}.in_proj_weight",
            *([f"{name}.in_proj_bias"] if module.in_proj_bias is not None else []),
        ]
        return HiddenUnits(name, "heads", tuple(given), rows)
    # exactly these types: a subclass may do anything with its weight
    if type(module) not in {nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d}:
        return None
    given = [f"{name}.{part}" for part, _ in module.named_parameters(recurse=False)]
    if f"{name}.weight" not in given:
        return None
    kind = "units" if type(module) is nn.Linear else "channels"
    return HiddenUnits(name, kind, tuple(given), np.arange(len(module.get_parameter("weight"))))


def measured_units(layers: Sequence[HiddenUnits], sums: WeightSums) -> tuple[LayerUnits, ...]:
    """Return coherence and energy of the units of each layer."""
    return tuple(_measured(layer, sums) for layer in layers)


def _measured(layer: HiddenUnits, sums: WeightSums) -> LayerUnits:
    """Return coherence and energy of one layer's units."""
    m = sums.samples
    total, classes, squares = (np.zeros(layer.count) for _ in range(3))
    for name in layer.parameters:
        # add.at, not +=: several rows belong to one head
        np.add.at(total, layer.unit, m**2 * _rows(sums.mean[name].square()))
        np.add.at(classes, layer.unit, sums.class_squares[name].numpy())
        np.add.at(squares, layer.unit, m * _rows(sums.mean_square[name]))
    return layer_units(
        layer.name,
        layer.kind,
        sum_squares=total,
        class_squares=classes,
        squares=squares,
        samples=m,
        classes=sums.classes,
    )


def _rows(values: Tensor) -> NDArray[np.float64]:
    """Return the sum of each row, [rows]."""
    return np.asarray(values.reshape(len(values), -1).sum(1).numpy())


@contextmanager
def only(
    model: nn.Module, layers: Sequence[HiddenUnits], kept: Mapping[str, NDArray[np.int64]]
) -> Iterator[None]:
    """Ablate all hidden units except some, within the block.

    Args:
        model: The network; its weights are restored afterwards.
        layers: Its hidden layers.
        kept: Layer name → units to keep.
    """
    before: list[tuple[nn.Parameter, Tensor]] = []
    try:
        with torch.no_grad():
            for layer in layers:
                ablated = torch.from_numpy(~np.isin(layer.unit, kept[layer.name]))
                for name in layer.parameters:
                    parameter = model.get_parameter(name)
                    before.append((parameter, parameter.detach().clone()))
                    parameter[ablated.to(parameter.device)] = 0
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
    *,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
) -> tuple[SubNetwork, ...]:
    """Measure the training accuracy of the most coherent units alone, and that of as many random ones.

    Args:
        model: The network in eval mode, on `device`; left as it was.
        source: The samples.
        layers: Its hidden layers.
        measured: Coherence and energy of their units, in the same order.
        options: Batch size, and the seed of the random draws.
        device: Device to run on.
        advance: Called with the number of samples done, `FORWARD_PASSES` times over all samples.

    Raises:
        ModelError: If the model fails on a sample.
        EngineError: If an output is not finite, or memory does not suffice.
    """
    rng = np.random.default_rng(options.seed)

    def accuracy(kept: Mapping[str, NDArray[np.int64]]) -> float:
        with only(model, layers, kept):
            predicted = answers(model, source, options.batch_size, device, advance).argmax(1)
        return float(np.mean(predicted == source.labels))

    networks = []
    for share in SUB_NETWORK_SHARES:
        kept = {one.name: smallest_set(one.energy, share) for one in measured}
        drawn = (
            {layer.name: rng.permutation(layer.count)[: len(kept[layer.name])] for layer in layers}
            for _ in range(RANDOM_DRAWS)
        )
        # as many units per layer as the coherent set has, so that only the choice differs
        random = float(np.mean([accuracy(one) for one in drawn]))
        networks.append(SubNetwork(share, sum(len(own) for own in kept.values()), accuracy(kept), random))
    return tuple(networks)


def mask(width: CoherentWidth, share: float = SUB_NETWORK_SHARES[0]) -> dict[str, Tensor]:
    """Return which units hold a share of the coherent energy.

    Args:
        width: Result of the width audit, `audit.audits.width`.
        share: Share of each layer's energy, in (0, 1].

    Returns:
        Layer name → bool [units], True for units to keep.
    """
    masks = {}
    for layer in width.layers:
        kept = torch.zeros(len(layer.energy), dtype=torch.bool)
        kept[torch.from_numpy(smallest_set(layer.energy, share))] = True
        masks[layer.name] = kept
    return masks
