"""The values of an audit that a gate is about, each with its interval and with its words for a person."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cohaudit.config.used import setting
from cohaudit.errors import did_you_mean
from cohaudit.results import LEVELS, Audit, Coherence, Skipped, format_wrong_labels
from cohaudit.results.gap import risk_level
from cohaudit.results.wording import percent, rounded
from cohaudit.review.gate_condition import LAYER_METRIC, GateCondition
from cohaudit.review.verdicts import expected_score


@dataclass(frozen=True)
class GateValue:
    """A value that is compared with the bound of a gate."""

    metric: str
    """The metric, with the name of the layer or class."""
    value: float
    """The value, in the unit of `GateCondition.number`."""
    exact: str
    """The value as text, unrounded."""
    interval: tuple[float, float] | None = None
    """Lower and upper end of its confidence interval; None without one."""
    words: str = "{}"
    """The value in words; {} stands for the rounded number."""
    percent: bool = False
    """Whether people read the value in percent."""

    def format(self, digits: int) -> str:
        """Return the value in words, rounded to significant digits."""
        return self.words.format(self.format_number(self.value, digits))

    def format_number(self, number: float, digits: int) -> str:
        """Return a number in the unit of this value, rounded to significant digits."""
        return f"{rounded(100 * number, digits)}%" if self.percent else rounded(number, digits)


def gate_values(gate: GateCondition, audit: Audit) -> list[GateValue | Skipped]:
    """Return every value that a gate is about, or the reason why there is none.

    Args:
        gate: The condition.
        audit: The result of a scan.

    Returns:
        One value, or one per layer or class that the gate names; at least one.
    """
    match gate.metric:
        case "risk":
            return [_risk(audit)]
        case "predicted_gap":
            return [_predicted_gap(gate, audit)]
        case "wrong_labels":
            return [_wrong_labels(gate, audit)]
        case "expected_score":
            return [_expected_score(gate, audit)]
        case "suspects":
            return [_suspects(gate, audit)]
        case "accuracy":
            accuracy = audit.sanity.accuracy
            return [GateValue("accuracy", accuracy, repr(accuracy), percent=gate.is_share)]
        case "loss":
            return [GateValue("loss", audit.sanity.mean_loss, repr(audit.sanity.mean_loss))]
        case "coherence.alpha" | "coherence.m" | "coherence.pairwise":
            return [_coherence(gate.metric, audit.coherence, gate.metric)]
    return _named_coherences(gate, audit)


def matching_names(gate: GateCondition, names: Iterable[str]) -> set[str]:
    """Return the names that a gate is about.

    Args:
        gate: The condition.
        names: Names of the layers or classes.

    Returns:
        The name that is written in the gate, or else all names that its pattern fits; maybe none.
    """
    known = set(names)
    # not fnmatch, to which brackets and question marks in a name are patterns
    pattern = ".*".join(re.escape(part) for part in gate.name.split("*"))
    # a layer's own name can hold a *, and then means that layer alone
    return {gate.name} & known or {name for name in known if re.fullmatch(pattern, name, re.DOTALL)}


def describe_unknown_name(gate: GateCondition, names: Iterable[str]) -> tuple[str, str]:
    """Return what was found and what to do for a gate whose name fits none of `names`."""
    return f"there is no {gate.kind} {gate.name!r}", did_you_mean(gate.name, sorted(set(names)))


def _named_coherences(gate: GateCondition, audit: Audit) -> list[GateValue | Skipped]:
    parts = audit.layers if gate.metric == LAYER_METRIC else audit.classes
    names = [part.name for part in parts]
    wanted = matching_names(gate, names)
    if not wanted:
        return [Skipped(gate.metric + gate.name, "; ".join(describe_unknown_name(gate, names)))]
    return [_coherence(gate.metric + part.name, part.coherence) for part in parts if part.name in wanted]


def _risk(audit: Audit) -> GateValue | Skipped:
    if isinstance(audit.risk, Skipped):
        return Skipped("risk", audit.risk.reason)
    gap = audit.risk.gap
    level = audit.risk.level
    bounds = setting(audit.settings, "risk_levels")
    # levels are compared by their position, and their interval is that of the levels of the two ends
    low, high = (LEVELS.index(risk_level(end, bounds)) for end in (gap.low, gap.high))
    return GateValue(
        metric="risk",
        value=LEVELS.index(level),
        exact=f"{level} ({gap.value!r})",
        interval=(low, high),
        words=f"{level} (gap {rounded(gap.value, 3)})",
    )


def _predicted_gap(gate: GateCondition, audit: Audit) -> GateValue | Skipped:
    if isinstance(audit.risk, Skipped):
        return Skipped("predicted_gap", audit.risk.reason)
    gap = audit.risk.gap
    return GateValue("predicted_gap", gap.value, repr(gap.value), (gap.low, gap.high), percent=gate.is_share)


def _wrong_labels(gate: GateCondition, audit: Audit) -> GateValue | Skipped:
    wrong = audit.labels.wrong
    if isinstance(wrong, Skipped):
        return Skipped("wrong_labels", wrong.reason)
    share = wrong.share
    if wrong.told:
        interval = (share.low, share.high)
        return GateValue("wrong_labels", share.value, repr(share.value), interval, percent=gate.is_share)
    # the upper bound is all that is known: the gate passes only if no share up to it can make it fail
    if gate.op in {">", ">="} and not gate.holds(share.high):
        return GateValue(
            "wrong_labels", share.high, f"at most {share.high!r}", words="at most {}", percent=gate.is_share
        )
    return Skipped("wrong_labels", f"{format_wrong_labels(wrong)} (cohaudit review)")


def _expected_score(gate: GateCondition, audit: Audit) -> GateValue | Skipped:
    score = expected_score(audit)
    if isinstance(score, Skipped):
        return score
    interval = (score.low, score.high)
    return GateValue("expected_score", score.value, repr(score.value), interval, percent=gate.is_share)


def _suspects(gate: GateCondition, audit: Audit) -> GateValue | Skipped:
    unscored = int(audit.samples["suspicion"].isna().sum())
    # a missing suspicion is not a low one: the gate must not pass on samples that nobody judged
    if unscored:
        return Skipped("suspects", f"{unscored} samples have no suspicion score")
    count = int(audit.samples["suspect"].sum())
    samples = len(audit.samples)
    if not count and not audit.lists_suspects:
        return _unlisted_suspects(gate, audit)
    share = count / samples
    exact = f"{count} of {samples} ({share!r})"
    if gate.is_share:
        return GateValue("suspects", share, exact, words=f"{count} of {samples} ({{}})", percent=True)
    return GateValue("suspects", count, exact, words=f"{count} of {samples}")


def _unlisted_suspects(gate: GateCondition, audit: Audit) -> GateValue | Skipped:
    """Return what is known of the suspects where none is listed because wrong labels cannot be told apart.

    That is not the same as none: the gate passes only if as many suspects as there can be wrong labels would
    pass it.
    """
    wrong = audit.labels.wrong
    if isinstance(wrong, Skipped):
        return Skipped("suspects", wrong.reason)
    high = wrong.share.high
    bound = high if gate.is_share else high * len(audit.samples)
    if gate.op in {">", ">="} and not gate.holds(bound):
        return GateValue("suspects", bound, f"at most {bound!r}", words="at most {}", percent=gate.is_share)
    reason = (
        f"it cannot be told which labels are wrong, at most {percent(high)}: review some of them (cohaudit "
        "review AUDIT.JSON), or let this gate only warn (--warn-on)"
    )
    return Skipped("suspects", reason)


def _coherence(
    metric: str, coherence: Coherence | Skipped, kind: str = "coherence.pairwise"
) -> GateValue | Skipped:
    if isinstance(coherence, Skipped):
        return Skipped(metric, coherence.reason)
    estimates = {
        "coherence.alpha": coherence.alpha,
        "coherence.m": coherence.m_coherence,
        "coherence.pairwise": coherence.pairwise,
    }
    estimate = estimates[kind]
    return GateValue(metric, estimate.value, repr(estimate.value), (estimate.low, estimate.high))
