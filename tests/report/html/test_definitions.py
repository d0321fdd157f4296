"""The definitions on the page: of all figures, of nothing else, and with the code's own constants."""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from dataclasses import replace
from functools import reduce
from types import ModuleType
from typing import Any

import pytest
from support.audits import make_audit

from cohaudit import results
from cohaudit.analysis import expected_score, generalization_gap, label_verdict
from cohaudit.config.used import MEASUREMENT_KEYS
from cohaudit.report.html.view._definition import Definition
from cohaudit.report.html.view._definitions import definitions
from cohaudit.results import SAMPLE_COLUMNS, Audit, AuditResults, kinds, thresholds

MODULES: dict[str, ModuleType] = {
    one.__name__.rpartition(".")[2]: one
    for one in (expected_score, generalization_gap, label_verdict, kinds, thresholds)
}
AUDIT = make_audit()
DEFINITIONS = definitions(AUDIT)
each_definition = pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.name)
SAMPLE_FIGURES = {f"samples.{name}" for name in SAMPLE_COLUMNS if AUDIT.samples[name].dtype.kind in "fi"}
NOT_SHOWN = {"samples.margin"}
"""Figures of audit.json that the page does not show."""
SPEAK_FOR_THEMSELVES = {
    *("Coherence.samples", "Layer.parameters", "ClassResult.samples", "ClassResult.suspects"),
    *("Holdout.samples", "Holdout.repeated", "Certificate.samples", "Evidence.line"),
    *("ReviewCalibration.right", "ReviewCalibration.wrong", "ReviewCalibration.unsure"),
    *("ReviewCalibration.unmatched", "samples.rank"),
    *("Corrections.by_audit", "Corrections.by_person", "Corrections.unmatched"),
    *("CorrectionRound.samples", "CorrectionRound.relabeled", "CorrectionRound.removed"),
    "CorrectionRound.by_audit",
    *("Subject.parameters", "Subject.samples", "Subject.samples_total", "Audit.timings"),
}
"""Counts and times."""
MATHEMATICS = {"0", "1"}
"""Numbers that a definition may spell out."""
NUMBER = re.compile(r"(?<![A-Za-z\d.,])\d(?:[\d.,]*\d)?")


def numbers_of(kind: type) -> set[str]:
    """Return the numbers in a dataclass of results and in those that it holds, as `Class.field`."""
    found = set[str]()
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        parts = flat(hints[field.name])
        if parts & {float, int, results.Estimate}:
            found.add(f"{kind.__name__}.{field.name}")
        for part in parts - {results.Estimate, AuditResults, results.Skipped}:
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                found |= numbers_of(part)
    return found


def flat(annotation: Any) -> set[Any]:
    """Return the types that an annotation is made of."""
    inner = typing.get_args(annotation)
    return reduce(set.union, map(flat, inner), set[Any]()) if inner else {annotation}


def words(found: tuple[Definition, ...], name: str) -> str:
    (one,) = (one for one in found if one.name == name)
    return f"{one.formula} {one.words}"


def changed(value: Any) -> Any:
    """Return another value of the same kind, as a constant or a setting could have."""
    if isinstance(value, tuple):
        return tuple(map(changed, value))
    return value + 37 if isinstance(value, int) else value * 1.37


def test_every_figure_on_the_page_has_one_definition() -> None:
    defined = [figure for one in DEFINITIONS for figure in one.figures]
    assert len(defined) == len(set(defined))
    shown = numbers_of(Audit) | SAMPLE_FIGURES
    assert set(defined) == shown - SPEAK_FOR_THEMSELVES - NOT_SHOWN


@each_definition
def test_what_a_definition_speaks_of_exists(definition: Definition) -> None:
    for figure in definition.figures:
        owner, _, name = figure.partition(".")
        if owner == "samples":
            assert name in SAMPLE_COLUMNS
        else:
            assert name in {field.name for field in dataclasses.fields(getattr(results, owner))}
    assert set(definition.settings) <= set(MEASUREMENT_KEYS)
    for constant in definition.constants:
        module, _, name = constant.partition(".")
        assert hasattr(MODULES[module], name)


@each_definition
def test_a_definition_follows_the_constants_and_settings_that_it_quotes(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = words(DEFINITIONS, definition.name)
    for constant in definition.constants:
        module, _, name = constant.partition(".")
        with monkeypatch.context() as patch:
            patch.setattr(MODULES[module], name, changed(getattr(MODULES[module], name)))
            assert words(definitions(AUDIT), definition.name) != before, constant
    for key in definition.settings:
        value = AUDIT.settings.get(key, importlib.import_module("cohaudit.config").KEYS[key].default)
        other = tuple(0.5 * bound for bound in value) if isinstance(value, tuple) else value / 2
        settings = {**AUDIT.settings, key: type(value)(other) if not isinstance(value, tuple) else other}
        assert words(definitions(replace(AUDIT, settings=settings)), definition.name) != before, key


@each_definition
def test_no_number_of_a_definition_is_typed(definition: Definition, monkeypatch: pytest.MonkeyPatch) -> None:
    before = NUMBER.findall(definition.words)
    for module in MODULES.values():
        for name, value in vars(module).copy().items():
            if name.isupper() and isinstance(value, int | float):
                monkeypatch.setattr(module, name, changed(value))
    keys = {**AUDIT.settings, "certificate_tolerance": 0.001}
    numeric = {name: changed(keys[name]) for name in ("neighbors", "bootstrap", "certificate_tolerance")}
    numeric |= {"confidence": 0.123, "suspicion_threshold": 0.456, "risk_levels": (0.0111, 0.0222, 0.0333)}
    other = replace(AUDIT, settings={**AUDIT.settings, **numeric}, cosine_error=0.5, outside=())
    (after,) = (one for one in definitions(other) if one.name == definition.name)
    left = [number for number in before if number in NUMBER.findall(after.words)]
    assert set(left) <= MATHEMATICS
