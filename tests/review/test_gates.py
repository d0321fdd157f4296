"""Gates: what is accepted, what holds, and that none passes by absence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.audits import HOSTILE, make_audit

from cohaudit.config import Config
from cohaudit.errors import ConfigError
from cohaudit.results import LEVELS, Audit, Coherence, Estimate, Layer, Risk, Skipped, WrongLabels
from cohaudit.review.gate_condition import GATE_METRICS, GATE_OPERATORS, parse_gate
from cohaudit.review.gates import evaluate_gate, gate_results, parsed_gates, refuse_unknown_names

AUDIT = make_audit(samples=200, suspects=10)


def fails(expression: str, audit: Audit = AUDIT) -> bool:
    return evaluate_gate(parse_gate(expression), audit).failed


def coherence(pairwise: float) -> Coherence:
    none = Estimate(0.0, 0.0, 0.0)
    return Coherence(100, none, none, Estimate(pairwise, pairwise, pairwise))


def layer(name: str, pairwise: float | Skipped) -> Layer:
    found = pairwise if isinstance(pairwise, Skipped) else coherence(pairwise)
    return Layer(name, "Linear", 10, "closed form", 0.5, 1.0, found)


def with_layers(*layers: Layer) -> Audit:
    return replace(AUDIT, layers=layers)


def with_risk(value: float, level: Any = "low", half_width: float = 0.0) -> Audit:
    gap = Estimate(value, value - half_width, value + half_width)
    assert isinstance(AUDIT.risk, Risk)
    return replace(AUDIT, risk=replace(AUDIT.risk, gap=gap, level=level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bound", LEVELS)
def test_risk_levels_are_ordered(level: Any, bound: str) -> None:
    gap = {"low": 0.01, "moderate": 0.07, "high": 0.15, "severe": 0.5}[level]
    audit, at, limit = with_risk(gap, level), LEVELS.index(level), LEVELS.index(bound)
    assert fails(f"risk>={bound}", audit) == (at >= limit)
    assert fails(f"risk<{bound}", audit) == (at < limit)
    assert fails(f"risk=={bound}", audit) == (at == limit)


def test_unrounded_values_are_compared() -> None:
    audit = with_risk(0.4999999999)
    assert not fails("predicted_gap>=0.5", audit)
    assert fails("predicted_gap>0.4999999998", audit)
    assert not fails("predicted_gap>0.4999999999", audit)


@pytest.mark.parametrize(
    ("expression", "failed"),
    [
        ("suspects>9", True),
        ("suspects>10", False),
        ("suspects>=10", True),
        ("suspects>5%", False),
        ("suspects>=5%", True),
        ("suspects>4.99%", True),
        ("accuracy<0.9996", False),
        ("accuracy<=0.9996", True),
        ("accuracy<99.97%", True),
        ("loss>0.02", True),
        ("loss>0.03", False),
        ("  suspects  >=  10 ", True),
    ],
)
def test_plain_metrics(expression: str, failed: bool) -> None:
    assert fails(expression) == failed


@pytest.mark.parametrize(
    ("expression", "failed", "reason"),
    [
        (
            "suspects>5%",
            True,
            "not measured: it cannot be told which labels are wrong, at most 20.0%: review",
        ),
        ("suspects>9", True, "not measured"),
        ("suspects<5%", True, "not measured"),
        ("suspects==0", True, "not measured"),
        # not more labels can be wrong: whichever they are, the gate holds
        ("suspects>20%", False, "at most 20% is not above 20%"),
        ("suspects>=41", False, "at most 40 is not at or above 41"),
    ],
)
def test_no_list_is_not_an_empty_list(expression: str, failed: bool, reason: str) -> None:
    audit = make_audit(samples=200, told=False)
    wrong = audit.wrong_labels
    assert isinstance(wrong, WrongLabels)
    audit = replace(audit, wrong_labels=replace(wrong, share=Estimate(0.1, 0.0, 0.2)))
    result = evaluate_gate(parse_gate(expression), audit)
    assert result.failed == failed
    assert reason in result.reason


def test_where_no_list_can_be_given_a_gate_may_still_only_warn() -> None:
    (result,) = gate_results(Config(warn_on=("suspects>5%",)), make_audit(told=False))
    assert (result.failed, result.warned) == (False, True)


@given(st.integers(1, 300), st.data())
def test_a_share_equal_to_the_bound_is_not_above_it(suspects: int, data: st.DataObject) -> None:
    audit = make_audit(samples=300, suspects=0)
    audit = replace(audit, samples=audit.samples.assign(suspect=audit.samples.index < suspects))
    tenths = data.draw(st.integers(0, 1000))
    assert fails(f"suspects>{tenths / 10}%", audit) == (suspects * 1000 > tenths * 300)


@pytest.mark.parametrize(
    ("metric", "field"),
    [("coherence.alpha", "alpha"), ("coherence.m", "m_coherence"), ("coherence.pairwise", "pairwise")],
)
def test_whole_model_coherence(metric: str, field: str) -> None:
    assert isinstance(AUDIT.coherence, Coherence)
    value = getattr(AUDIT.coherence, field).value
    at, below = (parse_gate(f"{metric}{op}{value!r}") for op in ("<=", "<"))
    assert evaluate_gate(at, AUDIT, whole_interval=False).failed
    assert not evaluate_gate(below, AUDIT, whole_interval=False).failed


def test_a_layer_by_name_and_by_pattern() -> None:
    audit = with_layers(layer("conv1", 0.1), layer("conv2", 0.3), layer("fc", 0.5))
    assert fails("coherence.layer.conv1<0.2", audit)
    assert not fails("coherence.layer.conv2<0.2", audit)
    assert fails("coherence.layer.conv*<0.2", audit)
    assert not fails("coherence.layer.conv*<0.05", audit)
    assert fails("coherence.layer.*>=0.5", audit)


def test_a_pattern_reports_the_worst_and_how_many() -> None:
    audit = with_layers(layer("conv1", 0.125), layer("conv2", 0.0625), layer("fc", 0.5))
    result = evaluate_gate(parse_gate("coherence.layer.*<0.25"), audit)
    assert result.measured == "0.0625"
    assert result.reason == "coherence.layer.conv2: 0.0625 is below 0.25; 2 of 3 are"
    passed = evaluate_gate(parse_gate("coherence.layer.*<0.01"), audit)
    assert passed.reason == "coherence.layer.conv2: 0.0625 is not below 0.01"


def test_a_name_is_taken_literally_but_for_the_asterisk() -> None:
    audit = with_layers(layer("a[0].b", 0.1), layer("aX0].b", 0.1), layer("*", 0.9))
    assert fails("coherence.layer.a[0].b<0.2", audit)
    assert not fails("coherence.layer.*<0.2", audit), "an exact name comes before the pattern"
    with pytest.raises(ConfigError):
        refuse_unknown_names(Config(fail_on=("coherence.layer.a?0].b<0.2",)), ["a[0].b", "aX0].b", "*"], [])


@pytest.mark.parametrize("name", [name for name in HOSTILE if "*" not in name])
def test_any_name_can_be_gated(name: str) -> None:
    assert fails(f"coherence.layer.{name}<0.2", with_layers(layer(name, 0.1)))


def test_classes_are_gated_by_name() -> None:
    one = replace(AUDIT.classes[0], name="cat > dog", coherence=coherence(0.1))
    audit = replace(AUDIT, classes=(one,))
    assert fails("coherence.class.cat > dog<0.2", audit)
    assert not fails("coherence.class.cat*>=0.2", audit)


@pytest.mark.parametrize(("kind", "near"), [("layer", "body.0.fc"), ("class", "class 0")])
def test_a_layer_or_class_that_is_not_there_suggests_the_nearest(kind: str, near: str) -> None:
    gate = parse_gate(f"coherence.{kind}.{near}x<0.1")
    layers, classes = [layer.name for layer in AUDIT.layers], [c.name for c in AUDIT.classes]
    with pytest.raises(ConfigError) as caught:
        refuse_unknown_names(Config(fail_on=(gate.expression,)), layers, classes)
    assert f"no {kind} '{near}x'" in caught.value.found
    assert near in caught.value.remedy
    refuse_unknown_names(Config(fail_on=(f"coherence.{kind}.{near}<0.1", "loss>0")), layers, classes)
    result = evaluate_gate(gate, AUDIT)
    assert result.failed, "a model can have a layer that was not measured"
    assert f"no {kind} '{near}x'" in result.reason
    assert near in result.reason


@pytest.mark.parametrize(
    "expression", ["risk>=severe", "suspects>100%", "accuracy<0", "loss>100", "coherence.m<0"]
)
def test_every_gate_fails_when_the_model_is_not_auditable(expression: str) -> None:
    result = evaluate_gate(parse_gate(expression), make_audit(auditable=False))
    assert result.failed
    assert result.measured == "not auditable"
    assert "chance" in result.reason


@pytest.mark.parametrize("op", GATE_OPERATORS)
def test_no_gate_passes_by_absence(op: str) -> None:
    absent = Skipped("it", "there was no time")
    audit = replace(with_layers(layer("fc", absent), layer("fc2", 0.1)), risk=absent, coherence=absent)
    for metric in ("predicted_gap", "coherence.m", "coherence.layer.fc", "coherence.layer.*"):
        result = evaluate_gate(parse_gate(f"{metric}{op}0.5"), audit)
        assert result.failed
        assert not result.warned
        assert result.reason.endswith("not measured: there was no time")


@pytest.mark.parametrize("op", GATE_OPERATORS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_gate_passes_on_what_is_no_number(op: str, value: float) -> None:
    assert fails(f"predicted_gap{op}0.5", with_risk(value))
    assert fails(f"coherence.layer.fc{op}0.5", with_layers(layer("fc", value)))


def test_no_gate_passes_on_samples_without_a_score() -> None:
    samples = AUDIT.samples.assign(suspicion=AUDIT.samples["suspicion"].where(AUDIT.samples.index > 2))
    result = evaluate_gate(parse_gate("suspects>100"), replace(AUDIT, samples=samples))
    assert result.failed
    assert "3 samples have no suspicion score" in result.reason


def test_the_result_says_what_was_compared_with_what() -> None:
    result = evaluate_gate(parse_gate("risk>=high"), with_risk(0.15625, "high"))
    assert (result.expression, result.measured) == ("risk>=high", "high (0.15625)")
    assert result.reason == "risk: high (gap 0.156) is at or above high"


@pytest.mark.parametrize(
    ("expression", "value", "reason"),
    [
        ("predicted_gap>0.3", 0.3152105948097024, "predicted_gap: 0.3152 is above 0.3"),
        ("predicted_gap>=0.5", 0.49999, "predicted_gap: 0.49999 is not at or above 0.5"),
        ("predicted_gap>0.5", 0.500000001, "predicted_gap: 0.500000001 is above 0.5"),
        ("predicted_gap>50%", 0.500000001, "predicted_gap: 50.0000001% is above 50%"),
        ("risk>=low", 0.01234567891, "risk: low (gap 0.0123) is at or above low"),
    ],
)
def test_words_have_as_many_digits_as_the_outcome_takes(expression: str, value: float, reason: str) -> None:
    result = evaluate_gate(parse_gate(expression), with_risk(value))
    assert result.reason == reason
    assert repr(value) in result.measured


def test_shares_are_told_in_the_unit_of_the_gate() -> None:
    assert evaluate_gate(parse_gate("suspects>2%"), AUDIT).reason == "suspects: 10 of 200 (5%) is above 2%"
    assert evaluate_gate(parse_gate("suspects>2"), AUDIT).reason == "suspects: 10 of 200 is above 2"
    assert evaluate_gate(parse_gate("accuracy<100%"), AUDIT).reason == "accuracy: 99.96% is below 100%"
    assert evaluate_gate(parse_gate("accuracy<1"), AUDIT).reason == "accuracy: 0.9996 is below 1"


@pytest.mark.parametrize("expression", ["suspects > 2 %", "suspects>2%", " suspects>2 %"])
def test_spaces_do_not_matter(expression: str) -> None:
    assert fails(expression)
    assert parse_gate(expression).bound == "2%"


def test_levels_are_known_in_any_case() -> None:
    assert parse_gate("risk>=High").bound == parse_gate("risk >= HIGH").bound == "high"


def outcome(expression: str, audit: Audit, **options: Any) -> str:
    return evaluate_gate(parse_gate(expression), audit, **options).outcome


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0.05, "passed"), (0.1, "passed"), (0.12, "warned"), (0.15, "warned"), (0.19, "failed")],
)
def test_a_gate_fails_when_the_whole_interval_is_beyond_the_bound(gap: float, expected: str) -> None:
    audit = with_risk(gap, half_width=0.0625)
    assert outcome("predicted_gap>0.1", audit) == expected
    assert outcome("predicted_gap>0.1", audit, whole_interval=False) == ("failed" if gap > 0.1 else "passed")


def test_what_keeps_a_gate_from_failing_is_told() -> None:
    result = evaluate_gate(parse_gate("predicted_gap>0.1"), with_risk(0.125, half_width=0.0625))
    assert not result.failed
    assert result.reason == "predicted_gap: 0.125 is above 0.1, but not its whole interval, 0.0625 to 0.1875"
    level = evaluate_gate(parse_gate("risk>=high"), with_risk(0.125, "high", half_width=0.0625))
    assert level.outcome == "warned"
    assert level.reason.endswith("but not its whole interval, moderate to high")


def test_the_whole_interval_counts_for_coherence_too() -> None:
    wide = Coherence(100, Estimate(0.1, 0.05, 0.3), Estimate(10, 5, 30), Estimate(0.1, 0.05, 0.3))
    audit = replace(AUDIT, coherence=wide)
    assert outcome("coherence.pairwise<0.2", audit) == "warned"
    assert outcome("coherence.pairwise<0.35", audit) == "failed"
    assert outcome("coherence.m<9", audit) == "passed"


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(-1, 1), st.sampled_from(["<", "<=", ">", ">="]))
def test_only_what_holds_on_the_value_fails_or_warns(gap: float, half: float, bound: float, op: str) -> None:
    audit, expression = with_risk(gap, half_width=half), f"predicted_gap{op}{bound!r}"
    holds = GATE_OPERATORS[op][0](gap, parse_gate(expression).number)
    assert (outcome(expression, audit) != "passed") == holds
    assert outcome(expression, audit, whole_interval=False) == ("failed" if holds else "passed")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["warned", "warned"]),
        ({"gate_on_value": True}, ["failed", "warned"]),
    ],
)
def test_a_gate_that_is_to_warn_never_fails(settings: dict[str, Any], expected: list[str]) -> None:
    config = Config(fail_on=("predicted_gap>0.1",), warn_on=("suspects>1",), **settings)
    results = gate_results(config, replace(with_risk(0.125, half_width=0.0625)))
    assert [result.outcome for result in results] == expected
    absent = gate_results(config, make_audit(auditable=False))
    assert [result.outcome for result in absent] == ["failed", "warned"]


def test_a_name_that_is_not_there_is_told_with_the_option_that_it_came_from() -> None:
    gates = Config(fail_on=("coherence.layer.fc1<0",), warn_on=("coherence.layer.fc3<0",))
    with pytest.raises(ConfigError, match=r"^--warn-on 'coherence\.layer\.fc3<0': there is no layer"):
        refuse_unknown_names(gates, ["fc1", "fc2"], [])


def test_a_gap_in_per_cent_has_its_interval_and_its_bounds_in_per_cent() -> None:
    audit = with_risk(0.15, "high", half_width=0.1)
    reason = evaluate_gate(parse_gate("predicted_gap>10%"), audit).reason
    assert reason == "predicted_gap: 15% is above 10%, but not its whole interval, 5% to 25%"
    with pytest.raises(ConfigError, match="from -100% to 100%"):
        parse_gate("predicted_gap<-101%")


def test_a_wrong_gate_is_refused_with_the_option_that_it_came_from() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed_gates(Config(warn_on=("riks>=high",)))
    assert caught.value.where == "--warn-on 'riks>=high'"


REFUSED = [
    ("", "is not METRIC OPERATOR VALUE", "risk>=high"),
    ("risk", "is not METRIC OPERATOR VALUE", "risk>=high"),
    ("risk>=", "is not METRIC OPERATOR VALUE", "risk>=high"),
    ("risk=high", "is not METRIC OPERATOR VALUE", "risk>=high"),
    ("risk>=very high", "is not METRIC OPERATOR VALUE", "risk>=high"),
    ("riks>=high", "there is no metric 'riks'", "did you mean risk?"),
    ("Risk>=high", "there is no metric 'Risk'", "did you mean risk?"),
    ("coherence.layers.fc<1", "there is no metric", "coherence.layer.NAME"),
    ("coherence.layer.<0.1", "there is no metric", "coherence.layer.NAME"),
    ("risk>=hihg", "'hihg' is not a level of risk", "low, moderate, high, severe"),
    ("loss>high", "'high' is not a value of loss", "give a number"),
    ("loss>nan", "'nan' is not a value of loss", "give a number"),
    ("loss>snan", "'snan' is not a value of loss", "give a number"),
    ("loss>1e999999", "'1e999999' is not a value of loss", "give a number"),
    ("suspects>0.02", "0.02 is not a number of samples", "like 2%"),
    ("suspects>101%", "suspects is never 101%", "give a number from 0% to 100%"),
    ("suspects>-1", "suspects is never -1", "give a number from 0 up"),
    ("suspects>2 3%", "is not METRIC OPERATOR VALUE", "suspects>2%"),
    ("accuracy<95", "accuracy is never 95", "from 0 to 1"),
    ("risk>0.5", "'0.5' is not a level of risk", "predicted_gap>0.1"),
    ("risk>50%", "'50%' is not a level of risk", "low, moderate, high, severe"),
    ("predicted_gap>1.5", "predicted_gap is never 1.5", "from -1 to 1"),
    ("loss<-1", "loss is never -1", "give a number"),
    ("coherence.m<5%", "coherence.m is not a share", "without %"),
    ("loss>%", "'%' is not a value of loss", "give a number"),
]


@pytest.mark.parametrize(("expression", "found", "remedy"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_a_gate_is_refused(expression: str, found: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_gate(expression)
    assert caught.value.where == f"--fail-on {expression!r}"
    assert found in caught.value.found
    assert remedy in caught.value.remedy


@given(st.text())
def test_any_text_is_a_gate_or_refused(text: str) -> None:
    try:
        gate = parse_gate(text)
    except ConfigError:
        return
    assert gate.metric in GATE_METRICS


@given(st.sampled_from(sorted(GATE_METRICS)), st.sampled_from(sorted(GATE_OPERATORS)), st.text(min_size=1))
def test_any_value_makes_a_gate_or_is_refused(metric: str, op: str, value: str) -> None:
    name = "fc" if metric.endswith(".") else ""
    try:
        gate = parse_gate(f"{metric}{name}{op}{value}")
    except ConfigError:
        return
    assert math.isfinite(gate.number)
