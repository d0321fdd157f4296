"""The audit registry: which optional audits run on a scanned model, and in what order.

Each tests one claim of the theory of coherent gradients on the model. Audits that need no extra pass over the
data run by default; the others are selected with --audits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.audits.depth import depth_trend
from cohaudit.audits.input_features import features_of
from cohaudit.audits.robust_mean import SampleFlags, robust_step
from cohaudit.audits.training.classify_crossed import classify_crossed
from cohaudit.audits.training.crossing import CROSSED_SAMPLES
from cohaudit.audits.training.earlier_predictions import CheckpointOpener
from cohaudit.audits.training.lr_schedule import Schedule
from cohaudit.audits.training.measure_checkpoints import LabeledSnapshot, stability_of, trajectory_of
from cohaudit.audits.training.rating import CrossedAccuracy, LabelBelief, believe
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
    Flatness,
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
"""Name that selects every audit."""

NONE = "none"
"""Name that selects no audit."""

Advance = Callable[[int], None]
"""Called with the number of samples done since the last call."""


@dataclass(frozen=True)
class AuditContext:
    """What an audit may use: the model and the data, the scan's results, and how the model was trained.

    Attributes:
        model: The audited model, on `device`, in eval mode; audits leave it as it was.
        source: The samples measured.
        measured: Result of the gradient pass.
        layers: The model's layers with their coherence, input side first.
        samples: Table of samples, with columns `SAMPLE_COLUMNS`.
        auditable: Whether the model passed the sanity check.
        config: Settings.
        options: How gradients are measured.
        device: Device to run on.
        memory: Coherence over time from the checkpoint's optimizer state.
        trained_decay: Weight decay of the training run.
        snapshots: Snapshots of the run's checkpoints, oldest first, the audited one last; empty without any.
        earlier: What opens the earlier checkpoints, oldest first.
        outside: Class probabilities of the samples by models of the raw data, [N, C] each; possibly none.
        schedule: Steps and learning rates of the training run, as given by the user.
        total: Size of the training set, of which the samples of `source` were measured.
        columns: Names of the input columns; empty if the data has none.
        flatness: How many answers stay with noise in the weights: the expected score needs it before.
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
    snapshots: Sequence[LabeledSnapshot]
    earlier: Sequence[CheckpointOpener]
    outside: Sequence[NDArray[np.float64]]
    schedule: Schedule
    total: int
    columns: Sequence[str]
    flatness: Flatness | Skipped
    # a list, because the context is frozen: width and decay share one pass over the samples
    _sums: list[WeightSums] = field(default_factory=list, init=False, repr=False)

    def weight_sums(self, advance: Advance) -> WeightSums:
        """Return the sums of every weight's gradients; the first audit to call this measures them."""
        if not self._sums:
            self._sums.append(weight_sums(self.model, self.source, self.options, self.device, advance))
        return self._sums[0]


def _depth(context: AuditContext, advance: Advance) -> DepthTrend | Skipped:
    """Run the depth audit on the layers that have a gradient."""
    alphas = {
        layer.name: layer.coherence.alpha
        for layer in context.layers
        if not isinstance(layer.coherence, Skipped)
    }
    return depth_trend(list(alphas), list(alphas.values()), len(context.source.labels))


def _memory(context: AuditContext, advance: Advance) -> Memory | Skipped:
    """Return the coherence over time, which was read with the checkpoint."""
    return context.memory


def _trajectory(context: AuditContext, advance: Advance) -> Trajectory | Skipped:
    """Run the trajectory audit on the snapshots."""
    layers = [layer.name for layer in context.measured.layers]
    labels, classes = context.source.labels, context.source.class_names
    belief = believe(context.outside, labels) if context.outside else None
    return trajectory_of(
        context.snapshots, labels, layers, classes, belief=belief, crossed=_crossed(context, belief)
    )


def _crossed(context: AuditContext, belief: LabelBelief | None) -> CrossedAccuracy | Skipped:
    """Return how the checkpoints classify crossed samples, if there is a belief of the labels."""
    if belief is None or len(context.snapshots) < 2:
        return Skipped(CROSSED_SAMPLES, "nothing compares the checkpoints")
    return classify_crossed(
        context.model,
        context.source,
        belief,
        earlier=context.earlier,
        paths=[one.path for one in context.snapshots[:-1]],
        options=context.options,
        device=context.device,
    )


def _stability(context: AuditContext, advance: Advance) -> Stability | Skipped:
    """Run the stability audit on the snapshots."""
    return stability_of(context.snapshots, context.total, context.schedule)


def _width(context: AuditContext, advance: Advance) -> CoherentWidth | Skipped:
    """Run the width audit: sums of every weight, then forward passes of sub-networks."""
    sums = context.weight_sums(advance)
    layers = hidden_units(context.model, sums)
    units = measured_units(layers, sums)
    accuracy = float(np.mean(context.measured.predicted == context.source.labels))
    # no unit can be ablated: every forward pass would be that of the whole network
    if not layers:
        return coherent_width(units, accuracy, ())
    networks = sub_networks(
        context.model,
        context.source,
        layers,
        units,
        options=context.options,
        device=context.device,
        advance=advance,
    )
    return coherent_width(units, accuracy, networks)


def _decay(context: AuditContext, advance: Advance) -> BackgroundForce | Skipped:
    """Run the weight decay audit on the sums of every weight."""
    sums = context.weight_sums(advance)
    return background_force(layer_forces(context.model, sums), sums.samples, context.trained_decay)


