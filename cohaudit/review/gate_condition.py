"""The language of gates: conditions such as 'risk>=high' or 'suspects>2%', parsed and checked."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.results import LEVELS

GATE_OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "at or above"),
    "<=": (operator.le, "at or below"),
    "==": (operator.eq, "equal to"),
    "!=": (operator.ne, "different from"),
    ">": (operator.gt, "above"),
    "<": (operator.lt, "below"),
}
"""Operator → its comparison, and its name in a sentence."""

INTERVAL_OPERATORS = {">", ">=", "<", "<="}
"""Operators that can be compared with the ends of an interval; equality cannot."""

FAIL_ON = "--fail-on"
"""Option of a condition that fails the build."""

WARN_ON = "--warn-on"
"""Option of a condition that only warns."""

LAYER_METRIC = "coherence.layer."
"""Metric of one layer; the layer's name follows."""

CLASS_METRIC = "coherence.class."
"""Metric of one class; the class's name follows."""

GATE_METRICS: Mapping[str, tuple[float, float]] = {
    "risk": (0, len(LEVELS) - 1),
    "predicted_gap": (-1, 1),
    "wrong_labels": (0, 1),
    "expected_score": (0, 1),
    "suspects": (0, math.inf),
    "accuracy": (0, 1),
    "loss": (0, math.inf),
    "coherence.alpha": (0, 1),
    "coherence.m": (0, math.inf),
    "coherence.pairwise": (-1, 1),
    LAYER_METRIC: (-1, 1),
    CLASS_METRIC: (-1, 1),
}
"""Metric → its smallest and largest value. After a final dot a name follows, in which * stands for any
text."""

SHARE_METRICS = {"wrong_labels", "expected_score", "suspects", "accuracy", "predicted_gap"}
"""Metrics whose bound can be written in percent."""


@dataclass(frozen=True)
class GateCondition:
    """A condition on an audit; the gate fails when the condition holds."""

    expression: str
    """The condition as the user wrote it."""
    metric: str
    """A key of `GATE_METRICS`."""
    name: str
    """Name or pattern of the layer or class; empty for a metric of the whole model."""
    op: str
    """A key of `GATE_OPERATORS`."""
    bound: str
    """What the metric is compared with, as written: a number, a share in percent, or a level of risk."""

    @property
    def is_level(self) -> bool:
        """Whether the bound is a level of risk."""
        return self.metric == "risk" and self.bound in LEVELS

    @property
    def kind(self) -> str:
        """What the condition names, 'layer' or 'class'; empty for a metric of the whole model."""
        return {LAYER_METRIC: "layer", CLASS_METRIC: "class"}.get(self.metric, "")

    @property
    def is_share(self) -> bool:
        """Whether the bound is in percent."""
        return self.bound.endswith("%")

    @property
    def number(self) -> float:
        """The bound as a number: a percentage as a share in [0, 1], a level as its position in `LEVELS`."""
        if self.is_level:
            return LEVELS.index(self.bound)
        # Decimal, because 0.07 is not 7 / 100 in binary: 'suspects>7%' must mean the same as 'suspects>0.07'
        number = Decimal(self.bound.rstrip("%"))
        return float(number.scaleb(-2) if self.is_share else number)

    def holds(self, value: float) -> bool:
        """Return whether the condition holds for a value of the metric."""
        return GATE_OPERATORS[self.op][0](value, self.number)


def parse_gate(text: str, option: str = FAIL_ON) -> GateCondition:
    """Parse a condition METRIC OPERATOR VALUE.

    Args:
        text: For example 'risk>=high', 'suspects>2%', 'accuracy<0.9', 'coherence.layer.conv*<0.01'.
        option: Option that the condition was given with, for messages.

    Raises:
        ConfigError: The text is not such a condition, or the metric cannot have such a value.
    """
    where = f"{option} {text!r}"
    # '>=' before '>', which would leave the '='; DOTALL, because the name of a layer can hold a line break
    match = re.fullmatch(r"\s*(.+?)\s*(>=|<=|==|!=|>|<)\s*([^<>=!\s]+(?:\s+%)?)\s*", text, re.DOTALL)
    if not match:
        raise ConfigError(
            where, "is not METRIC OPERATOR VALUE", "write it like 'risk>=high' or 'suspects>2%'"
        )
    left, op, bound = match.groups()
    bound = "".join(bound.split())
    # levels in any case; a number stays as written, for messages
    bound = bound.lower() if bound.lower() in LEVELS else bound
    metric = next((prefix for prefix in (LAYER_METRIC, CLASS_METRIC) if left.startswith(prefix)), left)
    name = left.removeprefix(metric)
    # a metric of layers or classes needs a name, and another one has none
    if metric not in GATE_METRICS or metric.endswith(".") != bool(name):
        known = [f"{known}NAME" if known.endswith(".") else known for known in GATE_METRICS]
        raise ConfigError(where, f"there is no metric {left!r}", did_you_mean(left, known))
    gate = GateCondition(text, metric, name, op, bound)
    problem = _bound_problem(gate)
    if problem:
        found, remedy = problem
        raise ConfigError(where, found, remedy)
    return gate


def _bound_problem(gate: GateCondition) -> tuple[str, str] | None:
    """Return what is wrong with the bound and what to write, or None."""
    if gate.is_level:
        return None
    if gate.metric == "risk":
        found = f"{gate.bound!r} is not a level of risk"
        numbers = "for a number, use predicted_gap, like 'predicted_gap>0.1'"
        return found, f"give one of {', '.join(LEVELS)}; {numbers}"
    low, high = GATE_METRICS[gate.metric]
    try:
        number = gate.number
    except (InvalidOperation, ValueError):
        number = math.nan
    if not math.isfinite(number):
        return f"{gate.bound!r} is not a value of {gate.metric}", "give a number"
    # 'suspects>0.02' is meant as a share; as a number it would hold for a single suspect
    if gate.metric == "suspects" and not gate.is_share and number % 1:
        return f"{gate.bound} is not a number of samples", "for a share, write it in percent, like 2%"
    if gate.is_share and gate.metric not in SHARE_METRICS:
        return f"{gate.metric} is not a share", "give a number without %"
    # 'accuracy<90' would always hold, and 'accuracy>90' never: a mistake for 90%
    if not low <= number <= (1 if gate.is_share else high):
        span = f"{low} to {high}" if math.isfinite(high) else f"{low} up"
        span = f"{100 * low:g}% to 100%" if gate.is_share else span
        return f"{gate.metric} is never {gate.bound}", f"give a number from {span}"
    return None
