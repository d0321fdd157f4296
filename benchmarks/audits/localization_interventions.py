"""What happens if one part of a trained network is changed: to memorized labels, to others, to new data.

Rewinding: Zhang, Bengio & Singer (JMLR 2022, "Are All Layers Created Equal?") and Chatterji, Neyshabur &
Sedghi (ICLR 2020, "The Intriguing Role of Module Criticality in the Generalization of Deep Networks").
Dropping units by gradient times activation: Maini et al. (ICML 2023, "Can Neural Network Memorization Be
Localized?", arXiv 2307.09542).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audits.localization_networks import Segment
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.training import logits_of, train_epoch

RATE = 2e-3
"""Learning rate of Adam."""
BATCH = 50
"""Samples per step."""
DECAY = 0.5
"""Decoupled weight decay where a part is regularized by it: over 1,000 steps it takes a weight to 1 / e."""
DROPOUT = 0.3
"""Share of the inputs of each layer that is dropped where a part is regularized by it."""
DROPPED_UNITS = 0.1
"""Share of a segment's units that are dropped."""
ROUNDS = 5
"""Rounds in which they are chosen: after each, the others' importance is measured again."""
FLIPPED = 100
"""Memorized samples, and as many others, whose prediction is to be flipped by dropping units."""
MOST_UNITS = 20
"""Units dropped for one sample at most."""

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Accuracies:
    """How often a network gives the labels.

    Attributes:
        wrong: Wrong labels, among the training samples; of the samples that the intervention is about.
        right: Right labels, likewise.
        test: True labels of new data.
    """

    wrong: float
    right: float
    test: float


def accuracies(model: nn.Module, data: NoisyData, memorized: Tensor) -> Accuracies:
    """Return how often a network gives the labels.

    Args:
        model: In eval mode.
        data: Its data.
        memorized: Which training samples count as wrong, bool [samples]; the right ones are those of `data`.
    """
    gives = (logits_of(model, data.train).argmax(1) == data.labels).double()
    new = (logits_of(model, data.test).argmax(1) == data.test_labels).double()
    return Accuracies(gives[memorized].mean().item(), gives[~data.wrong].mean().item(), new.mean().item())


def belongs(name: str, segment: Segment) -> bool:
    """Return whether a parameter or buffer of this name belongs to a segment."""
    layer = name.rpartition(".")[0] or "(model)"
    return layer in segment.layers


def rewound(model: nn.Module, segment: Segment, earlier: State, data: NoisyData) -> nn.Module:
    """Return a copy of a network with one segment as it was earlier, in eval mode."""
    copy = deepcopy(model)
    state = copy.state_dict()
    state |= {name: value for name, value in earlier.items() if belongs(name, segment)}
    copy.load_state_dict(state)
    return renormalized(copy, data.train)


