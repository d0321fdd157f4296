"""A model in memory as a scan measures it, with the default settings but for what is said otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cohaudit.analysis.leave_one_out import Suspicion, suspect_labels
from cohaudit.analysis.outside_views import OutsideView
from cohaudit.config import Config
from cohaudit.gradients import Measurement, Options, Source, measure
from cohaudit.pipeline.outside import predict_from_inputs
from cohaudit.pipeline.scan import options_of

CPU = torch.device("cpu")
SUSPICION_THRESHOLD = Config().suspicion_threshold
"""Probability of a wrong label from which on a scan lists a sample as a suspect."""
BATCH = 256
"""Samples that are read at once for the prediction from the raw data."""
CERTIFICATE_SAMPLES = 2
"""Samples that a pass is checked on. Scans check more; here the engine is not what is in question."""


def default_options(**changes: float | bool) -> Options:
    """Return the options of a pass, the defaults of a scan but for the changes."""
    return replace(options_of(Config()), **changes)


def source_of(inputs: Tensor, labels: Tensor, classes: int) -> Source:
    """Return samples as the engine reads them; the classes and the samples are named by their numbers."""
    return Source(
        load=lambda indices: inputs[list(indices)],
        labels=labels.numpy(),
        ids=[str(i) for i in range(len(labels))],
        class_names=[str(c) for c in range(classes)],
    )


def silent(count: int) -> None:
    """Take a pass's report of progress, and do nothing."""


def measure_model(
    model: nn.Module, inputs: Tensor, labels: Tensor, classes: int, **changes: float | bool
) -> Measurement:
    """Return what a scan measures of a checkpoint.

    Args:
        model: In eval mode, on the CPU.
        inputs: Training samples, [samples, ...].
        labels: As given, int64 [samples].
        classes: Number of classes.
        changes: Options that differ from the defaults, such as `temperature`.
    """
    options = default_options(**{"certificate_samples": CERTIFICATE_SAMPLES} | changes)
    return measure(model, source_of(inputs, labels, classes), options, CPU, silent)


def predict_outside(inputs: Tensor, labels: Tensor, classes: int, seed: int = 0) -> OutsideView:
    """Return what a scan predicts from the raw data; arguments as in `measure_model`."""
    return predict_from_inputs(source_of(inputs, labels, classes), BATCH, seed)


def judge_as_a_scan(
    measured: Measurement, inputs: Tensor, labels: Tensor, classes: int
) -> tuple[Suspicion, NDArray[np.bool_]]:
    """Return the verdict on every label, and which labels are suspects, [samples], as in a scan.

    Args:
        measured: What was measured of the checkpoint.
        inputs: Training samples, [samples, ...].
        labels: As given, int64 [samples].
        classes: Number of classes.
    """
    outside = predict_outside(inputs, labels, classes).probability
    views = [view.rows for view in measured.views]
    found = suspect_labels(views, labels.numpy(), measured.probability, out_of_sample=[outside])
    return found, (found.probability >= SUSPICION_THRESHOLD) & found.share.determined
