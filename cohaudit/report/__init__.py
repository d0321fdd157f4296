"""Turns an `Audit` into files, and audit.json back into an `Audit`: without model, data or torch."""

from cohaudit.report.formats.annotations import render_annotations
from cohaudit.report.formats.diff_markdown import render_difference_markdown
from cohaudit.report.formats.registry import GITHUB, parsed_formats, table_to_parquet
from cohaudit.report.html.render import render_difference, render_html
from cohaudit.report.html.templates import check_templates
from cohaudit.report.write import (
    check_folder,
    refuse_data,
    refuse_existing,
    refuse_source,
    table_to_csv,
    try_folder,
    working_folder,
    write_file,
    write_formats,
    write_html,
    write_report,
)
from cohaudit.results.json_encode import audit_to_json
from cohaudit.results.read import read_audit

__all__ = [
    "GITHUB",
    "audit_to_json",
    "check_folder",
    "check_templates",
    "parsed_formats",
    "read_audit",
    "refuse_data",
    "refuse_existing",
    "refuse_source",
    "render_annotations",
    "render_difference",
    "render_difference_markdown",
    "render_html",
    "table_to_csv",
    "table_to_parquet",
    "try_folder",
    "working_folder",
    "write_file",
    "write_formats",
    "write_html",
    "write_report",
]
