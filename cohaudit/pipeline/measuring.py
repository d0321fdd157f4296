"""How gradients are measured: of every sample, or by sums over all and the gradients of some.

The verdicts need no gradient, and neither do supporters and opponents: they follow from what the layers and
the output say of every sample. So a first pass gives that, and, at the price of training for an epoch, the
sums of the classes' gradients. Norms and intervals come from samples whose gradients are measured one by one
afterwards, drawn by the size of their residuals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cohaudit.config import Config
from cohaudit.gradients import (
    CheckpointStore,
    ForwardResult,
    Measurement,
    Observation,
    PassKind,
    Source,
    draw_by_scale,
    measure,
    measure_drawn,
    observe,
)
from cohaudit.pipeline.distributed.pass_blocks import PassBlocks
from cohaudit.pipeline.progress import MEASURE_DRAWN
from cohaudit.pipeline.scan_run import EXACT, SUMS, ScanRun
from cohaudit.pipeline.subject import ScanSubject


@dataclass(frozen=True)
class FirstPass:
    """What the first pass over the samples gave: their gradients, or what a second stage needs to draw some.

    Attributes:
        measured: The gradients of all samples; None if only some are to be measured.
        seen: What the pass gave instead; None if all were measured.
        blocks: Other processes that measure a part of the passes over these samples; None if there are none.
    """

    measured: Measurement | None
    seen: Observation | None
    blocks: PassBlocks | None = None

    @property
    def forward(self) -> ForwardResult:
        """What the pass tells of every sample without its gradient."""
        if self.measured is not None:
            return self.measured
        assert self.seen is not None
        return self.seen.forward


def first_pass(
    subject: ScanSubject,
    source: Source,
    run: ScanRun,
    advance: Callable[[int], None],
    *,
    store: CheckpointStore | None = None,
    blocks: PassBlocks | None = None,
) -> FirstPass:
    """Run every sample once.

    Args:
        subject: Model and data; the model is in eval mode.
        source: The samples.
        run: The scan's instructions.
        advance: Called with the number of samples done.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.
        blocks: Other processes that measure, or have measured, parts of the passes; None if there are none.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If something is not finite, memory does not suffice, or the certificate fails.
    """
    model, options, device = subject.model, run.options, subject.device
    kind = pass_kind(run, len(source.labels), earlier=bool(subject.earlier))
    reader = None if blocks is None else blocks.first
    if kind == "gradients":
        return FirstPass(measure(model, source, options, device, advance, store=store, blocks=reader), None)
    sums = kind == "sums"
    seen = observe(model, source, options, device, advance, sums=sums, store=store, blocks=reader)
    return FirstPass(None, seen, blocks)


def pass_kind(run: ScanRun, samples: int, *, earlier: bool) -> PassKind:
    """Return what the first pass over samples measures.

    Args:
        run: The scan's instructions.
        samples: Number of samples.
        earlier: Whether there are earlier checkpoints of the training run.
    """
    if measures_all(run.config, samples, follows_training=earlier and run.follows_training):
        return "gradients"
    return "sums" if run.config.coherence == SUMS else "forward"


def measures_all(config: Config, samples: int, *, follows_training: bool = False) -> bool:
    """Return whether a scan measures the gradient of every sample.

    Args:
        config: Settings.
        samples: Number of samples.
        follows_training: Whether an audit compares gradients between checkpoints.
    """
    # what follows a training run compares every sample's gradient between its checkpoints
    return config.coherence == EXACT or follows_training or samples <= 2 * config.coherence_samples


def measure_single(subject: ScanSubject, source: Source, first: FirstPass, run: ScanRun) -> Measurement:
    """Measure the gradients of some samples one by one, drawn by their residuals, unless all were measured.

    Args:
        subject: Model and data; the model is in eval mode.
        source: The samples.
        first: What the first pass gave.
        run: The scan's instructions.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or the certificate fails.
    """
    if first.measured is not None:
        return first.measured
    with run.stages(MEASURE_DRAWN, run.config.coherence_samples) as advance:
        return complete(subject, source, first, run, advance)


def complete(
    subject: ScanSubject,
    source: Source,
    first: FirstPass,
    run: ScanRun,
    advance: Callable[[int], None],
) -> Measurement:
    """Return the measurement of samples, with the gradients of some measured if the first pass did not.

    Args:
        subject: Model and data; the model is in eval mode.
        source: The samples.
        first: What the first pass gave.
        run: The scan's instructions.
        advance: Called with the number of samples done.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or the certificate fails.
    """
    if first.measured is not None:
        return first.measured
    assert first.seen is not None
    draw = draw_by_scale(
        first.forward.scale,
        source.labels,
        run.config.coherence_samples,
        run.config.seed,
        first.forward.bound,
    )
    divided = None if first.blocks is None else first.blocks.drawn
    return measure_drawn(
        subject.model,
        source,
        first.seen,
        draw,
        options=run.options,
        device=subject.device,
        advance=advance,
        blocks=None if divided is None else divided(draw.indices),
    )
