"""The last stage of a scan: its results, put together into an `Audit`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from cohaudit._version import __version__
from cohaudit.config.used import used_settings
from cohaudit.gradients import Measurement
from cohaudit.pipeline.crossfit.stage import OutOfFold, skipped_crossfit
from cohaudit.pipeline.evidence import Reviewed
from cohaudit.pipeline.history import MeasuredHistory
from cohaudit.pipeline.holdout import skipped_holdout, unused_notice
from cohaudit.pipeline.outside import OutsideResults
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Audit, AuditResults, Flatness, Holdout, MeasuredGradients, Skipped, Subject
from cohaudit.results.wording import spelled_alike
from cohaudit.review.gates import gate_results

UNFROZEN = "All parameters were frozen (requires_grad=False): gradients of all of them were measured."
"""Notice about a model without a trainable parameter."""


@dataclass(frozen=True)
class StageResults:
    """What the stages of a scan gave, before the audits of `audits.registry`.

    Attributes:
        sample: The samples measured.
        history: The earlier checkpoints.
        measured: Measurement of the samples.
        holdout: Measurement of the holdout, or why there is none.
        outside: Predictions of the labels from the raw data, or why there are none.
        out_of_fold: What copies of the network predict, which were not trained on the sample.
        flatness: How many answers stay with noise in the weights.
        reviewed: The findings, without suspects that a person has cleared, and the evidence for them.
        unfrozen: Whether all parameters were frozen, and were measured all the same.
    """

    sample: Sample
    history: MeasuredHistory
    measured: Measurement
    holdout: Holdout | Skipped
    outside: OutsideResults
    out_of_fold: OutOfFold
    flatness: Flatness | Skipped
    reviewed: Reviewed
    unfrozen: bool = False


def assemble(subject: ScanSubject, run: ScanRun, results: StageResults, audits: AuditResults) -> Audit:
    """Return the audit with its gates evaluated.

    Args:
        subject: Model and data.
        run: The scan's instructions.
        results: Results of the stages.
        audits: Results of the audits that were run.
    """
    judged = results.reviewed.judged
    audit = Audit(
        version=__version__,
        subject=_subject(subject, results),
        settings=used_settings(run.config, subject.device.type),
        sanity=judged.sanity,
        notices=_notices(subject, results),
        coherence=judged.coherence,
        gradients=_measured_gradients(results.measured),
        layers=judged.layers,
        classes=judged.classes,
        class_cosines=judged.class_cosines,
        samples=_own_index(judged.samples, subject, results),
        cosine_error=judged.cosine_error,
        representation=judged.representation,
        outside=results.outside.predictions,
        evidence=results.reviewed.evidence,
        suppressed=results.reviewed.suppressed,
        previews=results.reviewed.previews,
        calibration=judged.calibration,
        corrections=judged.corrections,
        questions=tuple(results.sample.source.ids[i] for i in judged.questions),
        risk=judged.risk,
        crossfit=results.out_of_fold.result,
        wrong_labels=judged.wrong_labels,
        audits=audits,
        certificate=results.measured.certificate,
        skipped=_skipped(subject, results),
        gates=(),
        timings=run.stages.timings,
    )
    # gates are evaluated on the whole audit, the same way as `cohaudit check` does it from audit.json
    return replace(audit, gates=tuple(gate_results(run.config, audit)))


def _measured_gradients(measured: Measurement) -> MeasuredGradients:
    return MeasuredGradients(
        samples=len(measured.drawn),
        sums="all samples" if measured.exact_sums else "these samples",
        energy_error=float(measured.energy_error()[-1]),
    )


def _own_index(samples: pd.DataFrame, subject: ScanSubject, results: StageResults) -> pd.DataFrame:
    """Return the table of samples with the index of the caller's data: that of a frame, else positions."""
    own = subject.dataset.index
    positions = results.sample.positions
    return samples.set_axis(pd.Index(positions) if own is None else own[positions], axis="index")


def _subject(subject: ScanSubject, results: StageResults) -> Subject:
    about = subject.provenance
    return Subject(
        checkpoint=about.checkpoint,
        checkpoint_sha256=about.sha256,
        checkpoint_format=about.file_format,
        earlier=results.history.predictions.files,
        model=about.model,
        # not all of the model's: what is frozen, or does not reach the output, has no gradient to audit
        parameters=sum(layer.parameters for layer in results.measured.layers),
        data=subject.dataset.source,
        data_fingerprint=subject.dataset.fingerprint,
        samples=len(results.sample.positions),
        samples_total=len(subject.dataset),
    )


def _notices(subject: ScanSubject, results: StageResults) -> tuple[str, ...]:
    alike = spelled_alike(subject.dataset.class_names)
    return (
        *((alike,) if alike else ()),
        *results.reviewed.judged.notices,
        *unused_notice(results.holdout, subject.holdout),
        *results.out_of_fold.notices,
        *results.measured.notices,
        *results.reviewed.notices,
        *((UNFROZEN,) if results.unfrozen else ()),
    )


def _skipped(subject: ScanSubject, results: StageResults) -> tuple[Skipped, ...]:
    judged = results.reviewed.judged
    return (
        *_samples_left_out(len(results.sample.positions), len(subject.dataset)),
        *skipped_holdout(results.holdout, subject.holdout, judged.risk),
        *skipped_crossfit(results.out_of_fold),
        *results.history.predictions.skipped,
        *results.measured.skipped,
        *results.outside.skipped,
        *judged.skipped,
    )


def _samples_left_out(measured: int, total: int) -> tuple[Skipped, ...]:
    if measured == total:
        return ()
    reason = "left out by --limit; see docs/risk.md for what that does to the predicted gap"
    return (Skipped(f"{total - measured:,} of {total:,} samples", reason),)
