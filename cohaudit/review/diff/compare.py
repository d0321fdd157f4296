"""Compares two audits: what differs, and which differences are larger than the intervals allow.

A difference is clear when the two intervals do not overlap. Layers and classes are matched by name, suspects
by the hash of their content; see docs/comparing.md. Nothing here measures: audits in, a `Difference` out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cohaudit.config.used import MEASUREMENT_KEYS, setting
from cohaudit.results import (
    Audit,
    ClassResult,
    Coherence,
    Estimate,
    Layer,
    Skipped,
)
from cohaudit.results.corrections import describe_changes
from cohaudit.results.gap import risk_level
from cohaudit.results.read import AuditSource, as_audit
from cohaudit.results.wording import number, percent, rounded
from cohaudit.review.diff.difference import (
    ClassChange,
    ComparedAudit,
    Difference,
    EstimateChange,
    LayerChange,
    OnlyIn,
    compare_estimates,
)
from cohaudit.review.diff.label_changes import LabelChanges, compare_labels
from cohaudit.review.diff.ranking import rank
from cohaudit.review.diff.samples import SampleChanges, compare_samples
from cohaudit.review.diff.suspects import SuspectChanges, compare_suspects
from cohaudit.review.diff.verdict_changes import compare_scores, compare_wrong_labels
from cohaudit.review.diff.width import compare_widths

SETTINGS_THAT_MAY_DIFFER = frozenset(
    {
        "batch_size",
        "class_memory",
        "certificate_samples",
        "certificate_tolerance",
        "evidence",
        "gallery",
        "gate_on_value",
        "audits",
        "lr",
        "steps_per_epoch",
        "holdout",
    }
)
"""Settings that change no compared number, or, as the holdout, that are compared by their data instead."""


def compare(base: AuditSource, head: AuditSource) -> Difference:
    """Compare two audits: the same as `cohaudit diff`.

    Args:
        base: The earlier audit, or that of the branch that a change is merged into. An audit, or the path of
            an audit.json.
        head: The later audit, or that of the change. An audit, or a path.

    Returns:
        What differs, and what became worse.

    Raises:
        ReportError: A file cannot be read.
        ConfigError: The head's setting `risk_levels`, or a setting `suspicion_threshold`, has an invalid
            value.
    """
    base = as_audit(base)
    head = as_audit(head)
    # the same thresholds for both: stricter ones in the head are not a regression of the network
    levels = setting(head.settings, "risk_levels")
    base_side = _compared_audit(base, levels)
    head_side = _compared_audit(head, levels)
    judged = base_side.suspects is not None and head_side.suspects is not None
    labels = compare_labels(base, head) if judged else None
    suspects = compare_suspects(base, head) if judged else None
    score = compare_scores(base, head, labels)
    wrong_labels = compare_wrong_labels(base, head, labels)
    samples = compare_samples(base, head)
    return Difference(
        base=base_side,
        head=head_side,
        unlike=tuple(_unlike(base, head, samples)),
        samples=samples,
        score=score,
        wrong_labels=wrong_labels,
        labels=labels,
        gap=compare_estimates(_gap(base), _gap(head)),
        suspects=suspects,
        layers=tuple(_layers(base.layers, head.layers)),
        classes=tuple(_classes(base, head)),
        width=compare_widths(base.audits.width, head.audits.width),
        ranking=rank(base, head),
        regressions=(*_absent(base_side, head_side), *_worse(score, wrong_labels, labels, suspects)),
        improvements=tuple(_better(score, wrong_labels, labels, None if _concluded(head) else suspects)),
    )


def _compared_audit(audit: Audit, levels: Sequence[float]) -> ComparedAudit:
    gap = _gap(audit)
    subject = audit.subject
    suspects = audit.labels.suspects
    return ComparedAudit(
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
        suspects=None if isinstance(suspects, Skipped) else suspects,
    )


def _gap(audit: Audit) -> Estimate | None:
    return audit.risk.gap if audit.sanity.auditable and not isinstance(audit.risk, Skipped) else None


def _no_verdict(audit: Audit) -> str:
    if not audit.sanity.auditable:
        return audit.sanity.reason
    return audit.risk.reason if isinstance(audit.risk, Skipped) else ""


def _layers(base: Sequence[Layer], head: Sequence[Layer]) -> Iterable[LayerChange]:
    # the order of the head, which is the network that a reader works on
    before = {layer.name: layer for layer in base}
    after = {layer.name: layer for layer in head}
    for name in dict.fromkeys([*after, *before]):
        old = before.get(name)
        new = after.get(name)
        yield LayerChange(name, _only_in(old, new), compare_estimates(_pairwise(old), _pairwise(new)))


def _classes(base: Audit, head: Audit) -> Iterable[ClassChange]:
    before = {one.name: one for one in base.classes}
    after = {one.name: one for one in head.classes}
    base_judged = not base.labels_not_judged
    head_judged = not head.labels_not_judged
    for name in dict.fromkeys([*after, *before]):
        old = before.get(name)
        new = after.get(name)
        yield ClassChange(
            name=name,
            only_in=_only_in(old, new),
            gap=compare_estimates(_class_gap(old), _class_gap(new)),
            coherence=compare_estimates(_pairwise(old), _pairwise(new)),
            base_suspects=old.suspects if old and base_judged else None,
            head_suspects=new.suspects if new and head_judged else None,
        )


def _only_in(base: object | None, head: object | None) -> OnlyIn:
    if base is None:
        return "head"
    return "base" if head is None else ""


def _pairwise(part: Layer | ClassResult | None) -> Estimate | None:
    return part.coherence.pairwise if part is not None and isinstance(part.coherence, Coherence) else None


def _class_gap(one: ClassResult | None) -> Estimate | None:
    return one.predicted_gap if one is not None and isinstance(one.predicted_gap, Estimate) else None


def _unlike(base: Audit, head: Audit, samples: SampleChanges) -> Iterable[str]:
    """Yield what else differs besides the model, in sentences."""
    old = base.subject
    new = head.subject
    if old.data_fingerprint != new.data_fingerprint:
        yield from _unlike_data(base, head, samples)
        # a correction: what it claims to have mended is no finding of the head's
        if not isinstance(head.corrections, Skipped) and head.corrections != base.corrections:
            yield f"Corrections: {describe_changes(head.corrections)}."
    elif old.samples != new.samples:
        yield f"Number of samples audited: {old.samples:,} in the base, {new.samples:,} in the head."
    keys = [key for key in MEASUREMENT_KEYS if key not in SETTINGS_THAT_MAY_DIFFER]
    # `get`: another version may not know a setting, which is a difference then
    differing = [key for key in keys if base.settings.get(key) != head.settings.get(key)]
    if differing:
        yield f"Settings: {', '.join(differing)}."
    yield from _unlike_holdouts(_holdout(base), _holdout(head))
    if len(old.earlier) != len(new.earlier):
        yield f"Earlier checkpoints used: {len(old.earlier)} in the base, {len(new.earlier)} in the head."
    if base.version != head.version:
        yield f"Version of cohaudit: {base.version:.40} in the base, {head.version:.40} in the head."


def _unlike_data(base: Audit, head: Audit, samples: SampleChanges) -> Iterable[str]:
    """Yield how the data differ; nothing if only their order does."""
    old = base.subject.samples_total
    new = head.subject.samples_total
    if old != new or samples.changed:
        counts = f"{old:,} samples" if old == new else f"{old:,} samples in the base, {new:,} in the head"
        yield f"Data: {counts}; of those audited, {samples.words}."


def _unlike_holdouts(base: str | None, head: str | None) -> Iterable[str]:
    # without a verdict, an audit does not say whether it had a holdout
    if base is None or head is None or base == head:
        return
    if base and head:
        yield "Holdout: different samples."
    else:
        yield f"Holdout: only the {'base' if base else 'head'} has one."


def _holdout(audit: Audit) -> str | None:
    """Return the fingerprint of the holdout, empty without a holdout; None without a verdict."""
    if isinstance(audit.risk, Skipped):
        return None
    return "" if isinstance(audit.risk.holdout, Skipped) else audit.risk.holdout.data_fingerprint


def _absent(base: ComparedAudit, head: ComparedAudit) -> Iterable[str]:
    """Yield what the head no longer measures: nothing passes by absence."""
    if base.level and not head.level:
        yield f"The head has no verdict: {head.no_verdict}"
    if base.suspects is not None and head.suspects is None:
        yield "The head judged no labels."


def _worse(
    score: EstimateChange,
    wrong_labels: EstimateChange,
    labels: LabelChanges | None,
    suspects: SuspectChanges | None,
) -> Iterable[str]:
    """Yield what became worse."""
    if score.outcome == "lower":
        yield f"The score on new data fell to {_in_percent(score.head)}, from {_in_percent(score.base)}."
    if wrong_labels.outcome == "higher":
        yield f"More labels are wrong: {_wrong_labels(wrong_labels, labels)}."
    if suspects is not None and suspects.more:
        yield (
            f"{suspects.clear_new:,} new and {suspects.clear_fixed:,} fixed suspects with a suspicion of at "
            f"least {rounded(suspects.clear_from, 3)}: chance alone would give that many new ones with a "
            f"probability of {number(suspects.chance)}."
        )


def _concluded(audit: Audit) -> bool:
    """Return whether an audit alone changed labels: that these are no suspects now is no finding."""
    return not isinstance(audit.corrections, Skipped) and audit.corrections.by_audit > 0


def _better(
    score: EstimateChange,
    wrong_labels: EstimateChange,
    labels: LabelChanges | None,
    suspects: SuspectChanges | None,
) -> Iterable[str]:
    """Yield what became better; `suspects` is None where it tells nothing."""
    if score.outcome == "higher":
        yield f"The score on new data rose to {_in_percent(score.head)}, from {_in_percent(score.base)}."
    if wrong_labels.outcome == "lower":
        yield f"Fewer labels are wrong: {_wrong_labels(wrong_labels, labels)}."
    # with labels that became worse among them, the balance decides, above
    if suspects is not None and labels is not None and (labels.worse == 0 or labels.fewer_wrong):
        relabeled = sum(one.elsewhere == "relabeled" for one in suspects.fixed)
        if relabeled:
            yield f"{relabeled:,} suspects have another label now, and are none any more."


def _wrong_labels(change: EstimateChange, labels: LabelChanges | None) -> str:
    """Return what tells that the number of wrong labels changed, in words."""
    if labels is not None and (labels.more_wrong or labels.fewer_wrong):
        count, than = (labels.worse, "more") if labels.more_wrong else (labels.better, "less")
        return f"of {labels.changed:,} changed labels, {count:,} are {than} suspicious than the label before"
    return f"{_in_percent(change.head)} of the labels are wrong, from {_in_percent(change.base)}"


def _in_percent(estimate: Estimate | None) -> str:
    return "–" if estimate is None else percent(estimate.value)
