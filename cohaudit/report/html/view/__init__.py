"""What the page shows, as data: every number is already in words, so that the templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.report.commands import Places
from cohaudit.report.html.view._actions import Actions, build_actions
from cohaudit.report.html.view._classes import Classes, build_classes
from cohaudit.report.html.view._depth import Depth, build_depth
from cohaudit.report.html.view._gallery import Gallery, build_gallery
from cohaudit.report.html.view._method import (
    CertificateView,
    Method,
    build_certificate,
    build_method,
    build_skipped,
    build_timings,
)
from cohaudit.report.html.view._verdict import Verdict, build_verdict
from cohaudit.report.html.view.audits import AuditSection, build_audits
from cohaudit.report.words import Text, text
from cohaudit.results import Audit

__all__ = ["Page", "build_page"]


@dataclass(frozen=True)
class Page:
    """The report, section by section."""

    subject: Text
    """The checkpoint, for the title."""
    version: str
    """Version of cohaudit that measured."""
    schema_version: str
    """Version of the layout of audit.json."""
    verdict: Verdict
    actions: Actions
    gallery: Gallery
    classes: Classes
    depth: Depth
    audits: tuple[AuditSection, ...]
    method: Method
    certificate: CertificateView
    skipped: tuple[tuple[Text, str], ...]
    """What was left out, and why."""
    timings: tuple[tuple[str, str], ...]
    """Stage and time taken."""


def build_page(audit: Audit, places: Places) -> Page:
    """Return everything that the templates show of an audit.

    Args:
        audit: Result of a scan.
        places: Where the files are that the commands name.

    Returns:
        The page as data.
    """
    return Page(
        subject=text(audit.subject.checkpoint),
        version=audit.version,
        schema_version=audit.schema_version,
        verdict=build_verdict(audit),
        actions=build_actions(audit, places),
        gallery=build_gallery(audit),
        classes=build_classes(audit),
        depth=build_depth(audit),
        audits=build_audits(audit),
        method=build_method(audit),
        certificate=build_certificate(audit),
        skipped=build_skipped(audit),
        timings=build_timings(audit),
    )
