"""The model on samples that it was not trained on: how much worse it is, and whether their gradients agree.

A step along the training samples' mean gradient lowers the loss of a new sample to the extent that the two
gradients agree: coherence within the training data predicts coherence between training data and holdout.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.coherence import pairwise_coherence
from cohaudit.analysis.expected_score import measured_score
from cohaudit.analysis.generalization_gap import gap_to
from cohaudit.analysis.holdout_labels import accuracy_on_right_labels
from cohaudit.analysis.sanity import is_skilled
from cohaudit.gradients import Measurement
from cohaudit.loading.data import LabeledDataset
from cohaudit.pipeline.cache_key import cache_key
from cohaudit.pipeline.holdout_data import NO_HOLDOUT, NewSamples, errors_named_after
from cohaudit.pipeline.measuring import complete, first_pass
from cohaudit.pipeline.progress import MEASURE_HOLDOUT
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Holdout, Risk, Skipped

Array = NDArray[np.float64]


def measure_holdout(
    subject: ScanSubject, sample: Sample, measured: Measurement, run: ScanRun
) -> Holdout | Skipped:
    """Measure the holdout, if there is one and the model is better than chance on its training data.

    Args:
        subject: Model and data; the model is in eval mode.
        sample: The samples of the training data that were measured, and the holdout's new ones.
        measured: Measurement of the former.
        run: The scan's instructions.

    Raises:
        DataError: If an input cannot be read.
        ModelError: If the model fails on a sample.
        EngineError: If gradients cannot be measured.
    """
    holdout = subject.holdout
    new = sample.holdout
    labels = sample.source.labels
    # a model at chance gets no verdict, so its holdout would be measured for nothing
    if holdout is None or not is_skilled(measured.predicted, labels, len(sample.source.class_names)):
        return NO_HOLDOUT
    if isinstance(new, Skipped):
        return new
    with (
        run.stages(MEASURE_HOLDOUT, len(new.source.labels)) as advance,
        errors_named_after(holdout.source),
    ):
        key = cache_key(run.config, subject, new.source.labels, subject.provenance.sha256)
        blocks = run.blocks_of("holdout", new.source, new.positions, key)
        first = first_pass(subject, new.source, run, advance, blocks=blocks)
        measured_new = complete(subject, new.source, first, run, advance=lambda count: None)
    return _compared(holdout, new, measured_new, measured, labels)


def _compared(
    holdout: LabeledDataset,
    new: NewSamples,
    measured: Measurement,
    trained: Measurement,
    labels: NDArray[np.int64],
) -> Holdout:
    """Compare the measurement of the holdout with that of the training data, whose labels are given."""
    accuracy = float(np.mean(measured.predicted == new.source.labels))
    mean, energy = _mean_and_energy(measured)
    own_mean, own_energy = _mean_and_energy(trained)
    product = float(mean @ own_mean)
    lengths = _length(measured, mean) * _length(trained, own_mean)
    count = len(new.source.labels)
    training_accuracy = float(np.mean(trained.predicted == labels))
    views = [view.rows for view in measured.views]
    right = accuracy_on_right_labels(measured.probability, views, new.source.labels)
    return Holdout(
        data=holdout.source,
        data_fingerprint=holdout.fingerprint,
        samples=count,
        repeated=new.repeated,
        accuracy=accuracy,
        gap=gap_to(training_accuracy, measured_score(accuracy, count)),
        right_accuracy=right,
        right_gap=right if isinstance(right, Skipped) else gap_to(training_accuracy, right),
        # both means are sketched by the same projections, so that their product is that of the gradients
        # lengths that are estimated may be too short
        cosine=min(max(product / lengths, -1.0), 1.0) if lengths else 0.0,
        within=_pairwise(trained),
        # each mean is on the scale of its own energy, so that the scales cancel
        across=product / float(np.sqrt(energy * own_energy)) if energy * own_energy else 0.0,
    )


def skipped_holdout(
    measured: Holdout | Skipped, holdout: LabeledDataset | None, risk: Risk | Skipped
) -> tuple[Skipped, ...]:
    """Return why a holdout that was given could not be used; empty if it was used or none was given.

    Args:
        measured: Measurement of the holdout, or why there is none.
        holdout: The whole holdout; None if none was given.
        risk: Risk of the audit, or why there is none.
    """
    if holdout is None:
        return ()
    if isinstance(risk, Skipped):
        return (Skipped(f"holdout {holdout.source}", risk.reason),)
    return (measured,) if isinstance(measured, Skipped) else ()


def unused_notice(measured: Holdout | Skipped, holdout: LabeledDataset | None) -> Iterator[str]:
    """Yield a notice about a holdout that could not be measured: the user who gave it expects it to count.

    Args:
        measured: Measurement of the holdout, or why there is none.
        holdout: The whole holdout; None if none was given.
    """
    # a model without a verdict is not a fault of the holdout: `skipped_holdout` gives the reason
    if holdout is not None and isinstance(measured, Skipped) and measured.name != NO_HOLDOUT.name:
        yield f"The {measured.name} was not used: {measured.reason}."


def _mean_and_energy(measured: Measurement) -> tuple[Array, float]:
    """Return the sketched mean gradient and the mean squared norm, on a scale that float64 can square."""
    mean, peak = measured.mean_gradient()
    # divided twice, not by the square: the square of a tiny peak is zero
    if measured.complete:
        return mean, float((measured.squared_norms.sum(1) / peak / peak).mean())
    return mean, float(measured.energy().sum() / peak / peak) / len(measured.scale)


def _length(measured: Measurement, mean: Array) -> float:
    """Return the length of the mean gradient, on the scale of its sketch."""
    if measured.exact_sums:
        return float(np.linalg.norm(mean))
    # the mean of few gradients is long by chance, which the estimated square of the sum leaves out
    _, peak = measured.mean_gradient()
    return float(np.sqrt(measured.total_squares.sum())) / peak / len(measured.scale)


def _pairwise(measured: Measurement) -> float:
    total = float(measured.total_squares.sum())
    energy = float(measured.energy().sum())
    return pairwise_coherence(total, energy, len(measured.scale)) if energy else 0.0
