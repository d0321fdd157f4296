"""From a model and its samples to a measuring plan that has been tried on a few of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.errors import ModelError, describe_error
from cohaudit.gradients.checks.probe import Probe, load_probe
from cohaudit.gradients.checks.trial import refuse_unstable, settle
from cohaudit.gradients.pass_setup import Source
from cohaudit.gradients.residuals import class_logits, logits_of
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.planning import make_plan
from cohaudit.gradients.tracing.trace import call
from cohaudit.results.wording import spelled_alike

PROBE_SAMPLES = 3
"""Samples that a plan is made with and tried on. Planning compares batches of 3 and of 2: both sizes are rare
as layer widths, so that a dimension that changes with them is the batch."""

MAX_CLASSES_IN_MESSAGE = 12
"""Class names that an error message lists."""


def prepare(model: nn.Module, source: Source, device: torch.device) -> Plan:
    """Plan the measurement and try the plan on three samples.

    Args:
        model: On `device`, in eval mode.
        source: The samples.
        device: Device to run on.

    Raises:
        ModelError: If the model cannot be called on the data, or its outputs do not match the classes.
        EngineError: If its samples mix, its output is random, or nothing can be measured.
    """
    probe = check_model(model, source, device)
    sizes = len(probe.ids), len(probe.ids) - 1
    # cut rather than loaded again: a batch of other samples may be padded to another length
    smaller = pytree.tree_map(lambda t: t[: sizes[1]] if isinstance(t, Tensor) else t, probe.inputs)
    plan = make_plan(model, (probe.inputs, smaller), sizes)
    return settle(model, plan, probe.inputs, probe.labels)


def check_model(model: nn.Module, source: Source, device: torch.device) -> Probe:
    """Refuse a model that does not fit its data.

    Args:
        model: On `device`, in eval mode.
        source: The samples.
        device: Device to run on.

    Returns:
        The samples on which the model was called: three, or two of a smaller data set.

    Raises:
        ModelError: If the model cannot be called on the data, or its outputs do not match the classes.
        EngineError: If its samples mix, or its output is random.
    """
    # spread over the data set: files sorted by class would otherwise give a probe of one class
    count = PROBE_SAMPLES if len(source.labels) >= PROBE_SAMPLES else 2
    spread = np.linspace(0, len(source.labels) - 1, count).astype(int)
    probe = load_probe(source, spread.tolist(), model, device)
    _check_outputs(model, probe, source)
    refuse_unstable(model, probe.inputs, len(probe.ids))
    return probe


def _check_outputs(model: nn.Module, probe: Probe, source: Source) -> None:
    leaves = pytree.tree_leaves(probe.inputs)
    shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor))
    try:
        with torch.no_grad():
            output = call(model, probe.inputs)
    except Exception as error:  # user code can raise anything
        raise ModelError(
            "model",
            f"it fails on a batch of inputs of shape {shapes}: {describe_error(error)}",
            "check that the data, or its transform, gives what the model's forward takes",
        ) from error
    logits = class_logits(logits_of(output))
    if len(logits) != len(probe.labels):
        raise ModelError(
            "model",
            f"it gives {len(logits)} outputs for {len(probe.labels)} samples",
            "return one row of logits per sample",
        )
    _check_classes(logits.shape[1], source)


def _check_classes(outputs: int, source: Source) -> None:
    names = source.class_names
    if outputs == len(names):
        return
    beyond = np.flatnonzero(source.labels >= outputs)
    example = ""
    if len(beyond):
        example = f"; sample {source.ids[beyond[0]]} has the label {names[source.labels[beyond[0]]]}"
    listed = ", ".join(names[:MAX_CLASSES_IN_MESSAGE])
    alike = spelled_alike(names)
    example += f". {alike.rstrip('.')}" if alike else ""
    raise ModelError(
        "model",
        f"it distinguishes {outputs} classes, the data has {len(names)}: {listed}{example}",
        "correct the labels, give the model's own classes, in order, as class_names,"
        " or build it with as many (model_args)",
    )
