"""The two verdicts of an audit: its labels, and the score to expect on new data; and the worse of the two.

The page, the terminal, Markdown, annotations, gates and the difference of two audits all read them here, so
that no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cohaudit.config.used import setting
from cohaudit.results import Audit, Estimate, Holdout, Level, Risk, Skipped, WrongLabels
from cohaudit.results.labels import LOWEST_BOUND
from cohaudit.results.wording import percent, points, uncapitalized

VerdictLevel = Literal[Level, "unclear", "none"]
"""Level of a verdict; none where there is no verdict."""

_UNTOLD = "Which ones, if any, cannot be told here: review the samples with the lowest rank."

WORST_LAST: tuple[VerdictLevel, ...] = ("none", "low", "unclear", "moderate", "high", "severe")
"""Levels of verdicts, the worst last. A verdict that is missing never hides the other one."""


BAD_LEVELS: frozenset[VerdictLevel] = frozenset({"moderate", "high", "severe"})
"""Levels that ask for something to be done."""

TRUSTED = "Its training accuracy can be trusted."
"""Said of a model whose two verdicts are low, each with its whole interval."""

_DISTRUST: Mapping[VerdictLevel, str] = {
    "moderate": "Its training accuracy is slightly too optimistic.",
    "high": "Do not trust its training accuracy.",
    "severe": "Its training accuracy says almost nothing about new data.",
}
"""Level of the verdict on new data → what the training accuracy is worth."""


@dataclass(frozen=True)
class Verdict:
    """One of the two verdicts, in numbers and in words."""

    level: VerdictLevel
    """The number in words."""
    number: Estimate | Skipped
    """Share of wrong labels, or score on new data, in [0, 1]; skipped where it was not estimated."""
    headline: str
    """A few words, with the number in them."""
    sentence: str
    """What the number means, with its interval, or why there is none."""
    detail: str = ""
    """What else belongs to it where there is room, in a sentence; empty without."""


def expected_score(audit: Audit) -> Estimate | Skipped:
    """Return the accuracy to expect on new data with right labels, in [0, 1]."""
    return (
        Skipped("expected_score", audit.risk.reason)
        if isinstance(audit.risk, Skipped)
        else audit.risk.expected
    )


def label_verdict(audit: Audit) -> Verdict:
    """Return the verdict on the labels."""
    wrong = audit.labels.wrong
    if isinstance(wrong, Skipped):
        return Verdict("none", wrong, "Labels not judged", f"No label was judged: {wrong.reason}")
    share = wrong.share
    if wrong.told:
        return Verdict(
            wrong.level, share, f"About {percent(share.value)} of the labels are wrong", _told(audit, wrong)
        )
    upper = percent(max(share.high, LOWEST_BOUND))
    if wrong.level == "low":
        return Verdict("low", share, f"At most {upper} of the labels are wrong", _UNTOLD)
    return Verdict(wrong.level, share, f"Up to {upper} of the labels may be wrong", _UNTOLD)


def _told(audit: Audit, wrong: WrongLabels) -> str:
    share = wrong.share
    found = audit.labels
    between = f"Between {percent(share.low)} and {percent(share.high)}."
    if isinstance(found.suspects, Skipped) or isinstance(found.expected_precision, Skipped):
        return f"{between} No single label is more likely wrong than right."
    listed = "1 suspect is" if found.suspects == 1 else f"{found.suspects:,} suspects are"
    return f"{between} {listed} listed; {percent(found.expected_precision)} of them should be wrong."


def generalization_verdict(audit: Audit) -> Verdict:
    """Return the verdict on new data."""
    if not audit.sanity.auditable:
        reason = audit.sanity.reason
        return Verdict("none", Skipped("expected score", reason), "Not auditable", f"No verdict: {reason}")
    risk = audit.risk
    if isinstance(risk, Skipped):
        reason = risk.reason[:1].upper() + risk.reason[1:]
        return Verdict("none", expected_score(audit), "Score on new data not estimated", reason)
    headline = f"{percent(risk.expected.value)} accuracy expected on new data"
    given = f"On labels like those given, wrong ones among them: {percent(risk.expected_given.value)}."
    return Verdict(risk.level, risk.expected, headline, _expectation(audit, risk), given)


def _expectation(audit: Audit, risk: Risk) -> str:
    score = risk.expected
    gap = points(abs(risk.gap.value))
    side = "below" if risk.gap.value >= 0 else "above"
    source = "the training data"
    measured = ""
    if isinstance(risk.holdout, Holdout):
        source = "the holdout and the training data"
        measured = f" Measured on {risk.holdout.samples:,} holdout samples: {percent(risk.holdout.accuracy)}."
    interval = f"{risk.coverage:.0%} interval: {percent(score.low)} to {percent(score.high)}"
    return (
        f"{interval}, from {source}.{measured} "
        f"That is {gap} points {side} the training accuracy, {percent(audit.sanity.accuracy)}."
    )


def worse_verdict(audit: Audit) -> Verdict:
    """Return the worse of the two verdicts; of two equally bad ones, that on the labels.

    Labels come first because they are cured first: wrong ones make the other number worse.
    """
    labels = label_verdict(audit)
    generalization = generalization_verdict(audit)
    # nothing is known of labels either when model and data do not belong together
    if not audit.sanity.auditable:
        return generalization
    is_worse = WORST_LAST.index(generalization.level) > WORST_LAST.index(labels.level)
    return generalization if is_worse else labels


def overall_headline(audit: Audit) -> str:
    """Return the worse verdict in a few words."""
    worse = worse_verdict(audit)
    match worse.level:
        case "none":
            return worse.headline
        case "unclear":
            return f"Unclear: {uncapitalized(worse.headline)}"
        case "low":
            # both are: the score on new data says more than few wrong labels
            return f"Low risk: {uncapitalized(generalization_verdict(audit).headline)}"
    risk = "risk" if worse == label_verdict(audit) else "risk of overfitting"
    return f"{worse.level.capitalize()} {risk}: {uncapitalized(worse.headline)}"


def trust_sentence(audit: Audit) -> str:
    """Return whether to trust the training accuracy, in a sentence or two; empty where nothing is to be said.

    That it can be trusted is said only where both verdicts are low, each with its whole interval.
    """
    if is_trustworthy(audit):
        return TRUSTED
    sentences = [_DISTRUST.get(generalization_verdict(audit).level, "")]
    if label_verdict(audit).level in BAD_LEVELS:
        sentences.append("It counts wrong labels as right: review these first.")
    elif generalization_verdict(audit).level == "low":
        sentences.append(
            "Its training accuracy is probably close, but the intervals are too wide to be sure."
        )
    return " ".join(filter(None, sentences))


def is_trustworthy(audit: Audit) -> bool:
    """Return whether both verdicts are low, each with its whole interval."""
    wrong = audit.labels.wrong
    if isinstance(wrong, Skipped) or isinstance(audit.risk, Skipped) or not audit.sanity.auditable:
        return False
    label_bound = setting(audit.settings, "label_levels")[0]
    gap_bound = setting(audit.settings, "risk_levels")[0]
    return bool(wrong.share.high < label_bound and audit.risk.gap.high < gap_bound)
