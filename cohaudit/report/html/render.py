"""The pages of report, diff and review, each one HTML file that loads nothing from the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cohaudit.report.commands import Places, default_places
from cohaudit.report.html.diff_page import build_diff_page
from cohaudit.report.html.review_page import build_review_page
from cohaudit.report.html.templates import render
from cohaudit.report.html.view import build_page
from cohaudit.results import Audit
from cohaudit.review.diff.difference import Difference


def render_html(audit: Audit, templates: Path | None = None, places: Places | None = None) -> str:
    """Render the report.

    Args:
        audit: Result of a scan.
        templates: Folder of a user's templates, which replace the shipped ones of the same name.
        places: Where the files are that the page's commands name; None for what the audit says.

    Returns:
        The page. Equal audits in equal places give equal pages.

    Raises:
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    page = build_page(audit, places or default_places(audit))
    return render("report.html.j2", templates, page=page, audit=audit)


def render_review(audit: Audit, ids: Sequence[str]) -> str:
    """Render the page that asks a person about labels.

    Args:
        audit: Result of a scan.
        ids: Ids of the samples to ask about, in the order to ask.

    Returns:
        The page. Equal audits give equal pages.
    """
    return render("review.html.j2", None, page=build_review_page(audit, ids))


def render_difference(difference: Difference, templates: Path | None = None) -> str:
    """Render the difference of two audits.

    Args:
        difference: Result of `cohaudit.review.diff.compare`.
        templates: Folder of a user's templates, which replace the shipped ones of the same name.

    Returns:
        The page. Equal differences give equal pages.

    Raises:
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    return render("diff.html.j2", templates, page=build_diff_page(difference), difference=difference)
