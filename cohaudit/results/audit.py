"""The audit as data: what the report, the gates, and the Python caller read.

Nothing here computes or draws. A number that was not measured is a `Skipped` with its reason, never missing.
Every number is a plain Python float or int, so that an audit survives a round trip through JSON unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from cohaudit.results.audits import AuditResults
from cohaudit.results.checks import Certificate, GateResult, Sanity
from cohaudit.results.coherence import ClassCosines, ClassResult, Coherence, Layer, MeasuredGradients
from cohaudit.results.corrections import Corrections
from cohaudit.results.estimate import Skipped
from cohaudit.results.evidence import Evidence, Preview
from cohaudit.results.gap import Crossfit, Risk, format_accuracy, format_points
from cohaudit.results.labels import LabelSummary, WrongLabels, format_wrong_labels
from cohaudit.results.outside import OutsidePrediction
from cohaudit.results.ranges import Count, NonNegative
from cohaudit.results.reviewed import ReviewCalibration
from cohaudit.results.sample_table import CopiedTable, SampleTable
from cohaudit.results.suppression import Suppression
from cohaudit.results.wording import number, percent

SCHEMA_VERSION: Final = "5.0"
"""Version of the form of audit.json; an audit of another version is not read."""

IN_MEMORY: Final = "(in memory)"
"""Stands for the file of a dataset or a model that a Python caller passes."""


@dataclass(frozen=True)
class Subject:
    """What was audited."""

    checkpoint: str
    """Path as given, or '(in memory)'."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint's content; empty in memory."""
    checkpoint_format: str
    """Format of the file, and which of its state dicts was used."""
    # hash=False: a dict has no hash, and the hash of an audit includes its subject
    earlier: Mapping[str, str] = field(hash=False)
    """Earlier checkpoints of the training run whose predictions were used, in order: path as given → SHA-256,
    empty in memory."""
    model: str
    """Factory as given, or the class name."""
    parameters: Count
    """Number of trainable parameters."""
    data: str
    """Path or factory as given."""
    data_fingerprint: str
    """Hash of the dataset; equal for equal data."""
    samples: Count
    """Number of samples audited."""
    samples_total: Count
    """Number of samples in the dataset; more than `samples` when --limit chose some of them."""


