"""The last stage of a scan: its results, put together into an `Audit`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cohaudit._version import __version__
from cohaudit.config.used import used_settings
from cohaudit.gradients import Measurement
from cohaudit.pipeline.evidence import Reviewed
from cohaudit.pipeline.history import MeasuredHistory
from cohaudit.pipeline.holdout import skipped_holdout, unused_notice
from cohaudit.pipeline.run import ScanRun
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Audit, AuditResults, Holdout, Skipped, Subject
from cohaudit.review.gates import gate_results


@dataclass(frozen=True)
class Outcome:
    """What the stages of a scan gave, before the audits of `audits.registry`.

    Attributes:
        sample: The samples measured.
        history: The earlier checkpoints.
        measured: Measurement of the samples.
        holdout: Measurement of the holdout, or why there is none.
        reviewed: The findings, without suspects that a person has cleared, and the evidence for them.
    """

    sample: Sample
    history: MeasuredHistory
    measured: Measurement
    holdout: Holdout | Skipped
    reviewed: Reviewed


def assemble(subject: ScanSubject, run: ScanRun, outcome: Outcome, audits: AuditResults) -> Audit:
    """Return the audit with its gates evaluated.

    Args:
        subject: Model and data.
        run: The scan's instructions.
        outcome: Results of the stages.
        audits: Results of the audits that were run.
    """
    judged = outcome.reviewed.judged
    audit = Audit(
        version=__version__,
        subject=_subject(subject, outcome),
        settings=used_settings(run.config, subject.device.type),
        sanity=judged.sanity,
        notices=_notices(subject, outcome),
        coherence=judged.coherence,
        layers=judged.layers,
        classes=judged.classes,
        class_cosines=judged.class_cosines,
        samples=judged.samples,
        cosine_error=judged.cosine_error,
        representation=judged.representation,
        evidence=outcome.reviewed.evidence,
        suppressed=outcome.reviewed.suppressed,
        previews=outcome.reviewed.previews,
        risk=judged.risk,
        audits=audits,
        certificate=outcome.measured.certificate,
        skipped=_skipped(subject, outcome),
        gates=(),
        timings=run.stages.timings,
    )
    # gates are evaluated on the whole audit, the same way as `cohaudit check` does it from audit.json
    return replace(audit, gates=tuple(gate_results(run.config, audit)))


def _subject(subject: ScanSubject, outcome: Outcome) -> Subject:
    about = subject.provenance
    return Subject(
        checkpoint=about.checkpoint,
        checkpoint_sha256=about.sha256,
        checkpoint_format=about.file_format,
        earlier=outcome.history.predictions.files,
        model=about.model,
        parameters=sum(layer.parameters for layer in outcome.measured.layers),
        data=subject.dataset.source,
        data_fingerprint=subject.dataset.fingerprint,
        samples=len(outcome.sample.positions),
        samples_total=len(subject.dataset),
    )


def _notices(subject: ScanSubject, outcome: Outcome) -> tuple[str, ...]:
    return (
        *outcome.reviewed.judged.notices,
        *unused_notice(outcome.holdout, subject.holdout),
        *outcome.measured.notices,
        *outcome.reviewed.notices,
    )


def _skipped(subject: ScanSubject, outcome: Outcome) -> tuple[Skipped, ...]:
    judged = outcome.reviewed.judged
    return (
        *_samples_left_out(len(outcome.sample.positions), len(subject.dataset)),
        *skipped_holdout(outcome.holdout, subject.holdout, judged.risk),
        *outcome.history.predictions.skipped,
        *outcome.measured.skipped,
        *judged.skipped,
    )


def _samples_left_out(measured: int, total: int) -> tuple[Skipped, ...]:
    if measured == total:
        return ()
    reason = "limit; the risk of a subsample is an estimate of that of all samples, see docs/risk.md"
    return (Skipped(f"{total - measured:,} of {total:,} samples", reason),)
