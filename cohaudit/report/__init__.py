"""Turns an `Audit` into files, and audit.json back into an `Audit`: without model, data or torch."""

from cohaudit.report._encode import audit_to_json
from cohaudit.report._read import read_audit
from cohaudit.report.html import render_difference, render_html
from cohaudit.report.output import (
    check_folder,
    refuse_data,
    refuse_existing,
    refuse_source,
    table_to_csv,
    try_folder,
    working_folder,
    write_file,
    write_html,
    write_report,
)

__all__ = [
    "audit_to_json",
    "check_folder",
    "read_audit",
    "refuse_data",
    "refuse_existing",
    "refuse_source",
    "render_difference",
    "render_html",
    "table_to_csv",
    "try_folder",
    "working_folder",
    "write_file",
    "write_html",
    "write_report",
]
