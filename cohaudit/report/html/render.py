"""The report, and the difference of two, as one HTML page that asks nothing of the network."""

from __future__ import annotations

from pathlib import Path

from cohaudit.report.html.diff_page import build_diff_page
from cohaudit.report.html.templates import render
from cohaudit.report.html.view import build_page
from cohaudit.results import Audit
from cohaudit.review.diff.difference import Difference


def render_html(audit: Audit, templates: Path | None = None) -> str:
    """Render the report.

    Args:
        audit: The result of a scan.
        templates: Folder of a user's templates that come before the shipped ones of the same name.

    Returns:
        The page: equal for equal audits.

    Raises:
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    return render("report.html.j2", templates, page=build_page(audit), audit=audit)


def render_difference(difference: Difference, templates: Path | None = None) -> str:
    """Render the difference of two audits.

    Args:
        difference: From `diff.compare`.
        templates: Folder of a user's templates that come before the shipped ones of the same name.

    Returns:
        The page: equal for equal differences.

    Raises:
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    return render("diff.html.j2", templates, page=build_diff_page(difference), difference=difference)
