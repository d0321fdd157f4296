"""From a model and its samples to a measuring plan that has been tried on a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.errors import CohauditError, EngineError, ModelError, describe_error, is_out_of_memory
from cohaudit.gradients.checks.failures import refuse_gradients_inside
from cohaudit.gradients.checks.probe import Probe, load_probe, to_model
from cohaudit.gradients.checks.trial import refuse_unstable, settle
from cohaudit.gradients.pass_setup import Source
from cohaudit.gradients.residuals import class_logits, logits_of
from cohaudit.gradients.tracing.choosing import choose_layers
from cohaudit.gradients.tracing.plan import Plan
from cohaudit.gradients.tracing.planning import make_looped_plan, make_plan
from cohaudit.gradients.tracing.trace import call
from cohaudit.results.wording import spelled_alike

PROBE_SAMPLES = 3
"""Samples that a plan is made with and tried on. Planning compares batches of 3 and of 2: both sizes are rare
as layer widths, so that a dimension that changes with them is the batch."""

SUM_TOLERANCE = 1e-4
"""Rounding of the sum of a row of probabilities in float32."""

MAX_CLASSES_IN_MESSAGE = 12
"""Class names that an error message lists."""


def prepare(model: nn.Module, source: Source, device: torch.device, layers: Sequence[str] = ()) -> Plan:
    """Plan the measurement and try the plan on three samples.

    Args:
        model: On `device`, in eval mode.
        source: The samples.
        device: Device to run on.
        layers: Which parameters to measure; see `Options.layers`.

    Raises:
        ConfigError: If one of `layers` fits no parameter.
        ModelError: If the model cannot be called on the data, or its outputs do not match the classes.
        EngineError: If its samples mix, its output is random, or nothing can be measured.
        CohauditError: Any of these.
    """
    probe = check_model(model, source, device)
    sizes = len(probe.ids), len(probe.ids) - 1
    # cut rather than loaded again: a batch of other samples may be padded to another length
    smaller = pytree.tree_map(lambda t: t[: sizes[1]] if isinstance(t, Tensor) else t, probe.inputs)
    try:
        plan = make_plan(model, (probe.inputs, smaller), sizes)
        return settle(model, choose_layers(model, plan, layers), probe.inputs, probe.labels)
    except CohauditError:
        raise
    except Exception as error:  # whatever watching the calls of a model can lead to
        if is_out_of_memory(error):
            raise
        return _looped_plan(model, probe, layers, error)


def _looped_plan(model: nn.Module, probe: Probe, layers: Sequence[str], reason: Exception) -> Plan:
    """Return a plan for a model whose calls cannot be watched: plain autograd, one sample at a time.

    Raises:
        EngineError: If that fails as well.
        CohauditError: If nothing is trainable, or nothing trainable reaches the output.
    """
    try:
        plan = choose_layers(model, make_looped_plan(model, probe.inputs), layers)
        return settle(model, plan, probe.inputs, probe.labels)
    except CohauditError:
        raise
    except Exception as error:
        raise EngineError(
            "model",
            f"its gradients cannot be measured: {describe_error(error)}",
            "return the plain network from the factory, without its own gradients, scripting or autocast",
        ) from reason


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


def output_count(model: nn.Module, inputs: Any) -> int:
    """Return how many classes a model distinguishes.

    Args:
        model: In eval mode.
        inputs: A batch, on the CPU.
    """
    device = next(model.parameters()).device
    with torch.no_grad():
        return class_logits(logits_of(call(model, to_model(inputs, model, device)))).shape[1]


def _check_outputs(model: nn.Module, probe: Probe, source: Source) -> None:
    leaves = pytree.tree_leaves(probe.inputs)
    shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor))
    try:
        with torch.no_grad():
            output = call(model, probe.inputs)
    except Exception as error:  # user code can raise anything
        refuse_gradients_inside(model, error)
        raise ModelError(
            "model",
            f"it fails on a batch of inputs of shape {shapes}: {describe_error(error)}",
            "check that the data, or its transform, gives what the model's forward takes",
        ) from error
    raw = logits_of(output)
    _refuse_probabilities(raw)
    logits = class_logits(raw)
    if len(logits) != len(probe.labels):
        raise ModelError(
            "model",
            f"it gives {len(logits)} outputs for {len(probe.labels)} samples",
            "return one row of logits per sample",
        )
    _check_classes(logits.shape[1], source)


def _refuse_probabilities(outputs: Tensor) -> None:
    """Raise an error if a model's outputs are probabilities: the loss of logits would be taken of them.

    Log-probabilities pass: they are logits too.

    Raises:
        ModelError: If the rows sum to 1, or single outputs all lie between 0 and 1.
    """
    values = outputs.detach().cpu().double()
    if values.ndim == 1:
        values = values[:, None]
    # a type of 8 bits rounds each of the numbers that are added
    tolerance = max(SUM_TOLERANCE, values.shape[1] * torch.finfo(outputs.dtype).eps)
    if not bool(((values >= 0) & (values <= 1 + tolerance)).all()):
        return
    # zeros: a network that was not trained can answer with them
    single = values.shape[1] == 1 and bool((values > 0).any()) and bool((values < 1).all())
    if single or (values.shape[1] > 1 and bool(((values.sum(1) - 1).abs() <= tolerance).all())):
        found = "single outputs all lie between 0 and 1" if single else "rows of its outputs sum to 1"
        last = "sigmoid" if single else "softmax"
        raise ModelError(
            "model",
            f"{found}: they are probabilities, not logits",
            f"return what goes into the last {last}, without a {last}; a factory can return model[:-1] of a"
            " Sequential, and names and weights stay as they are",
        )


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
