"""Two audits side by side: what differs, and which of it is more than the intervals leave open.

A difference is clear where the two intervals do not overlap. Layers and classes are matched by name, suspects
by the hash of their content; see docs/comparing.md. Nothing here measures: audits in, a `Difference` out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cohaudit.config.used import MEASUREMENT_KEYS, setting
from cohaudit.results import (
    LEVELS,
    Audit,
    ClassResult,
    Coherence,
    Estimate,
    Layer,
    Level,
    Skipped,
    format_points,
)
from cohaudit.results.gap import risk_level
from cohaudit.review.diff.suspects import SuspectChanges, compare_suspects
from cohaudit.review.diff.width import WidthChange, compare_widths

SCHEMA_VERSION = "1.0"

Outcome = Literal["higher", "lower", "alike", "unknown"]
"""Of the head against the base: clearly higher or lower, not clearly either, or not measured in both."""

Headline = Literal["worse", "better", "fewer suspects", "no clear change", "nothing to compare"]
"""The whole of a difference, in a word or three."""

SHAPES_NOTHING = frozenset(
    {
        *("batch_size", "class_memory", "certificate_samples", "certificate_tolerance"),
        *("evidence", "gallery", "gate_on_value", "audits", "lr", "steps_per_epoch", "holdout"),
    }
)
"""Settings that may differ between two audits that are compared; other holdouts are told by their data."""


@dataclass(frozen=True)
class Side:
    """What one of the two audits is of, and what it says of the whole."""

    version: str
    """Of the cohaudit that measured."""
    checkpoint: str
    """As given."""
    checkpoint_sha256: str
    """Of the file; empty in memory."""
    model: str
    """As given."""
    parameters: int
    """Trainable ones."""
    data: str
    """As given."""
    data_fingerprint: str
    """Equal for equal data."""
    samples: int
    """Audited."""
    level: Level | None
    """Of risk, by the thresholds of the head; None without a verdict."""
    no_verdict: str
    """Why there is none; else empty."""
    accuracy: float
    """On the training data."""
    suspects: int | None
    """How many; None where samples were not judged."""


@dataclass(frozen=True)
class Change:
    """One measurement in both audits."""

    base: Estimate | None
    """None where it was not measured."""
    head: Estimate | None
    """None where it was not measured."""
    outcome: Outcome
    """Clear where the intervals do not overlap."""


@dataclass(frozen=True)
class LayerChange:
    """One layer in both audits."""

    name: str
    """Of the layer."""
    only_in: Literal["", "base", "head"]
    """Where the other audit has no layer of the name."""
    coherence: Change
    """Pairwise coherence α_u over all samples."""


@dataclass(frozen=True)
class ClassChange:
    """One class in both audits."""

    name: str
    """Of the class."""
    only_in: Literal["", "base", "head"]
    """Where the other audit has no class of the name."""
    gap: Change
    """Its predicted gap."""
    coherence: Change
    """Pairwise coherence α_u over its samples."""
    base_suspects: int | None
    """None where samples were not judged, or there is no such class."""
    head_suspects: int | None
    """Likewise."""


@dataclass(frozen=True)
class Difference:
    """What a second audit says that a first one did not."""

    base: Side
    """The audit to compare with."""
    head: Side
    """The audit that is compared."""
    unlike: tuple[str, ...]
    """What besides the model was not the same, in sentences: differences may come of that."""
    gap: Change
    """Between the accuracies in training and on new data."""
    level_risen: bool
    """Whether the level of risk is higher than in the base, both by the thresholds of the head."""
    suspects: SuspectChanges | None
    """None where one of the audits judged no samples."""
    layers: tuple[LayerChange, ...]
    """Those of the head in its order, then those of the base alone."""
    classes: tuple[ClassChange, ...]
    """Likewise."""
    width: WidthChange | None
    """Where both audits measured the width."""
    regressions: tuple[str, ...]
    """What has become worse, in sentences: under --fail-on-regression, one is enough."""
    schema_version: str = SCHEMA_VERSION

    @property
    def headline(self) -> Headline:
        """What came of it; fewer suspects can be corrected labels, or samples that were left out."""
        if self.regressions:
            return "worse"
        if self.gap.outcome == "unknown" and self.suspects is None:
            return "nothing to compare"
        if self.gap.outcome == "lower":
            return "better"
        return "fewer suspects" if self.suspects and self.suspects.fewer else "no clear change"


def compare(base: Audit, head: Audit) -> Difference:
    """Compare two audits.

    Args:
        base: The earlier one, or that of what a change is to be merged into.
        head: The later one, or that of the change.

    Returns:
        What differs, and what has become worse.

    Raises:
        ConfigError: If the head's setting of the levels of risk is none.
    """
    levels = setting(head.settings, "risk_levels")
    sides = _side(base, levels), _side(head, levels)
    gap = change(_gap(base), _gap(head))
    risen = None not in (sides[0].level, sides[1].level) and _rank(sides[1]) > _rank(sides[0])
    suspects = compare_suspects(base, head) if all(side.suspects is not None for side in sides) else None
    return Difference(
        base=sides[0],
        head=sides[1],
        unlike=tuple(_unlike(base, head)),
        gap=gap,
        level_risen=risen,
        suspects=suspects,
        layers=tuple(_layers(base.layers, head.layers)),
        classes=tuple(_classes(base, head)),
        width=compare_widths(base.audits.width, head.audits.width),
        regressions=tuple(_regressions(*sides, gap, risen, suspects)),
    )


def change(base: Estimate | None, head: Estimate | None) -> Change:
    """Hold a measurement against an earlier one: it has changed where their intervals do not overlap."""
    if base is None or head is None:
        return Change(base, head, "unknown")
    if head.low > base.high:
        return Change(base, head, "higher")
    return Change(base, head, "lower" if head.high < base.low else "alike")


def _side(audit: Audit, levels: Sequence[float]) -> Side:
    gap = _gap(audit)
    subject = audit.subject
    return Side(
        version=audit.version,
        checkpoint=subject.checkpoint,
        checkpoint_sha256=subject.checkpoint_sha256,
        model=subject.model,
        parameters=subject.parameters,
        data=subject.data,
        data_fingerprint=subject.data_fingerprint,
        samples=subject.samples,
        level=None if gap is None else risk_level(gap.value, levels),
        no_verdict=_no_verdict(audit),
        accuracy=audit.sanity.accuracy,
        suspects=int(audit.samples["suspect"].sum()) if _judged(audit) else None,
    )


def _judged(audit: Audit) -> bool:
    return audit.sanity.auditable and bool(audit.samples["suspicion"].notna().any())


def _gap(audit: Audit) -> Estimate | None:
    return audit.risk.gap if audit.sanity.auditable and not isinstance(audit.risk, Skipped) else None


def _no_verdict(audit: Audit) -> str:
    if not audit.sanity.auditable:
        return audit.sanity.reason
    return audit.risk.reason if isinstance(audit.risk, Skipped) else ""


def _rank(side: Side) -> int:
    return -1 if side.level is None else LEVELS.index(side.level)


def _layers(base: Sequence[Layer], head: Sequence[Layer]) -> Iterable[LayerChange]:
    before = {one.name: one for one in base}
    after = {one.name: one for one in head}
    for name in dict.fromkeys([*after, *before]):
        old = before.get(name)
        new = after.get(name)
        yield LayerChange(name, _only_in(old, new), change(_pairwise(old), _pairwise(new)))


def _classes(base: Audit, head: Audit) -> Iterable[ClassChange]:
    before = {one.name: one for one in base.classes}
    after = {one.name: one for one in head.classes}
    judged = _judged(base), _judged(head)
    for name in dict.fromkeys([*after, *before]):
        both = old, new = before.get(name), after.get(name)
        suspects = [one.suspects if one and told else None for one, told in zip(both, judged, strict=True)]
        gaps = change(_class_gap(old), _class_gap(new))
        yield ClassChange(name, _only_in(old, new), gaps, change(_pairwise(old), _pairwise(new)), *suspects)


def _only_in(base: object | None, head: object | None) -> Literal["", "base", "head"]:
    if base is None:
        return "head"
    return "base" if head is None else ""


def _pairwise(one: Layer | ClassResult | None) -> Estimate | None:
    return one.coherence.pairwise if one is not None and isinstance(one.coherence, Coherence) else None


def _class_gap(one: ClassResult | None) -> Estimate | None:
    return one.predicted_gap if one is not None and isinstance(one.predicted_gap, Estimate) else None


def _unlike(base: Audit, head: Audit) -> Iterable[str]:
    """Say what else was not the same; two equal audits of different models say nothing."""
    old = base.subject
    new = head.subject
    if old.data_fingerprint != new.data_fingerprint:
        yield f"The data, of {old.samples_total:,} samples in the base and {new.samples_total:,} in the head."
    if old.data_fingerprint == new.data_fingerprint and old.samples != new.samples:
        yield f"How many samples were audited: {old.samples:,} in the base, {new.samples:,} in the head."
    keys = [key for key in MEASUREMENT_KEYS if key not in SHAPES_NOTHING]
    differing = [key for key in keys if base.settings.get(key) != head.settings.get(key)]
    if differing:
        yield f"Settings: {', '.join(differing)}."
    held = [_holdout(audit) for audit in (base, head)]
    if held[0] != held[1] and None not in held:
        only = f"Only the {'base' if held[0] else 'head'} has samples held out."
        yield "The samples held out." if all(held) else only
    if len(old.earlier) != len(new.earlier):
        yield f"Earlier checkpoints heard: {len(old.earlier)} in the base, {len(new.earlier)} in the head."
    if base.version != head.version:
        yield f"The version of cohaudit: {base.version:.40} in the base, {head.version:.40} in the head."


def _holdout(audit: Audit) -> str | None:
    """Return the fingerprint of the samples held out, empty without any; None without a verdict."""
    if isinstance(audit.risk, Skipped):
        return None
    return "" if isinstance(audit.risk.holdout, Skipped) else audit.risk.holdout.data_fingerprint


def _regressions(
    base: Side, head: Side, gap: Change, level_risen: bool, suspects: SuspectChanges | None
) -> Iterable[str]:
    """Say what has become worse. What the head no longer measured counts: nothing passes by absence."""
    if base.level and not head.level:
        yield f"The head has no verdict: {head.no_verdict}"
    if base.suspects is not None and head.suspects is None:
        yield "The head judged no samples."
    if gap.outcome == "higher" and gap.base and gap.head:
        told = f"{format_points(gap.head)}, after {format_points(gap.base)}"
        yield f"The gap is {told}: the intervals do not overlap."
    if level_risen and gap.base and gap.head:
        told = f"{100 * gap.head.value:.3g} points, after {100 * gap.base.value:.3g}"
        yield f"The risk has risen from {base.level} to {head.level}: a gap of {told}."
    if suspects is not None and suspects.more:
        new = suspects.clear_new
        fixed = suspects.clear_fixed
        yield (
            f"{new:,} new and {fixed:,} fixed suspects of suspicion {suspects.clear_from:.3g} and more: by "
            f"chance so many are new with probability {suspects.chance:.2g}."
        )
