"""Single blocks of a pass, measured alone: by one of several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.pass_setup import Source
from cohaudit.gradients.passes.blocks import BlockRequest, BlockState, PassKind
from cohaudit.gradients.passes.data_pass import DataPass
from cohaudit.gradients.passes.measure import begin_gradients
from cohaudit.gradients.passes.observe import begin_observing
from cohaudit.gradients.passes.resume_protocol import NullStore
from cohaudit.gradients.precision import backward_in_eval_mode, full_precision
from cohaudit.gradients.tracing.plan import Plan

BEGIN: Mapping[PassKind, Callable[..., DataPass]] = {
    "gradients": begin_gradients,
    "sums": partial(begin_observing, sums=True),
    "forward": partial(begin_observing, sums=False),
}
"""What a pass measures → function that begins it."""


@full_precision()
def measure_blocks(
    request: BlockRequest, chosen: Iterable[int], keep: Callable[[int, BlockState], None]
) -> None:
    """Measure some blocks of a pass; they are the same as if one process measured all.

    Args:
        request: The pass; its model is in eval mode, and left as it was.
        chosen: Numbers of the blocks to measure.
        keep: Called with each block that is done; its arrays are used again afterwards.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or a loss is not finite.
    """
    setup, steps = request.setup, request.steps
    with backward_in_eval_mode(setup.model, setup.device):
        for block in chosen:
            start, stop = steps.span(block)
            own = replace(setup, source=setup.source.subset(steps.order[start:stop]))
            run = BEGIN[request.kind](own, request.plan, steps.alone(block), steps.classes(block))
            run.run(NullStore(), request.advance)
            keep(block, run.block_state())


@full_precision()
def planned(model: nn.Module, source: Source, device: torch.device, layers: tuple[str, ...]) -> Plan:
    """Return how a model is measured, as the passes over all of these samples find it.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: The samples.
        device: Device to run on.
        layers: Which parameters to measure; see `Options.layers`.

    Raises:
        ConfigError: If one of `layers` fits no parameter.
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured.
    """
    with backward_in_eval_mode(model, device):
        return prepare(model, source, device, layers)
