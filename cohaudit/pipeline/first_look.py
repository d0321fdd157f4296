"""A look at a few samples before all are run: does the network know them at all?"""

from __future__ import annotations

import numpy as np

from cohaudit.analysis.sanity import is_skilled
from cohaudit.gradients import answers
from cohaudit.pipeline.progress import LOOK_AT_SAMPLES
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results.wording import percent

LOOKED_AT = 256
"""Samples looked at: the accuracy on them is known within a few points."""
WORTH_A_LOOK = 20
"""A look pays where all samples are at least this many times as many."""


def first_look(subject: ScanSubject, sample: Sample, run: ScanRun) -> str:
    """Return what a look at a few of many samples says, in words; empty if there is nothing to say.

    A scan of a network that does not know its data ends without a verdict: whoever waits for a long pass
    should know in its first second.

    Args:
        subject: Model and data; the model is in eval mode.
        sample: The samples.
        run: The scan's instructions.

    Raises:
        ModelError: If the model fails on a sample.
        EngineError: If a logit is not finite, or memory does not suffice.
    """
    source = sample.source
    if len(source.labels) < WORTH_A_LOOK * LOOKED_AT:
        return ""
    generator = np.random.default_rng(run.config.seed)
    chosen = np.sort(generator.choice(len(source.labels), LOOKED_AT, replace=False))
    some = source.subset(chosen)
    with run.stages(LOOK_AT_SAMPLES, LOOKED_AT) as advance:
        probability = answers(subject.model, some, run.config.batch_size, subject.device, advance)
    predicted = probability.argmax(1)
    if is_skilled(predicted, some.labels, len(some.class_names)):
        return ""
    accuracy = percent(float(np.mean(predicted == some.labels)))
    return f"{accuracy} of {len(chosen)} predicted as labeled, no better than chance: wrong preprocessing?"
