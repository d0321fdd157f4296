"""Gates: conditions such as 'risk>=high' or 'suspects>2%' under which an audit fails a build.

A gate is parsed before anything expensive happens and evaluated on the finished audit, on unrounded
values. Where a value has an interval, the condition holds when it does on the whole interval; where it does
on the value alone, the gate warns. It never passes by absence: what was not measured, or is not a number,
fails it with the reason.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from cohaudit.config import Config
from cohaudit.config.used import setting
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results import LEVELS, Audit, Coherence, GateResult, Skipped
from cohaudit.results.gap import risk_level

OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "at or above"),
    "<=": (operator.le, "at or below"),
    "==": (operator.eq, "equal to"),
    "!=": (operator.ne, "different from"),
    ">": (operator.gt, "above"),
    "<": (operator.lt, "below"),
}
"""Operator → its comparison, and how to say it."""

FAIL_ON = "--fail-on"
WARN_ON = "--warn-on"
"""Where conditions are given."""

ORDERED = {">", ">=", "<", "<="}
"""Operators that can be held against the ends of an interval."""

FEWEST_DIGITS = 4
"""Significant digits of a value in a gate's reason; more where it lies that close to the bound."""

LAYER = "coherence.layer."
CLASS = "coherence.class."

METRICS: Mapping[str, tuple[float, float]] = {
    "risk": (0, len(LEVELS) - 1),
    "predicted_gap": (-1, 1),
    "suspects": (0, math.inf),
    "accuracy": (0, 1),
    "loss": (0, math.inf),
    "coherence.alpha": (0, 1),
    "coherence.m": (0, math.inf),
    "coherence.pairwise": (-1, 1),
    LAYER: (-1, 1),
    CLASS: (-1, 1),
}
"""Metric → the values it can take. After a final dot a name follows, in which * stands for any text."""


@dataclass(frozen=True)
class Gate:
    """A condition on an audit, which fails when the condition holds."""

    expression: str
    """As the user wrote it."""
    metric: str
    """A key of `METRICS`."""
    name: str
    """The layer or class of a metric that asks for one."""
    op: str
    """A key of `OPERATORS`."""
    bound: str
    """What to compare with: a number, a share in per cent, or a risk level, as written."""

    @property
    def is_level(self) -> bool:
        """Whether the bound is a risk level."""
        return self.metric == "risk" and self.bound in LEVELS

    @property
    def kind(self) -> str:
        """What it names, 'layer' or 'class'; empty for a metric of the whole model."""
        return {LAYER: "layer", CLASS: "class"}.get(self.metric, "")

    @property
    def is_share(self) -> bool:
        """Whether the bound is in per cent."""
        return self.bound.endswith("%")

    @property
    def number(self) -> float:
        """The bound: per cent as a share in [0, 1], a level as its place in `LEVELS`."""
        if self.is_level:
            return LEVELS.index(self.bound)
        number = Decimal(self.bound.rstrip("%"))
        return float(number.scaleb(-2) if self.is_share else number)


class _Measured(NamedTuple):
    """A value to hold against a gate's bound."""

    metric: str
    """Whose value: the metric with the layer's or class's name."""
    value: float
    shown: str
    """The value, unrounded."""
    ends: tuple[float, float] | None = None
    """Of its interval, where it has one."""
    words: str = "{}"
    """How to say it; {} stands for the value as a person reads it."""
    percent: bool = False
    """Whether a person reads it in per cent."""

    def told(self, digits: int) -> str:
        """Return the value in words, to so many significant digits."""
        return self.words.format(
            f"{100 * self.value:.{digits}g}%" if self.percent else f"{self.value:.{digits}g}"
        )


def parse_gate(text: str, option: str = FAIL_ON) -> Gate:
    """Read a condition METRIC OPERATOR VALUE.

    Args:
        option: Where it was given, for messages.
        text: For example 'risk>=high', 'suspects>2%', 'accuracy<0.9', 'coherence.layer.conv*<0.01'.

    Raises:
        ConfigError: When it is not such a condition, or its value is not one that the metric can have.
    """
    where = f"{option} {text!r}"
    match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*([^<>=!\s]+(?:\s+%)?)\s*", text, re.DOTALL)
    if not match:
        raise ConfigError(
            where, "is not METRIC OPERATOR VALUE", "write it like 'risk>=high' or 'suspects>2%'"
        )
    left, op, bound = match.groups()
    bound = "".join(bound.split())
    bound = bound.lower() if bound.lower() in LEVELS else bound
    metric = next((prefix for prefix in (LAYER, CLASS) if left.startswith(prefix)), left)
    name = left.removeprefix(metric)
    if metric not in METRICS or metric.endswith(".") != bool(name):
        known = [f"{known}NAME" if known.endswith(".") else known for known in METRICS]
        raise ConfigError(where, f"there is no metric {left!r}", did_you_mean(left, known))
    gate = Gate(text, metric, name, op, bound)
    problem = _bound_problem(gate)
    if problem:
        raise ConfigError(where, *problem)
    return gate


