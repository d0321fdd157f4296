"""The report, and the difference of two, as one HTML page that asks nothing of the network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cohaudit.diff import Difference
from cohaudit.report.diff_page import build_diff_page
from cohaudit.report.view import build_page
from cohaudit.results import Audit

_PACKAGE = Path(__file__).parents[1]
_TEMPLATES = (_PACKAGE / "templates", _PACKAGE.parent / "templates")
"""Where the templates lie: in an installed package, and beside it in the repository."""


def render_html(audit: Audit) -> str:
    """Render the report.

    Args:
        audit: The result of a scan.

    Returns:
        The page: equal for equal audits.
    """
    return _environment().get_template("report.html.j2").render(page=build_page(audit))


def render_difference(difference: Difference) -> str:
    """Render the difference of two audits.

    Args:
        difference: From `diff.compare`.

    Returns:
        The page: equal for equal differences.
    """
    return _environment().get_template("diff.html.j2").render(page=build_diff_page(difference))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
