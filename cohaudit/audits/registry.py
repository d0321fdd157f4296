"""The further audits: which of them are run on a scanned model, and in what order.

Each tests one claim of the theory on it (see `theory`). Those that need no pass over the data beside the
scan's own are run unless told otherwise; the rest when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from cohaudit.audits.depth import depth_trend
from cohaudit.audits.input_features import input_features
from cohaudit.audits.robust_mean import SampleFlags, robust_step
from cohaudit.audits.training.lr_schedule import Schedule
from cohaudit.audits.training.measure_checkpoints import LabeledSnapshot, stability_of, trajectory_of
from cohaudit.audits.unit_ablation import FORWARD_PASSES, hidden_units, measured_units, sub_networks
from cohaudit.audits.weight_decay import LayerForces, background_force
from cohaudit.audits.width import coherent_width
from cohaudit.config import Config
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.gradients import Measurement, Options, Source, WeightSums, weight_sums
from cohaudit.gradients.passes.inputs import input_sums
from cohaudit.results import (
    AuditResults,
    BackgroundForce,
    CoherentWidth,
    DepthTrend,
    Inputs,
    Layer,
    Memory,
    RobustStep,
    Skipped,
    Stability,
    TrainedDecay,
    Trajectory,
)
from cohaudit.results.gap import NO_VERDICT

ALL = "all"
NONE = "none"

Advance = Callable[[int], None]
"""Told the number of samples done."""


@dataclass(frozen=True)
class AuditContext:
    """What a further audit may use; the model is on `device`, in eval mode, and is left as it was.

    Attributes:
        model: The audited one.
        source: The samples measured.
        measured: What the gradient pass gave.
        layers: The model's layers with their coherence, input side first.
        samples: The table of samples, columns `SAMPLE_COLUMNS`.
        auditable: Whether the model and the data belong together at all.
        config: Settings.
        options: How gradients are measured.
        device: Where.
        memory: What the checkpoint's optimizer remembers.
        trained_decay: The weight decay that it was trained with.
        taken: Snapshots of the training's checkpoints, in order, this one last; empty where none were taken.
        schedule: Its steps and learning rates as told by the user.
        total: Samples trained on, of which those of `source` were measured.
        columns: Names of the input columns; empty where the data has none.
    """

    model: nn.Module
    source: Source
    measured: Measurement
    layers: Sequence[Layer]
    samples: pd.DataFrame
    auditable: bool
    config: Config
    options: Options
    device: torch.device
    memory: Memory | Skipped
    trained_decay: TrainedDecay | Skipped
    taken: Sequence[LabeledSnapshot]
    schedule: Schedule
    total: int
    columns: Sequence[str]
    _sums: list[WeightSums] = field(default_factory=list, init=False, repr=False)

    def weight_sums(self, advance: Advance) -> WeightSums:
        """Return the sums of every weight's gradients, which are measured by the first audit that asks."""
        if not self._sums:
            self._sums.append(weight_sums(self.model, self.source, self.options, self.device, advance))
        return self._sums[0]


def _depth(context: AuditContext, advance: Advance) -> DepthTrend | Skipped:
    told = [
        (layer.name, layer.coherence.alpha)
        for layer in context.layers
        if not isinstance(layer.coherence, Skipped)
    ]
    return depth_trend([name for name, _ in told], [alpha for _, alpha in told], len(context.source.labels))


def _memory(context: AuditContext, advance: Advance) -> Memory | Skipped:
    return context.memory


def _trajectory(context: AuditContext, advance: Advance) -> Trajectory | Skipped:
    layers = [layer.name for layer in context.measured.layers]
    return trajectory_of(context.taken, context.source.labels, layers, context.source.class_names)


def _stability(context: AuditContext, advance: Advance) -> Stability | Skipped:
    return stability_of(context.taken, context.total, context.schedule)


def _width(context: AuditContext, advance: Advance) -> CoherentWidth | Skipped:
    sums = context.weight_sums(advance)
    model = context.model
    source = context.source
    layers = hidden_units(model, sums)
    found = measured_units(layers, sums)
    accuracy = float(np.mean(context.measured.predicted == source.labels))
    tried = (
        sub_networks(model, source, layers, found, context.options, context.device, advance) if layers else ()
    )
    return coherent_width(found, accuracy, tried)


def _decay(context: AuditContext, advance: Advance) -> BackgroundForce | Skipped:
    sums = context.weight_sums(advance)
    return background_force(layer_forces(context.model, sums), sums.samples, context.trained_decay)


