"""Why a batch failed: too little memory, one of its samples, or bfloat16."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from cohaudit.errors import CohauditError, EngineError, ModelError, describe_error
from cohaudit.gradients.checks.probe import load_probe
from cohaudit.gradients.pass_setup import Source
from cohaudit.gradients.precision import autocast
from cohaudit.gradients.single_sample import sample
from cohaudit.gradients.tracing.trace import call

NO_GRADIENTS = "does not require grad"
"""What torch says if a gradient is asked for and none are recorded."""


@contextmanager
def attribute_batch_failure(
    model: nn.Module,
    source: Source,
    indices: Sequence[int],
    device: torch.device,
    *,
    batch_size: int,
    bf16: bool = False,
) -> Iterator[None]:
    """Turn the failure of a batch within the block into an error that names the reason.

    Args:
        model: Model that is called in the block.
        source: All samples.
        indices: Indices of the batch's samples.
        device: Device of the model.
        batch_size: Batch size as the user set it.
        bf16: Whether the model runs under autocast.

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
            "use a smaller batch size, or --device cpu",
        ) from error
    except Exception as error:
        if not isinstance(error, CohauditError):
            # after one failed kernel every later call on a GPU fails, which would accuse the first sample
            if device.type == "cpu":
                batch = load_probe(source, indices, model, device)
                refuse_failing_sample(model, batch.inputs, batch.ids)
            # after the samples: one that fails without autocast is itself to blame
            if bf16:
                _refuse_autocast(model, load_probe(source, indices, model, device).inputs, device)
        raise


def refuse_failing_sample(model: nn.Module, inputs: Any, ids: Sequence[str]) -> None:
    """Call the model on each sample alone.

    Raises:
        ModelError: If the model fails on one; names the sample.
    """
    for index, name in enumerate(ids):
        try:
            with torch.no_grad():
                call(model, sample(inputs, index))
        except Exception as error:  # user code can raise anything
            raise ModelError(
                f"sample {name}",
                f"the model fails on it: {describe_error(error)}",
                "correct or drop the sample, e.g. one with a token id beyond the model's vocabulary",
            ) from error


def refuse_gradients_inside(model: nn.Module, error: Exception) -> None:
    """Raise an error if a forward pass failed because it takes gradients itself while none are recorded.

    Predictions are computed without recording, as in any evaluation: there, such a network fails too.

    Args:
        model: The model.
        error: What its forward pass raised.

    Raises:
        ModelError: If it takes gradients; names the innermost layer in whose forward it does.
    """
    if NO_GRADIENTS not in str(error):
        return
    names = {id(module): name for name, module in model.named_modules()}
    callers = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    layers = [names[id(caller)] for caller in callers if id(caller) in names]
    raise ModelError(
        f"layer {layers[-1]}" if layers and layers[-1] else "model",
        "its forward takes gradients, and fails where none are recorded, as in any evaluation",
        "in its forward, take them in a block `with torch.enable_grad():`",
    ) from error


def _refuse_autocast(model: nn.Module, inputs: Any, device: torch.device) -> None:
    try:
        with torch.no_grad(), autocast(device, True):
            call(model, inputs)
    except Exception as error:  # user code can raise anything
        raise ModelError(
            "--bf16",
            f"the model fails under torch's autocast: {describe_error(error)}",
            "leave it out, or let the model cast where it mixes types",
        ) from error