def layer_forces(model: nn.Module, sums: WeightSums) -> list[LayerForces]:
    """Return each layer's weights and their gradients, input side first."""
    owned: dict[str, list[str]] = {}
    for name, layer in sums.layer_of.items():
        owned.setdefault(layer, []).append(name)
    # in float64, like the sums that they are compared with
    weights = {name: model.get_parameter(name).detach().double().cpu() for name in sums.layer_of}

    def joined(tensors: Mapping[str, Tensor], names: Sequence[str]) -> NDArray[np.float64]:
        flat: NDArray[np.float64] = torch.cat([tensors[name].flatten() for name in names]).numpy()
        return flat

    return [
        LayerForces(
            name=layer,
            weight=joined(weights, names),
            mean=joined(sums.mean, names),
            mean_square=joined(sums.mean_square, names),
        )
        for layer, names in owned.items()
    ]


def _robust(context: AuditContext, advance: Advance) -> RobustStep | Skipped:
    """Run the robust mean audit, in a pass of its own."""
    table = context.samples
    memorization = table["memorization"].to_numpy(dtype=float)
    flags = SampleFlags(context.source.ids, memorization, table["suspect"].to_numpy(dtype=bool))
    return robust_step(
        context.model,
        context.source,
        flags,
        options=context.options,
        device=context.device,
        advance=advance,
    )


def _inputs(context: AuditContext, advance: Advance) -> Inputs | Skipped:
    """Run the input features audit, in a pass of its own."""
    sums = input_sums(context.model, context.source, context.options, context.device, advance)
    if isinstance(sums, Skipped):
        return sums
    # the names are those of the table's columns, which a transform may have merged or dropped
    named = not sums.tokens and len(context.columns) == len(sums.columns)
    names = context.columns if named else [f"{'token ' * sums.tokens}{j}" for j in sums.columns]
    return features_of(names, sums)


def _flatness(context: AuditContext, advance: Advance) -> Flatness | Skipped:
    """Return the flatness, which was measured before the judgment."""
    return context.flatness


@dataclass(frozen=True)
class RegisteredAudit:
    """An optional audit.

    Attributes:
        run: Runs the audit and returns its result, or why it was skipped.
        passes: Passes over the samples beyond the scan's own.
        by_default: Whether it runs without being selected.
    """

    run: Callable[[AuditContext, Advance], Any]
    passes: int = 0
    by_default: bool = False


AUDITS: Mapping[str, RegisteredAudit] = {
    "depth": RegisteredAudit(_depth, by_default=True),
    "width": RegisteredAudit(_width, passes=1 + FORWARD_PASSES),
    "inputs": RegisteredAudit(_inputs, passes=1),
    "decay": RegisteredAudit(_decay, passes=1),
    "memory": RegisteredAudit(_memory, by_default=True),
    "robust": RegisteredAudit(_robust, passes=1),
    "trajectory": RegisteredAudit(_trajectory),
    "stability": RegisteredAudit(_stability),
    "flatness": RegisteredAudit(_flatness),
}
"""Audits by the name of their field in `AuditResults`, in the order of the report."""

BY_DEFAULT = tuple(name for name, audit in AUDITS.items() if audit.by_default)
"""Names of the audits that run without being selected."""

MULTI_CHECKPOINT_AUDITS = frozenset({"trajectory", "stability"})
"""Names of the audits that measure the earlier checkpoints too, with a pass over the samples for each."""


def selected_audits(names: Sequence[str]) -> frozenset[str]:
    """Return which audits are selected; the default ones if no name is given.

    Args:
        names: Names of audits, `all`, or `none`; one string may hold several, separated by commas.

    Raises:
        ConfigError: If there is no audit of that name.
    """
    selected: set[str] = set()
    given = [part.strip() for name in names for part in name.split(",")]
    for name in given:
        if name not in {*AUDITS, ALL, NONE}:
            raise ConfigError(
                "--audits", f"there is no audit {name!r}", did_you_mean(name, (*AUDITS, ALL, NONE))
            )
        selected |= set(AUDITS) if name == ALL else set() if name == NONE else {name}
    return frozenset(selected if given else BY_DEFAULT)


def run_audits(
    context: AuditContext, stage: Callable[[str, int | None], AbstractContextManager[Any]]
) -> AuditResults:
    """Run the selected audits.

    Args:
        context: The model, the data and the results of the scan.
        stage: Opens a progress stage with a name and a number of samples; yields the function to advance it.
    """
    selected = selected_audits(context.config.audits)
    return AuditResults(**dict(_results(context, selected, stage)))


def _results(
    context: AuditContext,
    selected: frozenset[str],
    stage: Callable[[str, int | None], AbstractContextManager[Any]],
) -> Iterator[tuple[str, Any]]:
    """Yield the name of each audit and its result."""
    # a new audit needs its field in the results, in the same order
    assert [field.name for field in fields(AuditResults)] == list(AUDITS)
    for name, audit in AUDITS.items():
        if name not in selected:
            yield name, Skipped(name, f"not selected: add --audits {name}")
        # the audits of several checkpoints judge by the best of them, not by the audited one
        elif not context.auditable and name not in MULTI_CHECKPOINT_AUDITS:
            yield name, Skipped(name, NO_VERDICT)
        else:
            # 0 passes: a stage without a count, which shows no bar
            total = audit.passes * len(context.source.labels) or None
            with stage(f"audit {name}", total) as advance:
                yield name, audit.run(context, advance)
