"""The checkpoints of a training run, run on crossed samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from cohaudit.audits.training.crossing import CROSSED_SAMPLES, cross_samples
from cohaudit.audits.training.earlier_predictions import CheckpointOpener, predict_with
from cohaudit.audits.training.rating import CrossedAccuracy, LabelBelief
from cohaudit.errors import EngineError, ModelError
from cohaudit.gradients import Options, Source, answers
from cohaudit.results import Skipped


def classify_crossed(
    model: nn.Module,
    source: Source,
    belief: LabelBelief,
    *,
    earlier: Sequence[CheckpointOpener],
    paths: Sequence[str],
    options: Options,
    device: torch.device,
) -> CrossedAccuracy | Skipped:
    """Return how the checkpoints classify crossed samples, by forward passes.

    Args:
        model: The audited model, on `device`, in eval mode; its weights are restored in any case.
        source: The samples.
        belief: What models of the raw data believe of their labels.
        earlier: What opens the earlier checkpoints, oldest first.
        paths: Paths of those that count.
        options: How the model is run.
        device: Device to run on.

    Returns:
        Their accuracy, the audited model's last; skipped if the samples cannot be crossed, or a checkpoint
        fails on crossed ones.

    Raises:
        CheckpointError: If a checkpoint can no longer be read.
    """
    crossed = cross_samples(source, belief.expected.argmax(1), options.seed)
    if isinstance(crossed, Skipped):
        return crossed

    def advance(done: int) -> None:
        """Take the report of progress: the audit's stage shows no bar."""

    try:
        found = predict_with(
            model, earlier, crossed.source, batch_size=options.batch_size, device=device, advance=advance
        )
        last = answers(model, crossed.source, options.batch_size, device, advance)
    except (EngineError, ModelError) as error:
        return Skipped(CROSSED_SAMPLES, f"{error.where}: {error.found}")
    if list(found.files) != list(paths):
        return Skipped(CROSSED_SAMPLES, "some checkpoints cannot be told apart by them")
    predicted = [probability.argmax(1) for probability in (*found.probabilities, last)]
    return CrossedAccuracy(crossed.samples, np.stack([crossed.accuracy(own) for own in predicted]))