def renormalized(model: nn.Module, inputs: Tensor) -> nn.Module:
    """Measure the running statistics of BatchNorm again, on all inputs at once; the model in eval mode.

    Without that, a change of one layer would be mixed with statistics of layers after it that no longer hold.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    if norms:
        model.train()
        with torch.no_grad():
            model(inputs)
    return model.eval()


def train_on(
    model: nn.Module,
    data: NoisyData,
    epochs: int,
    *,
    decayed: Sequence[Segment] = (),
    dropped: Sequence[Segment] = (),
    frozen: Sequence[Segment] = (),
) -> Iterator[nn.Module]:
    """Train a network by Adam, some segments in another way, and yield it after each epoch, in eval mode.

    Args:
        model: Network to train; changed.
        data: What it is trained on.
        epochs: Passes over the data.
        decayed: Segments with weight decay, DECAY.
        dropped: Segments whose layers drop a share of their inputs, DROPOUT.
        frozen: Segments whose weights stay as they are.
    """
    groups: list[list[nn.Parameter]] = [[], []]
    for name, parameter in model.named_parameters():
        if any(belongs(name, segment) for segment in frozen):
            continue
        groups[any(belongs(name, segment) for segment in decayed)].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": params, "weight_decay": decay}
            for params, decay in zip(groups, (0.0, DECAY), strict=True)
            if params
        ],
        RATE,
    )
    with dropping_inputs(model, dropped):
        for _ in range(epochs):
            train_epoch(model, optimizer, data.train, data.labels, BATCH)
            yield model


@contextmanager
def dropping_inputs(model: nn.Module, segments: Sequence[Segment]) -> Iterator[None]:
    """Let the dense layers and convolutions of some segments drop inputs in training; embeddings, outputs."""

    def before(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (F.dropout(args[0], DROPOUT, module.training),)

    def after(module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        return F.dropout(out, DROPOUT, module.training)

    layers = {name for segment in segments for name in segment.layers}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name in layers and isinstance(module, nn.Linear | nn.Conv2d):
                stack.callback(module.register_forward_pre_hook(before).remove)
            if name in layers and isinstance(module, nn.Embedding):
                stack.callback(module.register_forward_hook(after).remove)
        yield


class Switches:
    """Lets units of a network be switched off: outputs of its dense layers, convolutions and embeddings.

    The last layer's are its answers and stay. A switch is a factor, 1 or 0; the gradient with respect to it
    is the unit's activation times its gradient, summed over positions.

    Args:
        model: Network, in eval mode.
        samples: Samples that pass at once, each with its own switches; 1 for the same switches for all.
    """

    def __init__(self, model: nn.Module, samples: int = 1) -> None:
        kinds = nn.Linear | nn.Conv2d | nn.Embedding
        found = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
        self._model = model
        self._modules = dict(list(found.items())[:-1])
        self.values = {
            name: torch.ones(samples, module.weight.shape[1 if isinstance(module, nn.Embedding) else 0])
            for name, module in self._modules.items()
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits with the units switched off."""
        with ExitStack() as stack:
            for name, module in self._modules.items():

                def switch(module: nn.Module, args: tuple[Tensor], out: Tensor, name: str = name) -> Tensor:
                    value = self.values[name]
                    if isinstance(module, nn.Conv2d):
                        return out * value[:, :, None, None]
                    return out * (value[:, None] if out.ndim == 3 else value)

                stack.callback(module.register_forward_hook(switch).remove)
            out: Tensor = self._model(inputs)
        return out

    def importance(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return what each unit adds to the labels' margins, to first order: layer → like its switches."""
        for value in self.values.values():
            value.requires_grad_(True)
        margins = margins_of(self.forward(inputs), labels)
        found = torch.autograd.grad(margins.sum(), list(self.values.values()))
        for value in self.values.values():
            value.requires_grad_(False)
        return dict(zip(self.values, found, strict=True))


def margins_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each label's logit minus the largest other one, [samples]."""
    given = logits.gather(1, labels[:, None])[:, 0]
    return given - logits.scatter(1, labels[:, None], -torch.inf).amax(1)


def without_units(
    model: nn.Module, segment: Segment, data: NoisyData, memorized: Tensor
) -> Accuracies | None:
    """Return the accuracies without the units of a segment that add most to memorized labels' margins.

    What a unit adds on average to the margins of right labels is subtracted first.

    Args:
        model: In eval mode.
        segment: Whose units are dropped; None is returned if it has none.
        data: Its data.
        memorized: Samples with wrong labels that the network gives, bool [samples].
    """
    switches = Switches(model)
    own = [name for name in switches.values if name in segment.layers]
    units = sum(switches.values[name].numel() for name in own)
    if not units:
        return None
    count = max(ROUNDS, round(DROPPED_UNITS * units))
    for part in np.array_split(np.arange(count), ROUNDS):
        added = [
            torch.cat([found[name].flatten() for name in own]) / int(some.sum())
            for some in (memorized, ~data.wrong)
            for found in (switches.importance(data.train[some], data.labels[some]),)
        ]
        values = torch.cat([switches.values[name].flatten() for name in own])
        score = (added[0] - added[1]).masked_fill(values == 0, -torch.inf)
        values[score.topk(len(part)).indices] = 0
        for name, new in zip(own, values.split([switches.values[n].numel() for n in own]), strict=True):
            switches.values[name] = new[None].clone()
    with torch.no_grad():
        gives = (switches.forward(data.train).argmax(1) == data.labels).double()
        new_data = (switches.forward(data.test).argmax(1) == data.test_labels).double().mean().item()
    return Accuracies(gives[memorized].mean().item(), gives[~data.wrong].mean().item(), new_data)


def units_that_flip(model: nn.Module, data: NoisyData, chosen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Drop units for each sample alone, the most important first, until its label is no longer given.

    Args:
        model: In eval mode.
        data: Its data.
        chosen: Indices of the samples.

    Returns:
        Number of units dropped for each sample, at most MOST_UNITS; and layer → for each sample, how many
        of them are its.
    """
    inputs = data.train[chosen]
    labels = data.labels[chosen]
    switches = Switches(model, len(chosen))
    widths = [value.shape[1] for value in switches.values.values()]
    names = list(switches.values)
    values = torch.ones(len(chosen), sum(widths))
    for _ in range(MOST_UNITS):
        with torch.no_grad():
            given = margins_of(switches.forward(inputs), labels) > 0
        if not given.any():
            break
        score = torch.cat(list(switches.importance(inputs, labels).values()), 1)
        best = score.masked_fill(values == 0, -torch.inf).argmax(1)
        values[given.nonzero()[:, 0], best[given]] = 0
        switches.values = {
            name: part.clone() for name, part in zip(names, values.split(widths, 1), strict=True)
        }
    off = {name: (part == 0).sum(1) for name, part in zip(names, values.split(widths, 1), strict=True)}
    return (values == 0).sum(1), off
