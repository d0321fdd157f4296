"""Gates: conditions under which an audit fails a build, evaluated on the finished audit.

A gate is parsed before anything expensive happens and evaluated on unrounded values. Where a value has an
interval, the gate fails when the condition holds on the whole interval, and warns when it holds on the value
alone. A gate never passes by absence: a value that was not measured, or is not a number, fails it with the
reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.results import LEVELS, Audit, GateResult, Skipped
from cohaudit.review.gate_condition import (
    CLASS_METRIC,
    FAIL_ON,
    GATE_OPERATORS,
    INTERVAL_OPERATORS,
    LAYER_METRIC,
    WARN_ON,
    GateCondition,
    parse_gate,
)
from cohaudit.review.gate_values import GateValue, describe_unknown_name, gate_values, matching_names

MIN_REASON_DIGITS = 4
"""Significant digits of a value in a gate's reason; more where the value is that close to the bound."""

FLOAT_DIGITS = 17
"""Significant digits that tell every two float64 numbers apart."""


def parsed_gates(config: Config) -> list[tuple[str, GateCondition]]:
    """Return all conditions of a configuration with their options: those that fail, then those that warn.

    Raises:
        ConfigError: A condition cannot be parsed.
    """
    options = ((FAIL_ON, config.fail_on), (WARN_ON, config.warn_on))
    return [(option, parse_gate(text, option)) for option, texts in options for text in texts]


def gate_results(config: Config, audit: Audit) -> list[GateResult]:
    """Evaluate all conditions of a configuration on an audit."""
    whole = not config.gate_on_value
    results = ((option, evaluate_gate(gate, audit, whole)) for option, gate in parsed_gates(config))
    return [_as_warning(result) if option == WARN_ON else result for option, result in results]


def refuse_unknown_names(config: Config, layers: Iterable[str], classes: Iterable[str]) -> None:
    """Refuse, before anything is measured, a gate on a layer or class that does not exist.

    Args:
        config: Settings, with the conditions.
        layers: Every name that a layer can have.
        classes: Names of the classes.

    Raises:
        ConfigError: A gate's name, or pattern, fits none of them.
    """
    known = {LAYER_METRIC: list(layers), CLASS_METRIC: list(classes)}
    for option, gate in parsed_gates(config):
        if gate.kind and not matching_names(gate, known[gate.metric]):
            found, remedy = describe_unknown_name(gate, known[gate.metric])
            raise ConfigError(f"{option} {gate.expression!r}", found, remedy)


def evaluate_gate(gate: GateCondition, audit: Audit, whole_interval: bool = True) -> GateResult:
    """Evaluate a gate on an audit.

    Args:
        gate: The condition.
        audit: The result of a scan.
        whole_interval: Whether the condition must hold on the whole interval of a value that has one; False:
            on the value alone.

    Returns:
        Whether the gate fails or warns, and why.
    """
    # no number of a model at chance means anything, not even one that would pass
    if not audit.sanity.auditable:
        return GateResult(gate.expression, "not auditable", True, f"not auditable: {audit.sanity.reason}")
    measured: list[GateValue] = []
    for value in gate_values(gate, audit):
        if isinstance(value, Skipped):
            reason = f"{value.name}: not measured: {value.reason}"
            return GateResult(gate.expression, "not measured", True, reason)
        if not math.isfinite(value.value):
            reason = f"{value.metric}: {value.exact} is not a finite number"
            return GateResult(gate.expression, value.exact, True, reason)
        measured.append(value)
    return _judge(gate, measured, whole_interval)


def _as_warning(result: GateResult) -> GateResult:
    """Return the result of a gate that only warns."""
    return replace(result, failed=False, warned=result.failed or result.warned)


def _judge(gate: GateCondition, values: Sequence[GateValue], whole_interval: bool) -> GateResult:
    """Compare the values; the one that comes closest to failing, or fails by most, is reported."""
    beyond = [value for value in values if gate.holds(value.value)]
    failing = [value for value in beyond if not whole_interval or _holds_on_interval(gate, value)]
    # for == and != every value that holds is as bad; the smallest is as good a choice as any
    most_extreme = max if gate.op in {">", ">="} else min
    worst = most_extreme(failing or beyond or values, key=lambda value: value.value)
    reason = _reason(gate, worst, bool(beyond), len(failing or beyond), len(values))
    if beyond and not failing:
        reason += _describe_interval(gate, worst)
    return GateResult(gate.expression, worst.exact, bool(failing), reason, bool(beyond) and not failing)


def _reason(gate: GateCondition, worst: GateValue, holds: bool, count: int, total: int) -> str:
    words = GATE_OPERATORS[gate.op][1]
    others = f"; {count} of {total} are" if count > 1 else ""
    verb = "is" if holds else "is not"
    return f"{worst.metric}: {_format_value(gate, worst)} {verb} {words} {gate.bound}{others}"


def _describe_interval(gate: GateCondition, value: GateValue) -> str:
    if value.interval is None:
        return ""
    ends: list[str]
    if gate.is_level:
        # the interval of a level holds positions
        ends = [LEVELS[int(end)] for end in value.interval]
    else:
        ends = [value.format_number(end, MIN_REASON_DIGITS) for end in value.interval]
    return f", but not its whole interval, {' to '.join(ends)}"


def _holds_on_interval(gate: GateCondition, value: GateValue) -> bool:
    if value.interval is None or gate.op not in INTERVAL_OPERATORS:
        return True
    # at both ends is enough: an interval lies on one side of the bound then
    return all(gate.holds(end) for end in value.interval)


def _format_value(gate: GateCondition, value: GateValue) -> str:
    """Return a value in words, with as many digits as it takes to see on which side of the bound it is."""
    outcome = gate.holds(value.value)
    for digits in range(MIN_REASON_DIGITS, FLOAT_DIGITS):
        # 'accuracy: 0.9 is below 0.9' would be nonsense: the rounded number must be on the same side
        if gate.holds(float(f"{value.value:.{digits}g}")) == outcome:
            return value.format(digits)
    return value.format(FLOAT_DIGITS)
