"""Gates: conditions such as 'risk>=high' or 'suspects>2%' under which an audit fails a build.

A gate is parsed before anything expensive happens and evaluated on the finished audit, on unrounded
values. It never passes by absence: what was not measured, or is not a number, fails it with the reason.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from cohaudit.errors import ConfigError
from cohaudit.nearest import did_you_mean
from cohaudit.results import LEVELS, Audit, Coherence, GateResult, Skipped

OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "at or above"),
    "<=": (operator.le, "at or below"),
    "==": (operator.eq, "equal to"),
    "!=": (operator.ne, "different from"),
    ">": (operator.gt, "above"),
    "<": (operator.lt, "below"),
}
"""Operator → its comparison, and how to say it."""

FEWEST_DIGITS = 4
"""Significant digits of a value in a gate's reason; more where it lies that close to the bound."""

LAYER, CLASS = "coherence.layer.", "coherence.class."

METRICS: Mapping[str, tuple[float, float]] = {
    "risk": (0, 1),
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
    words: str = "{}"
    """How to say it; {} stands for the value as a person reads it."""
    percent: bool = False
    """Whether a person reads it in per cent."""

    def told(self, digits: int) -> str:
        """Return the value in words, to so many significant digits."""
        return self.words.format(
            f"{100 * self.value:.{digits}g}%" if self.percent else f"{self.value:.{digits}g}"
        )


def parse_gate(text: str) -> Gate:
    """Read a condition METRIC OPERATOR VALUE.

    Args:
        text: For example 'risk>=high', 'suspects>2%', 'accuracy<0.9', 'coherence.layer.conv*<0.01'.

    Raises:
        ConfigError: When it is not such a condition, or its value is not one that the metric can have.
    """
    where = f"--fail-on {text!r}"
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
    low, high = METRICS[gate.metric]
    try:
        number = gate.number
    except (InvalidOperation, ValueError):
        number = math.nan
    levels = f", or one of {', '.join(LEVELS)}" if gate.metric == "risk" else ""
    if not math.isfinite(number):
        return f"{gate.bound!r} is not a value of {gate.metric}", f"give a number{levels}"
    if gate.metric == "suspects" and not gate.is_share and number % 1:
        return f"{gate.bound} is not a number of samples", "for a share, write it in per cent, like 2%"
    if gate.is_share and gate.metric not in {"suspects", "accuracy", "risk"}:
        return f"{gate.metric} is not a share", "give a number without %"
    if not low <= number <= (1 if gate.is_share else high):
        span = "0% to 100%" if gate.is_share else f"{low} to {high}" if math.isfinite(high) else f"{low} up"
        return f"{gate.metric} is never {gate.bound}", f"give a number from {span}{levels}"
    return None


def refuse_unknown_names(gates: Iterable[Gate], layers: Iterable[str], classes: Iterable[str]) -> None:
    """Refuse, before anything is measured, a gate on a layer or class that does not exist.

    Args:
        gates: The conditions.
        layers: Every name that a layer can have.
        classes: Names of the classes.

    Raises:
        ConfigError: When a gate's name, or pattern, fits none of them.
    """
    known = {LAYER: list(layers), CLASS: list(classes)}
    for gate in gates:
        if gate.kind and not _matching(gate, known[gate.metric]):
            raise ConfigError(f"--fail-on {gate.expression!r}", *_no_such_name(gate, known[gate.metric]))


def evaluate_gate(gate: Gate, audit: Audit) -> GateResult:
    """Hold a gate against an audit.

    Args:
        gate: The condition.
        audit: The result of a scan.

    Returns:
        Whether the gate fails, and why.
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
    return _judge(gate, [value for value in values if isinstance(value, _Measured)])


def _measure(gate: Gate, audit: Audit) -> list[_Measured | Skipped]:
    """Return every value that the gate is on."""
    match gate.metric:
        case "risk":
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
        return Skipped("risk", audit.risk.reason)
    value = LEVELS.index(audit.risk.level) if gate.is_level else audit.risk.value
    shown = f"{audit.risk.level} ({audit.risk.value!r})"
    if gate.is_level:
        return _Measured("risk", value, shown, f"{audit.risk.level} ({audit.risk.value:.4g})")
    return _Measured("risk", value, shown, f"{audit.risk.level} ({{}})")


def _suspects(gate: Gate, audit: Audit) -> _Measured | Skipped:
    unscored = int(audit.samples["suspicion"].isna().sum())
    if unscored:
        return Skipped("suspects", f"{unscored} samples have no suspicion score")
    count, samples = int(audit.samples["suspect"].sum()), len(audit.samples)
    share = count / samples
    shown = f"{count} of {samples} ({share!r})"
    if gate.is_share:
        return _Measured("suspects", share, shown, f"{count} of {samples} ({{}})", percent=True)
    return _Measured("suspects", count, shown, f"{count} of {samples}")


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
    return _plain(metric, estimates[kind].value)


def _matching(gate: Gate, names: Iterable[str]) -> set[str]:
    """Return the names that the gate is on: the very one, else those that its pattern fits; maybe none."""
    known = set(names)
    pattern = ".*".join(re.escape(part) for part in gate.name.split("*"))
    return {gate.name} & known or {name for name in known if re.fullmatch(pattern, name, re.DOTALL)}


def _no_such_name(gate: Gate, names: Iterable[str]) -> tuple[str, str]:
    """Return what to say of a name that fits none of `names`, and what to do about it."""
    return f"there is no {gate.kind} {gate.name!r}", did_you_mean(gate.name, sorted(set(names)))


def _judge(gate: Gate, values: list[_Measured]) -> GateResult:
    """Compare; of several values the one that comes closest to failing, or fails worst, is reported."""
    compare, words = OPERATORS[gate.op]
    failing = [value for value in values if compare(value.value, gate.number)]
    worst = (max if gate.op in {">", ">="} else min)(failing or values, key=lambda value: value.value)
    others = f"; {len(failing)} of {len(values)} are" if len(failing) > 1 else ""
    nots = "" if failing else "not "
    reason = f"{worst.metric}: {_told(gate, worst)} is {nots}{words} {gate.bound}{others}"
    return GateResult(gate.expression, worst.shown, bool(failing), reason)


def _told(gate: Gate, measured: _Measured) -> str:
    """Write a value in words, with as many digits as it takes to see on which side of the bound it lies."""
    compare = OPERATORS[gate.op][0]
    outcome = compare(measured.value, gate.number)
    for digits in range(FEWEST_DIGITS, 17):
        if compare(float(f"{measured.value:.{digits}g}"), gate.number) == outcome:
            return measured.told(digits)
    return measured.told(17)
