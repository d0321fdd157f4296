"""The audit as data: frozen dataclasses that the report, the gates and the Python caller read.

Nothing here computes or draws. What was not measured is a `Skipped` with its reason, never a gap.
Every number is a plain Python float, int or str, so that an audit survives a round trip through JSON
unchanged. Shares are in [0, 1], cosines in [-1, 1], losses in nats, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from cohaudit.results.audits import AuditResults
from cohaudit.results.gap import Estimate, Risk, Skipped, format_points
from cohaudit.results.suppression import Suppression

SCHEMA_VERSION = "5.0"

SAMPLE_COLUMNS: tuple[str, ...] = (
    "id",
    "label",
    "predicted",
    "suggested",
    "suspicion",
    "suspect",
    "kind",
    "certainty",
    "duplicate_of",
    "memorization",
    "loss",
    "margin",
    "gradient_norm",
    "support",
    "support_count",
    "loo_margin",
    "supporters",
    "opponents",
)
"""Columns of the table of samples, in order; see docs/measures.md for each one's definition."""


@dataclass(frozen=True)
class Coherence:
    """How much a set of per-sample gradients has in common (Chatterjee & Zielinski, arXiv 2203.10036)."""

    samples: int
    """Samples in the set, m."""
    alpha: Estimate
    """α = ‖μ‖² / mean‖g_i‖², in [0, 1]: the share of a gradient that is common."""
    m_coherence: Estimate
    """m·α: how many samples, itself included, one sample's step helps on average."""
    pairwise: Estimate
    """α_u, α without its own-sample bias: 0 when gradients are orthogonal, whatever m is."""


@dataclass(frozen=True)
class Layer:
    """One module that owns parameters."""

    name: str
    """Qualified name in the model; the root module is '(model)'."""
    kind: str
    """Class name of the module."""
    parameters: int
    """Trainable parameters it owns (a shared one counts where it is first named)."""
    path: Literal["closed form", "vmap", "loop"]
    """How its per-sample gradients were computed."""
    energy: float
    """f_l, its share of Σ‖g_i‖² over the model."""
    gradient_norm: float
    """Root mean square of ‖g_i^l‖ over the samples."""
    coherence: Coherence | Skipped
    """Over all samples, on this layer's part of the gradient."""


@dataclass(frozen=True)
class ClassResult:
    """One class of the dataset."""

    name: str
    """Class name."""
    samples: int
    """Samples labeled with it."""
    accuracy: float
    """Share of them that the model predicts as labeled."""
    mean_loss: float
    """Mean loss over them, in nats."""
    suspects: int
    """How many of them are flagged as likely mislabeled."""
    predicted_gap: Estimate | Skipped
    """Its accuracy in training less that on new samples of the class, predicted from the training data."""
    coherence: Coherence | Skipped
    """Over the samples of the class, on the whole gradient."""


def by_gap(classes: Sequence[ClassResult]) -> list[ClassResult]:
    """Return the classes with the largest predicted gap first; as they came where there is none."""

    def gap(one: ClassResult) -> float:
        return one.predicted_gap.value if isinstance(one.predicted_gap, Estimate) else 0.0

    return sorted(classes, key=gap, reverse=True)


@dataclass(frozen=True)
class ClassCosines:
    """Cosines between the mean gradients of the classes; negative: the two pull the weights apart."""

    matrix: tuple[tuple[float, ...], ...]
    """[class, class], in the order of the classes; the diagonal is 1. A class without gradient has 0."""
    error: float
    """Standard error of one cosine: 0 when computed from whole gradients, above 0 when from sketches."""


@dataclass(frozen=True)
class Neighbor:
    """A sample seen from another one."""

    id: str
    """Its id."""
    label: str
    """Its label as given."""
    cosine: float
    """Cosine of the two loss gradients (from sketches)."""
    duplicate: bool
    """Whether every layer sees the two nearly alike."""


@dataclass(frozen=True)
class Evidence:
    """What stands for and against a sample's label: who agrees with it and who fights it."""

    id: str
    """The sample."""
    supporters: tuple[Neighbor, ...]
    """Samples with the largest positive cosine, strongest first."""
    opponents: tuple[Neighbor, ...]
    """Samples with the most negative cosine, strongest first."""
    content: str
    """Hash of its input: what a suppression names it by."""
    place: str
    """Path of the file that the sample lies in, or whose code makes it, as seen from where the scan was
    started, with slashes; empty when in memory."""
    line: int
    """Line of that file that the sample begins in, from 1; 0 where a file has no lines, or it is unknown."""


@dataclass(frozen=True)
class Preview:
    """What a person is shown of a sample."""

    kind: Literal["image", "wave", "row", "text", "none"]
    """How to show it."""
    image: str = ""
    """kind image: a data URI of a PNG; kind wave: of a drawing of the signal over time."""
    row: Mapping[str, str] = field(default_factory=dict)
    """kind row: column → value as written in the file."""
    text: str = ""
    """kind text: the text, cut to a readable length."""


@dataclass(frozen=True)
class Check:
    """One thing that the certificate held against an independent computation."""

    name: str
    """What was compared."""
    layer: str
    """The layer with the largest error."""
    error: float
    """The largest relative error found."""
    tolerance: float
    """The error above which the run would have stopped."""