# eq=False: the comparison below knows that a table has no single truth value
@dataclass(frozen=True, eq=False)
class Audit:
    """The result of a scan: everything that the report shows.

    Audits are equal when all fields are, the table of samples and the timings included.
    """

    version: str
    """Version of cohaudit that measured."""
    subject: Subject
    """What was audited."""
    settings: Mapping[str, object]
    """Settings that shaped the numbers: key → value."""
    sanity: Sanity
    """Whether the model and the data belong together at all."""
    notices: tuple[str, ...]
    """What a reader must know before the numbers, in sentences."""
    coherence: Coherence | Skipped
    """Coherence of all samples in the whole gradient."""
    gradients: MeasuredGradients
    """Which samples' gradients these numbers stand on."""
    layers: tuple[Layer, ...]
    """Layers in the model's order, input side first."""
    classes: tuple[ClassResult, ...]
    """Classes in the order of the model's outputs."""
    class_cosines: ClassCosines | Skipped
    """Cosines between the mean gradients of the classes."""
    samples: SampleTable
    """The table of samples: one row per sample, in dataset order, with the columns SAMPLE_COLUMNS. Its index
    is that of the audited DataFrame, else each sample's position in the data; in an audit that was read back,
    the ids, unless each row is also the position. Each access gives a copy: changing it changes no report."""
    cosine_error: NonNegative
    """Upper estimate of the standard error of a cosine between two gradients that is estimated from sketches,
    for a cosine near 0; it is smaller toward ±1."""
    representation: str
    """What leave-one-out prediction sees of a sample, such as 'the input of layer fc1'; empty without a
    representation."""
    outside: tuple[OutsidePrediction, ...]
    """Predictions of the labels by models that never saw the network, from the raw data or from features."""
    evidence: tuple[Evidence, ...]
    """Evidence for the suspects, most suspicious first, then for the most certain samples of the kinds
    ambiguous, rare, and duplicate."""
    suppressed: tuple[Suppression, ...]
    """Samples that would be suspects, had no person confirmed their labels; most suspicious first."""
    previews: Mapping[str, Preview]
    """Sample id → how to show the sample, for every sample that `evidence` names, for their near-duplicates,
    and for the samples to review."""
    calibration: ReviewCalibration | Skipped
    """What reviewed labels say about the suspicions, which they have changed; skipped without a review."""
    corrections: Corrections | Skipped
    """What an earlier correction of the data says about its labels; skipped where none is known."""
    questions: tuple[str, ...]
    """Ids of the samples whose labels a person should review, in the order to ask; no answered ones."""
    risk: Risk | Skipped
    """How much lower the accuracy on new data is than in training; skipped when the model is not
    auditable."""
    crossfit: Crossfit | Skipped
    """What copies of the network predict for samples that they were not trained on; skipped unless the
    setting `crossfit` asks for it."""
    wrong_labels: WrongLabels | Skipped
    """How many labels are wrong, and whether it can be told which; skipped when no label was judged."""
    audits: AuditResults
    """The optional audits, each of one claim of the theory."""
    certificate: Certificate
    """How the run checked its own numbers."""
    skipped: tuple[Skipped, ...]
    """Everything that was left out, with the reason."""
    gates: tuple[GateResult, ...]
    """The `--fail-on` and `--warn-on` conditions of the scan, with their results."""
    timings: Mapping[str, NonNegative]
    """Seconds per stage: the only part that differs between two equal runs."""
    # a Literal takes no constant, so that the version stands here again; type checkers compare the two
    schema_version: Literal["5.0"] = SCHEMA_VERSION
    """Version of the form of audit.json."""

    @property
    def suspects(self) -> pd.DataFrame:
        """The suspects, most suspicious first: rows of `samples`; empty when no label was judged."""
        ranked = self.ranked_samples()
        return ranked[ranked["suspect"]]

    @property
    def labels(self) -> LabelSummary:
        """The verdict on the labels: how many suspects there are, and how many of them are probably wrong."""
        not_judged = self.labels_not_judged
        suspicion = self.samples.loc[self.samples["suspect"], "suspicion"]
        precision: float | Skipped
        if not_judged:
            precision = Skipped("expected precision", not_judged)
        elif suspicion.empty:
            precision = Skipped("expected precision", "there are no suspects")
        else:
            # the mean of probabilities is the expected share of wrong labels
            precision = float(suspicion.mean())
        return LabelSummary(
            samples=len(self.samples),
            suspects=Skipped("suspects", not_judged) if not_judged else len(suspicion),
            suppressed=len(self.suppressed),
            expected_precision=precision,
            wrong=Skipped("wrong labels", not_judged) if not_judged else self.wrong_labels,
        )

    @property
    def generalization(self) -> Risk | Skipped:
        """The verdict on new data: the gap between training accuracy and expected accuracy."""
        return self.risk

    @property
    def labels_not_judged(self) -> str:
        """Why no label was judged; empty when labels were judged."""
        if not self.samples["suspicion"].notna().any():
            reasons = (part.reason for part in self.skipped if part.name == "suspicion" and part.reason)
            return next(reasons, "no sample has a suspicion")
        # a model at chance has suspicions, but they say nothing about labels
        return "" if self.sanity.auditable else self.sanity.reason or "the model is not auditable"

    @property
    def lists_suspects(self) -> bool:
        """Whether labels were judged, and wrong ones can be told from those of hard samples."""
        wrong = self.labels.wrong
        return not isinstance(wrong, Skipped) and wrong.told

    def corrected_labels(self, *, numbers: bool = False) -> pd.Series[Any]:
        """Return every sample's label, that of a suspect replaced by the suggested one where that helps.

        A suspect keeps its label where the suggested one is no likelier right, as in `cohaudit.correct`. No
        data is changed: `frame["label"] = audit.corrected_labels()` writes the labels into a copy of yours.

        Args:
            numbers: Whether to return class numbers, from 0 in the order of the model's outputs, not names.

        Returns:
            The labels, with the index of `samples`.
        """
        table = self.samples
        # without a probability of its own, the suggested label is the likelier one of every suspect
        suggestion = table.get("suggestion", pd.Series(1.0, table.index))
        changed = table["suspect"] & (suggestion > 1 - table["suspicion"])
        labels = table["label"].where(~changed, table["suggested"])
        if numbers:
            labels = labels.map({one.name: number for number, one in enumerate(self.classes)})
        return labels.rename("label")

    def ranked_samples(self) -> pd.DataFrame:
        """Return all rows of `samples`, most suspicious first.

        When no label was judged, they are in the order of the data.
        """
        return self.samples.sort_values("rank", kind="stable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Audit):
            return NotImplemented
        # `==` on a DataFrame gives a table, and NaN is unequal to itself there; an index is not in audit.json
        if not self.samples.reset_index(drop=True).equals(other.samples.reset_index(drop=True)):
            return False
        names = [field.name for field in fields(self) if field.name != "samples"]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __hash__(self) -> int:
        # a few fields tell audits apart well enough, and can all be hashed
        return hash((self.version, self.subject, self.sanity, self.risk))

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
            lines.append(f"expected accuracy on new data: {format_accuracy(risk.expected)} with right labels")
        lines.append(f"training accuracy: {percent(sanity.accuracy)}, mean loss {number(sanity.mean_loss)}")
        wrong = self.labels.wrong
        if not isinstance(wrong, Skipped):
            lines.append(f"wrong labels: {format_wrong_labels(wrong)}")
        suspects = self.labels.suspects
        # 0 suspects would read as correct labels where it cannot be told which ones are wrong
        if not isinstance(suspects, Skipped) and (suspects or self.lists_suspects):
            lines.append(f"suspects: {suspects:,} (.suspects lists them, .samples has one row per sample)")
        lines += [f"gate {gate.expression}: {gate.outcome.upper()}" for gate in self.gates]
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def __repr__(self) -> str:
        """Return one line; the fields are too many to print."""
        risk = (
            "no verdict"
            if isinstance(self.risk, Skipped)
            else f"risk {self.risk.level}, gap {format_points(self.risk.gap)}"
        )
        found = self.labels.suspects
        listed = "" if isinstance(found, Skipped) or not self.lists_suspects else f", {found:,} suspects"
        return f"<Audit of {self.subject.checkpoint}: {risk}{listed}, {self.subject.samples:,} samples>"

    def _repr_html_(self) -> str:
        """Return a card, as a notebook shows it."""
        return str(_rendering().audit_card(self))

    def show(self, sample_id: str | int) -> ShownSample:
        """Show one sample: how it looks, its labels, and the samples that support and oppose them.

        Args:
            sample_id: The sample's id, as in the column `id`.

        Raises:
            ReportError: The audit has no such sample.
        """
        name = str(sample_id)
        rendering = _rendering()
        lines = rendering.sample_lines(rendering.find_sample(self, name))
        return ShownSample("\n".join(lines), rendering.sample_card(self, name))

    def plot(self) -> Any:
        """Draw the samples by suspicion, and the accuracy in training and expected on new data.

        Returns:
            A matplotlib Figure, which a notebook shows by itself; `savefig` writes it to a file.
        """
        return _rendering().plot_audit(self)

    @property
    def report_page(self) -> Path | None:
        """The report's page, if `write_report` wrote it, or if it lies beside the file that was read."""
        page: Path | None = self.__dict__.get("_report_page")
        return page

    def lies_at(self, page: Path) -> None:
        """Remember where the report's page of this audit lies."""
        # beside the fields: it says nothing about the network, and is not in audit.json
        self.__dict__["_report_page"] = page


@dataclass(frozen=True)
class ShownSample:
    """One sample of an audit, for a notebook or a terminal."""

    words: str
    """What is known of it, in lines."""
    html: str = field(repr=False)
    """The same with pictures and evidence."""

    def __repr__(self) -> str:
        """Return the words."""
        return self.words

    def _repr_html_(self) -> str:
        return self.html


def _rendering() -> Any:
    """Return the module that draws an audit.

    By its name: results know nothing of reports, but a notebook asks the object itself how it looks.
    """
    return import_module("cohaudit.report.notebook")


# after the class is made: a default in its body would make the field optional
Audit.samples = CopiedTable("samples")  # type: ignore[assignment]