def layer_forces(model: nn.Module, sums: WeightSums) -> list[LayerForces]:
    """Return each layer's weights and what the data pull at them with, input side first."""
    owned: dict[str, list[str]] = {}
    for name, layer in sums.layer_of.items():
        owned.setdefault(layer, []).append(name)
    weights = {name: model.get_parameter(name).detach().double().cpu() for name in sums.layer_of}
    given = (weights, sums.mean, sums.mean_square)
    return [
        LayerForces(layer, *(torch.cat([one[name].flatten() for name in names]).numpy() for one in given))
        for layer, names in owned.items()
    ]


def _robust(context: AuditContext, advance: Advance) -> RobustStep | Skipped:
    table = context.samples
    memorization = table["memorization"].to_numpy(dtype=float)
    standing = SampleFlags(context.source.ids, memorization, table["suspect"].to_numpy(dtype=bool))
    return robust_step(context.model, context.source, standing, context.options, context.device, advance)


def _inputs(context: AuditContext, advance: Advance) -> Inputs | Skipped:
    sums = input_sums(context.model, context.source, context.options, context.device, advance)
    if isinstance(sums, Skipped):
        return sums
    named = not sums.tokens and len(context.columns) == len(sums.columns)
    names = context.columns if named else [f"{'token ' * sums.tokens}{j}" for j in sums.columns]
    return input_features(names, sums.layer, sums.squared_sum, sums.squares, sums.norms, sums.constant)


@dataclass(frozen=True)
class _Audit:
    """A further audit.

    Attributes:
        run: What it is.
        passes: Passes over the samples that it takes beside the scan's own.
        by_default: Whether it is run unless told otherwise.
    """

    run: Callable[[AuditContext, Advance], Any]
    passes: int = 0
    by_default: bool = False


AUDITS: Mapping[str, _Audit] = {
    "depth": _Audit(_depth, by_default=True),
    "width": _Audit(_width, passes=1 + FORWARD_PASSES),
    "inputs": _Audit(_inputs, passes=1),
    "decay": _Audit(_decay, passes=1),
    "memory": _Audit(_memory, by_default=True),
    "robust": _Audit(_robust, passes=1),
    "trajectory": _Audit(_trajectory),
    "stability": _Audit(_stability),
}
"""By the name of their field in `AuditResults`, in the order of the report."""
BY_DEFAULT = tuple(name for name, audit in AUDITS.items() if audit.by_default)
MULTI_CHECKPOINT_AUDITS = frozenset({"trajectory", "stability"})
"""Those that measure the earlier checkpoints too, by a pass over the samples each."""


def selected_audits(names: Sequence[str]) -> frozenset[str]:
    """Return which further audits are asked for; those by default where none is named.

    Args:
        names: Names, `all`, or `none`; several in one are separated by commas.

    Raises:
        ConfigError: If there is none of that name.
    """
    found: set[str] = set()
    given = [part.strip() for name in names for part in name.split(",")]
    for name in given:
        if name not in {*AUDITS, ALL, NONE}:
            raise ConfigError(
                "--audits", f"there is no audit {name!r}", did_you_mean(name, (*AUDITS, ALL, NONE))
            )
        found |= set(AUDITS) if name == ALL else set() if name == NONE else {name}
    return frozenset(found if given else BY_DEFAULT)


def run_audits(
    context: AuditContext, stage: Callable[[str, int | None], AbstractContextManager[Any]]
) -> AuditResults:
    """Run the further audits that are asked for.

    Args:
        context: The model, and what the scan found.
        stage: Opens a stage of the given name and number of samples, and gives what it is advanced by.
    """
    wanted = selected_audits(context.config.audits)
    return AuditResults(**dict(_results(context, wanted, stage)))


def _results(
    context: AuditContext,
    wanted: frozenset[str],
    stage: Callable[[str, int | None], AbstractContextManager[Any]],
) -> Iterator[tuple[str, Any]]:
    assert [field.name for field in fields(AuditResults)] == list(AUDITS)
    for name, audit in AUDITS.items():
        if name not in wanted:
            yield name, Skipped(name, f"not asked for: --audits {name}")
        elif not context.auditable and name not in MULTI_CHECKPOINT_AUDITS:
            yield name, Skipped(name, NO_VERDICT)
        else:
            total = audit.passes * len(context.source.labels) or None
            with stage(f"audit {name}", total) as advance:
                yield name, audit.run(context, advance)
