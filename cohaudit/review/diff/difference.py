"""The difference of two audits, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cohaudit.results import Estimate, Level
from cohaudit.results.short_repr import use_short_reprs
from cohaudit.review.diff.label_changes import LabelChanges
from cohaudit.review.diff.ranking import Ranking
from cohaudit.review.diff.samples import SampleChanges
from cohaudit.review.diff.suspects import SuspectChanges
from cohaudit.review.diff.width import WidthChange

DIFFERENCE_SCHEMA_VERSION = "1.0"
"""Version of what `cohaudit diff --json` prints."""

Outcome = Literal["higher", "lower", "alike", "unknown"]
"""The head compared with the base: clearly higher or lower, not clearly either, or not measured in both."""

Headline = Literal["worse", "better", "fewer suspects", "no clear change", "nothing to compare"]
"""The whole difference in a few words."""

OnlyIn = Literal["", "base", "head"]
"""The audit that alone has a layer or class; empty when both have it."""


@dataclass(frozen=True)
class ComparedAudit:
    """The subject of one of the two audits, and its main results."""

    version: str
    """Version of cohaudit that measured."""
    checkpoint: str
    """Path of the checkpoint as given."""
    checkpoint_sha256: str
    """SHA-256 of the checkpoint's content; empty in memory."""
    model: str
    """Factory as given, or the class name."""
    parameters: int
    """Number of trainable parameters."""
    data: str
    """Path or factory of the data as given."""
    data_fingerprint: str
    """Hash of the dataset; equal for equal data."""
    samples: int
    """Number of samples audited."""
    level: Level | None
    """Level of risk, by the thresholds of the head; None without a verdict."""
    no_verdict: str
    """Why there is no verdict; empty when there is one."""
    accuracy: float
    """Training accuracy, in [0, 1]."""
    suspects: int | None
    """Number of suspects; None when no label was judged."""


@dataclass(frozen=True)
class EstimateChange:
    """One measurement in both audits."""

    base: Estimate | None
    """The estimate of the base; None when it was not measured."""
    head: Estimate | None
    """The estimate of the head; None when it was not measured."""
    outcome: Outcome
    """The comparison; see docs/comparing.md for what is clear."""


def compare_estimates(base: Estimate | None, head: Estimate | None) -> EstimateChange:
    """Compare a measurement with an earlier one: it changed when their intervals do not overlap."""
    if base is None or head is None:
        return EstimateChange(base, head, "unknown")
    # stricter than a test at the intervals' level; docs/comparing.md has how often it is wrong
    if head.low > base.high:
        return EstimateChange(base, head, "higher")
    return EstimateChange(base, head, "lower" if head.high < base.low else "alike")


@dataclass(frozen=True)
class LayerChange:
    """One layer in both audits."""

    name: str
    """Layer name."""
    only_in: OnlyIn
    """The audit that alone has a layer of this name."""
    coherence: EstimateChange
    """Pairwise coherence α_u over all samples, in [-1, 1]."""


@dataclass(frozen=True)
class ClassChange:
    """One class in both audits."""

    name: str
    """Class name."""
    only_in: OnlyIn
    """The audit that alone has a class of this name."""
    gap: EstimateChange
    """Predicted gap of the class, in [-1, 1]."""
    coherence: EstimateChange
    """Pairwise coherence α_u over the samples of the class, in [-1, 1]."""
    base_suspects: int | None
    """Number of suspects in the base; None when no label was judged, or the base has no such class."""
    head_suspects: int | None
    """Number of suspects in the head; None when no label was judged, or the head has no such class."""


@dataclass(frozen=True)
class Difference:
    """What changed from one audit, the base, to another one, the head."""

    base: ComparedAudit
    """The audit that the head is compared with."""
    head: ComparedAudit
    """The audit that is compared."""
    unlike: tuple[str, ...]
    """What else differs besides the model, in sentences: it can explain a change."""
    samples: SampleChanges
    """Which samples are in both audits, and what became of the others."""
    score: EstimateChange
    """Accuracy to expect on new data, in [0, 1]."""
    wrong_labels: EstimateChange
    """Share of wrong labels, in [0, 1]; not measured where it cannot be told which labels are wrong. The
    outcome comes from the labels that changed, where there are any: see `labels`."""
    labels: LabelChanges | None
    """Labels that changed; None when one of the audits judged no labels."""
    gap: EstimateChange
    """Training accuracy minus expected accuracy on new data, in [-1, 1]: shown, but not judged, because
    better labels raise the training accuracy too."""
    suspects: SuspectChanges | None
    """New and fixed suspects; None when one of the audits judged no labels."""
    layers: tuple[LayerChange, ...]
    """Layers of the head in its order, then those of the base alone."""
    classes: tuple[ClassChange, ...]
    """Classes of the head in its order, then those of the base alone."""
    width: WidthChange | None
    """Used width of both networks; None when one of the audits did not measure it."""
    ranking: Ranking | None
    """Which network is probably better on new data; None unless both fit the same data."""
    regressions: tuple[str, ...]
    """What became worse, in sentences; with --fail-on-regression, one of them fails."""
    improvements: tuple[str, ...]
    """What became better, in sentences."""
    schema_version: str = DIFFERENCE_SCHEMA_VERSION
    """Version of this structure as JSON."""

    @property
    def headline(self) -> Headline:
        """The whole difference in a few words; corrected labels alone can give fewer suspects."""
        if self.regressions:
            return "worse"
        if self.score.outcome == "unknown" and self.suspects is None:
            return "nothing to compare"
        # fewer suspects alone can come from fewer samples
        if self.improvements:
            return "better"
        return "fewer suspects" if self.suspects and self.suspects.fewer else "no clear change"


use_short_reprs([value for value in globals().values() if isinstance(value, type)])
