"""Turns an `Audit` into text and files: HTML, terminal, and further formats; without model, data or torch."""

from cohaudit.report.formats.annotations import render_annotations
from cohaudit.report.formats.diff_markdown import render_difference_markdown
from cohaudit.report.formats.registry import GITHUB, parsed_formats
from cohaudit.report.html.render import render_difference, render_html, render_review
from cohaudit.report.html.templates import check_templates
from cohaudit.report.write import refuse_data, try_folder, write_formats, write_html, write_report

__all__ = [
    "GITHUB",
    "check_templates",
    "parsed_formats",
    "refuse_data",
    "render_annotations",
    "render_difference",
    "render_difference_markdown",
    "render_html",
    "render_review",
    "try_folder",
    "write_formats",
    "write_html",
    "write_report",
]
