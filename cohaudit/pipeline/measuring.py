"""How gradients are measured: of every sample, or by sums over all and the gradients of some.

The verdicts need no gradient: they follow from what the layers and the output say of every sample. So a first
pass gives that, and, at the price of training for an epoch, the sums of the classes' gradients. Norms,
intervals and supporters come from samples whose gradients are measured one by one afterwards: some drawn by
the size of their residuals, and those that are shown, with their likely neighbors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.likely_neighbors import LastLayer, chosen_neighbors
from cohaudit.gradients import (
    CheckpointStore,
    ForwardResult,
    Measurement,
    Observation,
    Source,
    draw_by_scale,
    measure,
    measure_drawn,
    observe,
)
from cohaudit.pipeline.label_findings import LabelFindings
from cohaudit.pipeline.progress import MEASURE_DRAWN
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import EXACT, SUMS, ScanRun
from cohaudit.pipeline.subject import ScanSubject

SHOWN_SHARE = 40
"""Of this many samples, one is measured for what is shown; see `MIN_SHOWN` and `MAX_SHOWN`."""
MIN_SHOWN = 400
"""Samples that are measured for what is shown, if there are as many."""
MAX_SHOWN = 2000
"""Most samples that are measured for what is shown."""
LIKELY_NEIGHBORS = 5
"""Likely supporters, and opponents, of a shown sample whose gradients are measured, at most."""


@dataclass(frozen=True)
class FirstPass:
    """What the first pass over the samples gave: their gradients, or what a second stage needs to draw some.

    Attributes:
        measured: The gradients of all samples; None if only some are to be measured.
        seen: What the pass gave instead; None if all were measured.
    """

    measured: Measurement | None
    seen: Observation | None

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
    store: CheckpointStore | None = None,
) -> FirstPass:
    """Run every sample once.

    Args:
        subject: Model and data; the model is in eval mode.
        source: The samples.
        run: The scan's instructions.
        advance: Called with the number of samples done.
        store: Saves the unfinished pass, and loads an earlier one; None for neither.

    Raises:
        ModelError: If model and data do not fit.
        EngineError: If something is not finite, memory does not suffice, or the certificate fails.
    """
    model, options, device = subject.model, run.options, subject.device
    # what follows a training run compares every sample's gradient between its checkpoints
    all_wanted = run.config.coherence == EXACT or run.follows_training
    if all_wanted or len(source.labels) <= 2 * run.config.coherence_samples:
        return FirstPass(measure(model, source, options, device, advance, store=store), None)
    sums = run.config.coherence == SUMS
    return FirstPass(None, observe(model, source, options, device, advance, sums=sums, store=store))


def measure_shown(
    subject: ScanSubject, sample: Sample, first: FirstPass, judged: LabelFindings, run: ScanRun
) -> Measurement:
    """Measure the gradients that the first pass did not: some drawn, and those of the samples shown.

    Args:
        subject: Model and data; the model is in eval mode.
        sample: The samples.
        first: What the first pass gave.
        judged: The verdict on the labels, with the samples shown.
        run: The scan's instructions.

    Raises:
        ModelError: If the model itself fails on one of the samples.
        EngineError: If gradients cannot be measured, or the certificate fails.
    """
    if first.measured is not None:
        return first.measured
    wanted = _wanted(first.forward, sample.source.labels, judged.shown)
    count = run.config.coherence_samples + len(wanted)
    with run.stages(MEASURE_DRAWN, count) as advance:
        return complete(subject, sample.source, first, run, wanted=wanted, advance=advance)


def complete(
    subject: ScanSubject,
    source: Source,
    first: FirstPass,
    run: ScanRun,
    *,
    wanted: NDArray[np.int64],
    advance: Callable[[int], None],
) -> Measurement:
    """Return the measurement of samples, with the gradients of some measured if the first pass did not.

    Args:
        subject: Model and data; the model is in eval mode.
        source: The samples.
        first: What the first pass gave.
        run: The scan's instructions.
        wanted: Indices of samples whose gradients are measured in any case.
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
        certain=wanted,
        seed=run.config.seed,
    )
    return measure_drawn(
        subject.model,
        source,
        first.seen,
        draw,
        options=run.options,
        device=subject.device,
        advance=advance,
    )


def _wanted(forward: ForwardResult, labels: NDArray[np.int64], shown: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the samples that are shown, and their likely neighbors, as many as are worth measuring."""
    most = int(np.clip(len(labels) // SHOWN_SHARE, MIN_SHOWN, MAX_SHOWN))
    # the input of the last layer, whole; nothing is shown if no layer gives a representation
    views = [view for view in forward.views if not view.averaged]
    if not views or not len(shown):
        return np.sort(shown[:most])
    layer = LastLayer(views[-1].rows, forward.probability, labels)
    return chosen_neighbors(layer, shown, LIKELY_NEIGHBORS, most)
