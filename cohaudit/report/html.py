"""The report, and the difference of two, as one HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

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


@dataclass(frozen=True)
class InlineScript:
    """A script that stands in the page."""

    text: Markup
    hash: str
    """By which the page's Content-Security-Policy allows it, and nothing else."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["inline_script"] = partial(_inline_script, environment)
    return environment


def _inline_script(environment: Environment, name: str) -> InlineScript:
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return InlineScript(Markup(text), f"sha256-{digest}")
