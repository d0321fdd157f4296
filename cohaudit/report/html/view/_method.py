"""How the numbers were measured, what vouches for them, and what is missing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from cohaudit.config import KEYS
from cohaudit.report.html.view._definitions import Definition, definitions
from cohaudit.report.words import Text, number, percent, plural, prose, seconds, text
from cohaudit.results import Audit, Check, Skipped


@dataclass(frozen=True)
class SettingRow:
    """One setting."""

    name: Text
    value: Text
    help: str


@dataclass(frozen=True)
class Method:
    """The section on how it was measured."""

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
class Certificate:
    """The section on what vouches for the numbers."""

    summary: str
    coverage: str
    checks: tuple[CheckRow, ...]


def build_method(audit: Audit) -> Method:
    """Put the measures and the settings into words."""
    rows = []
    for name, value in sorted(audit.settings.items()):
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        rows.append(SettingRow(text(name), text(shown, 72), KEYS[name].help if name in KEYS else ""))
    return Method(definitions(audit), tuple(rows))


def build_certificate(audit: Audit) -> Certificate:
    """Put the certificate into words."""
    certificate = audit.certificate
    return Certificate(
        summary=f"{plural(certificate.samples, 'sample')} computed again by plain autograd, one at a time",
        coverage=percent(certificate.parameter_coverage),
        checks=tuple(_check(check) for check in certificate.checks),
    )


def _check(check: Check) -> CheckRow:
    used = percent(check.error / check.tolerance) if check.tolerance else "–"
    return CheckRow(
        prose(check.name), text(check.layer, 40), number(check.error), f"{check.tolerance:g}", used
    )


def build_skipped(audit: Audit) -> tuple[tuple[Text, str], ...]:
    """Name what was left out, each with its reason."""
    further = (getattr(audit.audits, field.name) for field in dataclasses.fields(audit.audits))
    audits = (Skipped(f"audit {one.name}", one.reason) for one in further if isinstance(one, Skipped))
    return tuple((text(one.name, 72), prose(one.reason)) for one in (*audit.skipped, *audits))


def build_timings(audit: Audit) -> tuple[tuple[str, str], ...]:
    """Put the seconds per stage into words, with their sum last."""
    rows = [(prose(name), seconds(value)) for name, value in audit.timings.items()]
    return (*rows, ("total", seconds(sum(audit.timings.values())))) if rows else ()
