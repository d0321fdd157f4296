"""What the page shows, as data: every number already in words, so that the templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass

from cohaudit.report.html.view._audits import Section, build_audits
from cohaudit.report.html.view._classes import Classes, build_classes
from cohaudit.report.html.view._depth import Depth, build_depth
from cohaudit.report.html.view._gallery import Gallery, build_gallery
from cohaudit.report.html.view._method import (
    Certificate,
    Method,
    build_certificate,
    build_method,
    build_skipped,
    build_timings,
)
from cohaudit.report.html.view._verdict import Verdict, build_verdict
from cohaudit.report.words import Text, text
from cohaudit.results import Audit

__all__ = ["Page", "build_page"]


@dataclass(frozen=True)
class Page:
    """The report, section by section."""

    subject: Text
    """The checkpoint, for the title."""
    version: str
    schema_version: str
    verdict: Verdict
    depth: Depth
    classes: Classes
    gallery: Gallery
    audits: tuple[Section, ...]
    method: Method
    certificate: Certificate
    skipped: tuple[tuple[Text, str], ...]
    timings: tuple[tuple[str, str], ...]


def build_page(audit: Audit) -> Page:
    """Put an audit into words and figures.

    Args:
        audit: The result of a scan.

    Returns:
        Everything that the templates show.
    """
    return Page(
        subject=text(audit.subject.checkpoint),
        version=audit.version,
        schema_version=audit.schema_version,
        verdict=build_verdict(audit),
        depth=build_depth(audit),
        classes=build_classes(audit),
        gallery=build_gallery(audit),
        audits=build_audits(audit),
        method=build_method(audit),
        certificate=build_certificate(audit),
        skipped=build_skipped(audit),
        timings=build_timings(audit),
    )
