"""Single blocks of a pass, measured alone: by one of several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import nn

from cohaudit.gradients.checks.prepare import prepare
from cohaudit.gradients.pass_setup import Options, PassSetup, Source
from cohaudit.gradients.passes.blocks import BlockState, PassKind, PassOrder
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
    model: nn.Module,
    source: Source,
    options: Options,
    device: torch.device,
    advance: Callable[[int], None],
    *,
    kind: PassKind,
    steps: PassOrder,
    chosen: Iterable[int],
    keep: Callable[[int, BlockState], None],
    plan: Plan | None = None,
) -> None:
    """Measure some blocks of a pass; they are the same as if one process measured all.

    Args:
        model: On `device`, in eval mode; left as it was.
        source: All samples of the pass.
        options: How to measure.
        device: Device to run on.
        advance: Called with the number of samples done.
        kind: What the pass measures.
        steps: The order of the whole pass.
        chosen: Numbers of the blocks to measure.
        keep: Called with each block that is done; its arrays are used again afterwards.
        plan: How to measure the model; made if left out.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If gradients cannot be measured, or a loss is not finite.
    """
    with backward_in_eval_mode(model, device):
        plan = plan or prepare(model, source, device)
        for block in chosen:
            start, stop = steps.span(block)
            own = source.subset(steps.order[start:stop])
            setup = PassSetup(model, own, options, device)
            run = BEGIN[kind](setup, plan, steps.alone(block), steps.classes(block))
            run.run(NullStore(), advance)
            keep(block, run.block_state())