def _bound_problem(gate: Gate) -> tuple[str, str] | None:
    """Return what is wrong with the gate's value and what to write, or None."""
    if gate.is_level:
        return None
    if gate.metric == "risk":
        remedy = (
            f"give one of {', '.join(LEVELS)}; for a number, gate predicted_gap, like 'predicted_gap>0.1'"
        )
        return f"{gate.bound!r} is not a level of risk", remedy
    low, high = METRICS[gate.metric]
    try:
        number = gate.number
    except (InvalidOperation, ValueError):
        number = math.nan
    if not math.isfinite(number):
        return f"{gate.bound!r} is not a value of {gate.metric}", "give a number"
    if gate.metric == "suspects" and not gate.is_share and number % 1:
        return f"{gate.bound} is not a number of samples", "for a share, write it in per cent, like 2%"
    if gate.is_share and gate.metric not in {"suspects", "accuracy", "predicted_gap"}:
        return f"{gate.metric} is not a share", "give a number without %"
    if not low <= number <= (1 if gate.is_share else high):
        span = f"{low} to {high}" if math.isfinite(high) else f"{low} up"
        span = f"{100 * low:g}% to 100%" if gate.is_share else span
        return f"{gate.metric} is never {gate.bound}", f"give a number from {span}"
    return None


def parsed_gates(config: Config) -> list[tuple[str, Gate]]:
    """Return all conditions of a configuration, those that fail and those that warn, each with its option.

    Raises:
        ConfigError: When one is none.
    """
    options = ((FAIL_ON, config.fail_on), (WARN_ON, config.warn_on))
    return [(option, parse_gate(text, option)) for option, texts in options for text in texts]


def gate_results(config: Config, audit: Audit) -> list[GateResult]:
    """Hold all conditions of a configuration against an audit."""
    whole = not config.gate_on_value
    found = ((option, evaluate_gate(gate, audit, whole)) for option, gate in parsed_gates(config))
    return [_softened(result) if option == WARN_ON else result for option, result in found]


def refuse_unknown_names(config: Config, layers: Iterable[str], classes: Iterable[str]) -> None:
    """Refuse, before anything is measured, a gate on a layer or class that does not exist.

    Args:
        config: Settings, with the conditions.
        layers: Every name that a layer can have.
        classes: Names of the classes.

    Raises:
        ConfigError: When a gate's name, or pattern, fits none of them.
    """
    known = {LAYER: list(layers), CLASS: list(classes)}
    for option, gate in parsed_gates(config):
        if gate.kind and not _matching(gate, known[gate.metric]):
            raise ConfigError(f"{option} {gate.expression!r}", *_no_such_name(gate, known[gate.metric]))


def evaluate_gate(gate: Gate, audit: Audit, whole_interval: bool = True) -> GateResult:
    """Hold a gate against an audit.

    Args:
        gate: The condition.
        audit: The result of a scan.
        whole_interval: Whether the condition must hold on the whole interval of a value that has one; False
            for the value alone.

    Returns:
        Whether the gate fails or warns, and why.
    """
    if not audit.sanity.auditable:
        return GateResult(gate.expression, "not auditable", True, f"not auditable: {audit.sanity.reason}")
    values = _measure(gate, audit)
    for value in values:
        if isinstance(value, Skipped):
            reason = f"{value.name}: not measured: {value.reason}"
            return GateResult(gate.expression, "not measured", True, reason)
        if not math.isfinite(value.value):
            reason = f"{value.metric}: {value.shown} is not a finite number"
            return GateResult(gate.expression, value.shown, True, reason)
    return _judge(gate, [value for value in values if isinstance(value, _Measured)], whole_interval)


def _softened(result: GateResult) -> GateResult:
    """Return what comes of a gate that is only to warn."""
    return replace(result, failed=False, warned=result.failed or result.warned)


def _measure(gate: Gate, audit: Audit) -> list[_Measured | Skipped]:
    """Return every value that the gate is on."""
    match gate.metric:
        case "risk" | "predicted_gap":
            return [_risk(gate, audit)]
        case "suspects":
            return [_suspects(gate, audit)]
        case "accuracy":
            accuracy = audit.sanity.accuracy
            return [_Measured("accuracy", accuracy, repr(accuracy), percent=gate.is_share)]
        case "loss":
            return [_plain("loss", audit.sanity.mean_loss)]
        case "coherence.alpha" | "coherence.m" | "coherence.pairwise":
            return [_coherence(gate.metric, audit.coherence, gate.metric)]
    named = audit.layers if gate.metric == LAYER else audit.classes
    names = [item.name for item in named]
    wanted = _matching(gate, names)
    if not wanted:
        return [Skipped(gate.metric + gate.name, "; ".join(_no_such_name(gate, names)))]
    return [_coherence(gate.metric + item.name, item.coherence) for item in named if item.name in wanted]