@dataclass(frozen=True)
class Certificate:
    """What the run did to show that its numbers can be trusted."""

    samples: int
    """Samples that were computed again, one at a time, by plain autograd."""
    checks: tuple[Check, ...]
    """Each comparison with its largest error; all are within tolerance, or the run would have stopped."""
    parameter_coverage: float
    """Share of the model's trainable parameters whose gradients were measured."""


@dataclass(frozen=True)
class Sanity:
    """Whether the model and the data belong together at all."""

    auditable: bool
    """False when the model does not predict its own training labels better than chance."""
    accuracy: float
    """Share of the training samples predicted as labeled."""
    balanced_accuracy: float
    """Mean over the classes of each class's accuracy."""
    chance: float
    """1 / number of classes."""
    mean_loss: float
    """Mean training loss, in nats."""
    reason: str
    """In words; what to check when not auditable."""


@dataclass(frozen=True)
class Subject:
    """What was audited."""

    checkpoint: str
    """Path as given, or '(in memory)'."""
    checkpoint_sha256: str
    """Hash of the checkpoint file's content; empty in memory."""
    checkpoint_format: str
    """Format of the file, and which of its state dicts was used."""
    earlier: Mapping[str, str]
    """Earlier checkpoints of the training whose answers were heard, in order: path → hash, as above."""
    model: str
    """Factory as given, or the class name."""
    parameters: int
    """Trainable parameters."""
    data: str
    """Path or factory as given."""
    data_fingerprint: str
    """Hash of the dataset; equal for equal data."""
    samples: int
    """Samples audited."""
    samples_total: int
    """Samples in the dataset; more than `samples` when --limit took a subsample."""


@dataclass(frozen=True)
class GateResult:
    """One `--fail-on` or `--warn-on` condition and what came of it."""

    expression: str
    """As the user wrote it."""
    measured: str
    """The value it was compared with, unrounded."""
    failed: bool
    """True when the condition holds, or when the model is not auditable."""
    reason: str
    """In words."""
    warned: bool = False
    """True when it does not fail, but the condition holds on the value without its interval, or was only to
    warn."""

    @property
    def outcome(self) -> Literal["failed", "warned", "passed"]:
        """What came of it, in a word."""
        return "failed" if self.failed else "warned" if self.warned else "passed"


@dataclass(frozen=True)
class Audit:
    """The result of a scan, whole: everything that the report shows is in here."""

    version: str
    """Version of cohaudit that measured."""
    subject: Subject
    settings: Mapping[str, object]
    """Configuration that shaped the numbers: key → value."""
    sanity: Sanity
    notices: tuple[str, ...]
    """What a reader must know before the numbers, in sentences."""
    coherence: Coherence | Skipped
    """Over all samples, on the whole gradient."""
    layers: tuple[Layer, ...]
    """In the model's order, input side first."""
    classes: tuple[ClassResult, ...]
    class_cosines: ClassCosines | Skipped
    samples: pd.DataFrame
    """One row a sample, in dataset order; columns SAMPLE_COLUMNS."""
    cosine_error: float
    """Upper estimate of the standard error of a sketched cosine near 0 between two gradients."""
    representation: str
    """What leave-one-out prediction sees of a sample, such as 'the input of layer fc1'; empty without any."""
    evidence: tuple[Evidence, ...]
    """For the suspects, most suspicious first, then for those most certainly ambiguous, rare, there twice."""
    suppressed: tuple[Suppression, ...]
    """Samples that would be suspects, had no person found their labels right; most suspicious first."""
    previews: Mapping[str, Preview]
    """Sample id → what to show, for every sample that `evidence` names, and for near-duplicates of them."""
    risk: Risk | Skipped
    """Skipped when the model is not auditable: no verdict."""
    audits: AuditResults
    """The further audits, each on one claim of the theory."""
    certificate: Certificate
    skipped: tuple[Skipped, ...]
    """Everything that was left out, with the reason."""
    gates: tuple[GateResult, ...]
    timings: Mapping[str, float]
    """Seconds per stage: the only part that differs between two equal runs."""
    schema_version: str = SCHEMA_VERSION

    def __str__(self) -> str:
        """Return a summary of a few lines."""
        subject = self.subject
        sanity = self.sanity
        risk = self.risk
        lines = [f"cohaudit audit of {subject.checkpoint} ({subject.model}), {subject.samples:,} samples"]
        if isinstance(risk, Skipped):
            lines.append(f"no verdict: {risk.reason if sanity.auditable else sanity.reason}")
        else:
            lines.append(f"risk of overfitting: {risk.level}, a gap of {format_points(risk.gap)}")
        lines.append(f"training accuracy: {sanity.accuracy:.2%}, mean loss {sanity.mean_loss:.4g}")
        if sanity.auditable and self.samples["suspicion"].notna().any():
            lines.append(f"suspects: {int(self.samples['suspect'].sum()):,} (.samples has one row a sample)")
        lines += [f"gate {gate.expression}: {gate.outcome.upper()}" for gate in self.gates]
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def __repr__(self) -> str:
        """Return one line; the fields are too many to print."""
        risk = (
            "none"
            if isinstance(self.risk, Skipped)
            else f"{self.risk.level} ({format_points(self.risk.gap)})"
        )
        return f"<Audit of {self.subject.checkpoint}: risk {risk}, {self.subject.samples:,} samples>"
