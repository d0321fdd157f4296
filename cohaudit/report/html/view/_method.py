"""How the numbers were measured, what vouches for them, and what is missing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from cohaudit.config import KEYS
from cohaudit.report.html.view._definition import Definition
from cohaudit.report.html.view._definitions import definitions
from cohaudit.report.html.view._facts import build_facts
from cohaudit.report.html.view._gap import (
    DriverView,
    StepView,
    build_drivers,
    build_steps,
    holdout_rows,
    reading,
)
from cohaudit.report.words import Text, number, percent, plural, prose, seconds, text
from cohaudit.results import Audit, Check, Skipped


@dataclass(frozen=True)
class SettingRow:
    """One setting."""

    name: Text
    value: Text
    help: str
    """What it sets; empty for a setting that this version does not know."""


@dataclass(frozen=True)
class Method:
    """The section on how it was measured."""

    facts: tuple[tuple[str, Text], ...]
    """What was audited: name and value."""
    steps: tuple[StepView, ...]
    """Steps from the training accuracy to the expected one; empty without a verdict."""
    drivers: tuple[DriverView, ...]
    """Causes of the gap."""
    holdout: tuple[tuple[str, str], ...]
    """What was measured on the holdout: name and value; empty without one."""
    reading: str
    """What the expected accuracy is, and how far it can be trusted."""
    definitions: tuple[Definition, ...]
    settings: tuple[SettingRow, ...]


@dataclass(frozen=True)
class CheckRow:
    """One check of the certificate."""

    name: str
    layer: Text
    error: str
    tolerance: str
    used: str
    """Error over tolerance."""


@dataclass(frozen=True)
class CertificateView:
    """The section on what vouches for the numbers."""

    summary: str
    coverage: str
    """Share of the trainable parameters that was measured."""
    gradients: str
    """Which samples' gradients were measured, in words."""
    checks: tuple[CheckRow, ...]


def build_method(audit: Audit) -> Method:
    """Return the section on what was audited and how."""
    risk = None if isinstance(audit.risk, Skipped) else audit.risk
    rows = []
    # sorted, as audit.json is: a page of an audit that was read back is the same page
    for name, value in sorted(audit.settings.items()):
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(SettingRow(text(name), text(shown, 72), KEYS[name].help if name in KEYS else ""))
    return Method(
        facts=tuple(build_facts(audit)),
        steps=() if risk is None else tuple(build_steps(risk)),
        drivers=() if risk is None else tuple(build_drivers(risk)),
        holdout=() if risk is None else tuple(holdout_rows(risk)),
        reading=reading(risk),
        definitions=definitions(audit),
        settings=tuple(rows),
    )


def build_certificate(audit: Audit) -> CertificateView:
    """Return the section on the certificate."""
    certificate = audit.certificate
    return CertificateView(
        summary=f"{plural(certificate.samples, 'sample')} recomputed one at a time with plain autograd",
        coverage=percent(certificate.parameter_coverage),
        gradients=audit.gradients.in_words(audit.subject.samples),
        checks=tuple(map(_check, certificate.checks)),
    )


def _check(check: Check) -> CheckRow:
    used = percent(check.error / check.tolerance) if check.tolerance else "–"
    return CheckRow(
        name=prose(check.name),
        layer=text(check.layer, 40),
        error=number(check.error),
        tolerance=number(check.tolerance),
        used=used,
    )


def build_skipped(audit: Audit) -> tuple[tuple[Text, str], ...]:
    """Return what was left out, each with its reason."""
    # Audits that did not run count as skipped: nothing is left out silently.
    further = (getattr(audit.audits, field.name) for field in dataclasses.fields(audit.audits))
    audits = (Skipped(f"audit {one.name}", one.reason) for one in further if isinstance(one, Skipped))
    return tuple((text(one.name, 72), prose(one.reason)) for one in (*audit.skipped, *audits))


def build_timings(audit: Audit) -> tuple[tuple[str, str], ...]:
    """Return the time of each stage, with their sum last; nothing where no stage was timed."""
    rows = [(prose(name), seconds(value)) for name, value in audit.timings.items()]
    return (*rows, ("total", seconds(sum(audit.timings.values())))) if rows else ()