def _plain(metric: str, value: float) -> _Measured:
    return _Measured(metric, value, repr(value))


def _risk(gate: Gate, audit: Audit) -> _Measured | Skipped:
    if isinstance(audit.risk, Skipped):
        return Skipped(gate.metric, audit.risk.reason)
    gap = audit.risk.gap
    level = audit.risk.level
    levels = setting(audit.settings, "risk_levels")
    ends = gap.low, gap.high
    if gate.metric == "predicted_gap":
        return _Measured("predicted_gap", gap.value, repr(gap.value), ends, percent=gate.is_share)
    low, high = (LEVELS.index(risk_level(end, levels)) for end in ends)
    words = f"{level} (gap {gap.value:.4g})"
    return _Measured("risk", LEVELS.index(level), f"{level} ({gap.value!r})", (low, high), words)


def _suspects(gate: Gate, audit: Audit) -> _Measured | Skipped:
    unscored = int(audit.samples["suspicion"].isna().sum())
    if unscored:
        return Skipped("suspects", f"{unscored} samples have no suspicion score")
    count = int(audit.samples["suspect"].sum())
    samples = len(audit.samples)
    share = count / samples
    shown = f"{count} of {samples} ({share!r})"
    if gate.is_share:
        return _Measured("suspects", share, shown, None, f"{count} of {samples} ({{}})", percent=True)
    return _Measured("suspects", count, shown, None, f"{count} of {samples}")


def _coherence(
    metric: str, coherence: Coherence | Skipped, kind: str = "coherence.pairwise"
) -> _Measured | Skipped:
    if isinstance(coherence, Skipped):
        return Skipped(metric, coherence.reason)
    estimates = {
        "coherence.alpha": coherence.alpha,
        "coherence.m": coherence.m_coherence,
        "coherence.pairwise": coherence.pairwise,
    }
    found = estimates[kind]
    return _Measured(metric, found.value, repr(found.value), (found.low, found.high))


def _matching(gate: Gate, names: Iterable[str]) -> set[str]:
    """Return the names that the gate is on: the very one, else those that its pattern fits; maybe none."""
    known = set(names)
    pattern = ".*".join(re.escape(part) for part in gate.name.split("*"))
    return {gate.name} & known or {name for name in known if re.fullmatch(pattern, name, re.DOTALL)}


def _no_such_name(gate: Gate, names: Iterable[str]) -> tuple[str, str]:
    """Return what to say of a name that fits none of `names`, and what to do about it."""
    return f"there is no {gate.kind} {gate.name!r}", did_you_mean(gate.name, sorted(set(names)))


def _judge(gate: Gate, values: list[_Measured], whole_interval: bool) -> GateResult:
    """Compare; of several values the one that comes closest to failing, or fails worst, is reported."""
    words = OPERATORS[gate.op][1]
    beyond = [value for value in values if _holds(gate, value.value)]
    failing = [value for value in beyond if not whole_interval or _holds_throughout(gate, value)]
    worst = (max if gate.op in {">", ">="} else min)(
        failing or beyond or values, key=lambda value: value.value
    )
    count = len(failing or beyond)
    others = f"; {count} of {len(values)} are" if count > 1 else ""
    nots = "" if beyond else "not "
    reason = f"{worst.metric}: {_told(gate, worst)} is {nots}{words} {gate.bound}{others}"
    if beyond and not failing and worst.ends is not None:
        low, high = worst.ends
        sides = (worst._replace(value=end, words="{}").told(FEWEST_DIGITS) for end in worst.ends)
        inside = f"{LEVELS[int(low)]} to {LEVELS[int(high)]}" if gate.is_level else " to ".join(sides)
        reason += f", but not its whole interval, {inside}"
    return GateResult(gate.expression, worst.shown, bool(failing), reason, bool(beyond) and not failing)


def _holds(gate: Gate, value: float) -> bool:
    return OPERATORS[gate.op][0](value, gate.number)


def _holds_throughout(gate: Gate, measured: _Measured) -> bool:
    if measured.ends is None or gate.op not in ORDERED:
        return True
    return all(_holds(gate, end) for end in measured.ends)


def _told(gate: Gate, measured: _Measured) -> str:
    """Write a value in words, with as many digits as it takes to see on which side of the bound it lies."""
    compare = OPERATORS[gate.op][0]
    outcome = compare(measured.value, gate.number)
    for digits in range(FEWEST_DIGITS, 17):
        if compare(float(f"{measured.value:.{digits}g}"), gate.number) == outcome:
            return measured.told(digits)
    return measured.told(17)
