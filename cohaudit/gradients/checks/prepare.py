"""From a model and its samples to a plan that has been tried; what does not fit is said here, before all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from cohaudit.errors import CohauditError, EngineError, ModelError, describe_error
from cohaudit.gradients.checks.trial import refuse_failing, refuse_unstable, settle
from cohaudit.gradients.precision import autocast
from cohaudit.gradients.residuals import class_logits, logits_of
from cohaudit.gradients.tracing.plan import Plan, make_plan
from cohaudit.gradients.tracing.trace import call


@dataclass(frozen=True)
class Source:
    """The samples to measure.

    Attributes:
        load: Indices → a batch of inputs on the CPU.
        labels: int64 [samples].
        ids: One per sample, for messages.
        class_names: One per class, in the order of the model's outputs.
    """

    load: Callable[[Sequence[int]], Any]
    labels: NDArray[np.int64]
    ids: Sequence[str]
    class_names: Sequence[str]


def to_model(inputs: Any, model: nn.Module, device: torch.device) -> Any:
    """Return a batch of inputs on the model's device; float inputs in the dtype of its parameters."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.to(device, dtype) if leaf.is_floating_point() else leaf.to(device)

    return pytree.tree_map(move, inputs)


class Probe:
    """A few samples, loaded, for planning and for the certificate.

    Args:
        source: All samples.
        indices: Which ones.
        model: The model that they are for.
        device: The model's.
    """

    def __init__(
        self, source: Source, indices: Sequence[int], model: nn.Module, device: torch.device
    ) -> None:
        self.indices = list(indices)
        self.inputs = to_model(source.load(self.indices), model, device)
        self.labels = torch.from_numpy(source.labels[self.indices])
        self.ids: Sequence[str] = [source.ids[i] for i in self.indices]


@contextmanager
def failures_attributed(
    model: nn.Module,
    source: Source,
    indices: Sequence[int],
    batch_size: int,
    device: torch.device,
    bf16: bool = False,
) -> Iterator[None]:
    """Say of a batch that fails in the block what the reason is: too little memory, a sample, bfloat16.

    Args:
        model: The model that is called in the block.
        source: All samples.
        indices: Those of the batch.
        batch_size: As the user set it.
        device: The model's.
        bf16: Whether it runs under autocast.

    Raises:
        ModelError: If the model itself fails on one of the samples, or under autocast.
        EngineError: If memory does not suffice.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"--batch-size {batch_size}",
            f"{device} has too little memory for a batch",
            "lower it, or use --device cpu",
        ) from error
    except Exception as error:
        if not isinstance(error, CohauditError):
            # a GPU that has failed once fails on every sample
            if device.type == "cpu":
                batch = Probe(source, indices, model, device)
                refuse_failing(model, batch.inputs, batch.ids)
            if bf16:
                _refuse_autocast(model, Probe(source, indices, model, device).inputs, device)
        raise


def prepare(model: nn.Module, source: Source, device: torch.device) -> Plan:
    """Plan the measurement and try the plan on three samples.

    Raises:
        ModelError: If the model cannot be called on the data, or its outputs do not match the classes.
        EngineError: If its samples mix, its output is random, or nothing can be measured.
    """
    probe = check_model(model, source, device)
    sizes = len(probe.ids), len(probe.ids) - 1
    # cut, not loaded again: batches of other samples may be padded to another length
    smaller = pytree.tree_map(lambda t: t[: sizes[1]] if isinstance(t, Tensor) else t, probe.inputs)
    plan = make_plan(model, (probe.inputs, smaller), sizes)
    return settle(model, plan, probe.inputs, probe.labels)


def _refuse_autocast(model: nn.Module, inputs: Any, device: torch.device) -> None:
    try:
        with torch.no_grad(), autocast(device, True):
            call(model, inputs)
    except Exception as error:  # the user's code can raise anything
        raise ModelError(
            "--bf16",
            f"the model fails under torch's autocast: {describe_error(error)}",
            "leave it out, or let the model cast where it mixes types",
        ) from error


def check_model(model: nn.Module, source: Source, device: torch.device) -> Probe:
    """Stop when a model and its data do not fit; return the samples that it was called on, three or two.

    Raises:
        ModelError: If the model cannot be called on the data, or its outputs do not match the classes.
        EngineError: If its samples mix, or its output is random.
    """
    spread = np.linspace(0, len(source.labels) - 1, 3 if len(source.labels) >= 3 else 2).astype(int)
    probe = Probe(source, spread.tolist(), model, device)
    _check_outputs(model, probe, source)
    refuse_unstable(model, probe.inputs, len(probe.ids))
    return probe


def _check_outputs(model: nn.Module, probe: Probe, source: Source) -> None:
    leaves = pytree.tree_leaves(probe.inputs)
    shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor))
    try:
        with torch.no_grad():
            output = call(model, probe.inputs)
    except Exception as error:  # the user's code can raise anything
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
    outputs = logits.shape[1]
    names = source.class_names
    if outputs == len(names):
        return
    beyond = np.flatnonzero(source.labels >= outputs)
    example = ""
    if len(beyond):
        example = f"; sample {source.ids[beyond[0]]} has the label {names[source.labels[beyond[0]]]}"
    raise ModelError(
        "model",
        f"it distinguishes {outputs} classes, the data has {len(names)}: {', '.join(names[:12])}{example}",
        "correct the labels, give the model's own classes, in order, as class_names,"
        " or build it with as many (model_args)",
    )
