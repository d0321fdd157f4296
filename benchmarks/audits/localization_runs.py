"""Trains a case, looks for where its memory is, and saves what was found, one file a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.audits.localization_interventions import (
    FLIPPED,
    State,
    accuracies,
    rewound,
    train_on,
    units_that_flip,
    without_units,
)
from benchmarks.audits.localization_networks import (
    MOST_EPOCHS,
    Case,
    Segment,
    named_place,
    segments_of,
)
from benchmarks.detection.runs import largest_fit
from benchmarks.shared import paths
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.measuring import judge_as_a_scan, measure_model
from benchmarks.shared.recipes import INTERPOLATED
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy, logits_of

CACHE = paths.CACHE / "localization"
"""Folder of the cases' rows."""
LEAST_MEMORIZED = 10
"""Wrong labels that a checkpoint must give for its memory to be looked for."""


@dataclass(frozen=True)
class Training:
    """A finished training run.

    Attributes:
        states: The weights before training, and after each epoch.
        best: Epoch of the best test accuracy.
    """

    states: list[State]
    best: int

    @property
    def epochs(self) -> int:
        """Number of epochs until nearly all labels are fitted."""
        return len(self.states) - 1

    def network(self, case: Case, data: NoisyData, epoch: int) -> nn.Module:
        """Return the network after an epoch, in eval mode."""
        model = case.build(data)
        model.load_state_dict(self.states[epoch])
        return model.eval()


def trained(case: Case, data: NoisyData) -> Training:
    """Train a case until nearly all labels are fitted."""
    torch.manual_seed(case.seed)
    model = case.build(data)
    states: list[State] = [deepcopy(model.state_dict())]
    tests = [0.0]
    bound = INTERPOLATED * largest_fit(data)
    for _ in train_on(model, data, MOST_EPOCHS[case.network]):
        states.append(deepcopy(model.state_dict()))
        tests.append(accuracy(model, data.test, data.test_labels))
        if accuracy(model, data.train, data.labels) >= bound:
            break
    return Training(states, int(np.argmax(tests)))


def rows_of(case: Case, folder: Path) -> list[Row]:
    """Return all rows of a case, from its file if there is one; else train, intervene, and save them."""
    file = CACHE / (
        "".join(c if c.isalnum() else "-" for c in " ".join(map(str, asdict(case).values()))) + ".json"
    )
    if not file.exists():
        torch.set_num_threads(1)
        write_rows(file, [case.about() | row for row in _measured(case, case.load(folder))])
    return read_rows(file)


def _measured(case: Case, data: NoisyData) -> Iterator[Row]:
    training = trained(case, data)
    for stage, epoch in (("best", training.best), ("interpolated", training.epochs)):
        model = training.network(case, data, epoch)
        segments, unsupported, energy = probed(model, data)
        gives = logits_of(model, data.train).argmax(1) == data.labels
        memorized = data.wrong & gives
        about = {
            "stage": stage,
            "epoch": epoch,
            "unsupported": unsupported,
            "memorized": int(memorized.sum()),
        }
        yield about | {"about": "network"} | asdict(accuracies(model, data, data.wrong))
        yield from (about | {"about": "segment"} | one for one in described(model, segments, energy))
        if memorized.sum() < LEAST_MEMORIZED:
            continue
        places = {"rewound to the start": training.states[0]}
        if stage == "interpolated":
            places["rewound to the best epoch"] = training.states[training.best]
        for change, state in places.items():
            for k, segment in enumerate(segments):
                found = accuracies(rewound(model, segment, state, data), data, memorized)
                yield about | {"about": change, "segment": k} | asdict(found)
        for k, segment in enumerate(segments):
            without = without_units(model, segment, data, memorized)
            if without is not None:
                yield about | {"about": "units dropped", "segment": k} | asdict(without)
        yield from (about | row for row in flipped(model, segments, data, memorized))
        if stage == "interpolated":
            yield from retrained(case, data, training, segments, named_place(segments, unsupported))


def probed(model: nn.Module, data: NoisyData) -> tuple[list[Segment], int, dict[str, float]]:
    """Return what a scan says of a network's layers.

    Returns:
        The segments; the number of labels that what comes before the network does not support; and each
        layer's share of the squared gradients.
    """
    measured = measure_model(model, data.train, data.labels, data.classes)
    found, _ = judge_as_a_scan(measured, data.train, data.labels, data.classes)
    layers = [layer.name for layer in measured.layers]
    segments = segments_of(layers, [view.layer for view in measured.views], found.overfit_share)
    energy = measured.squared_norms.sum(0) / measured.squared_norms.sum()
    return segments, int(found.disagreements[-1]), dict(zip(layers, energy.tolist(), strict=True))


def described(model: nn.Module, segments: Sequence[Segment], energy: dict[str, float]) -> Iterator[Row]:
    """Yield a row per segment: what the report knows of it."""
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        layer = name.rpartition(".")[0] or "(model)"
        sizes[layer] = sizes.get(layer, 0) + parameter.numel()
    for k, one in enumerate(segments):
        yield {
            "segment": k,
            "layers": " ".join(one.layers),
            "before": one.before,
            "after": one.after,
            "energy": sum(energy[name] for name in one.layers),
            "parameters": sum(sizes.get(name, 0) for name in one.layers),
        }


def flipped(
    model: nn.Module, segments: Sequence[Segment], data: NoisyData, memorized: Tensor
) -> Iterator[Row]:
    """Yield a row per segment: its share of the units by which single predictions are flipped."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for some in (memorized, ~data.wrong & (logits_of(model, data.train).argmax(1) == data.labels)):
        indices = some.nonzero()[:, 0]
        chosen = indices[torch.randperm(len(indices), generator=generator)[:FLIPPED]]
        found.append(units_that_flip(model, data, chosen))
    for k, segment in enumerate(segments):
        if not any(name in segment.layers for name in found[0][1]):
            continue
        row: Row = {"about": "units flip", "segment": k}
        for kind, (counts, off) in zip(("wrong", "right"), found, strict=True):
            own = torch.stack([off[name] for name in off if name in segment.layers]).sum(0)
            row |= {
                kind: (own / counts.clamp_min(1)).mean().item(),
                f"{kind}_units": counts.double().mean().item(),
            }
        yield row


def retrained(
    case: Case, data: NoisyData, training: Training, segments: list[Segment], named: int | None
) -> Iterator[Row]:
    """Yield a row per training run in which some segments are frozen, decayed or drop their inputs.

    Frozen runs go on from the best epoch, the others start anew; all take as many epochs as the first run.
    """
    choices: dict[str, list[Segment]] = {"none": [], "all": segments}
    choices |= {str(k): [segment] for k, segment in enumerate(segments)}
    if named is not None and named < len(segments):
        choices |= {"named": segments[:named], "not named": segments[named:]}
    ways: dict[str, Callable[[nn.Module, list[Segment]], Iterator[nn.Module]]] = {
        "decay": lambda model, some: train_on(model, data, training.epochs, decayed=some),
        "dropout": lambda model, some: train_on(model, data, training.epochs, dropped=some),
        "frozen": lambda model, some: train_on(model, data, training.epochs - training.best, frozen=some),
    }
    for way, run in ways.items():
        for choice, some in choices.items():
            if way == "frozen" and choice == "all":
                continue
            torch.manual_seed(case.seed + 100)
            model = training.network(case, data, training.best if way == "frozen" else 0)
            for _ in run(model, some):
                pass
            yield {"about": way, "choice": choice, "named": named} | asdict(
                accuracies(model, data, data.wrong)
            )
