"""cohaudit: what a trained network learned, what it merely memorized, and which labels are wrong.

    import cohaudit

    audit = cohaudit.scan(model, dataset)
    audit.suspects

Everything here is imported when it is first used, so that `cohaudit --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cohaudit import errors, results
    from cohaudit._version import __version__
    from cohaudit.config import Config
    from cohaudit.config.typed import Settings
    from cohaudit.errors import CohauditError
    from cohaudit.gradients import robust
    from cohaudit.loading.data import DatasetLike
    from cohaudit.pipeline.progress import Progress
    from cohaudit.pipeline.scan import scan
    from cohaudit.report import write_report
    from cohaudit.results import Audit, Estimate, Skipped, Suppression
    from cohaudit.results.read import read_audit
    from cohaudit.review.check import CheckResult, check
    from cohaudit.review.correct import Correction
    from cohaudit.review.correct_audited import correct
    from cohaudit.review.diff.compare import compare as diff
    from cohaudit.review.diff.difference import Difference
    from cohaudit.review.export_files import ExportedFiles, export

__all__ = [
    "Audit",
    "CheckResult",
    "CohauditError",
    "Config",
    "Correction",
    "DatasetLike",
    "Difference",
    "Estimate",
    "ExportedFiles",
    "Progress",
    "Settings",
    "Skipped",
    "Suppression",
    "__version__",
    "check",
    "correct",
    "diff",
    "errors",
    "export",
    "read_audit",
    "results",
    "robust",
    "scan",
    "write_report",
]

_MODULES = {
    "errors": "cohaudit.errors",
    "results": "cohaudit.results",
    "robust": "cohaudit.gradients.robust",
}
"""Public name of a module → the module."""

_HOME = {
    "Audit": "cohaudit.results",
    "CheckResult": "cohaudit.review.check",
    "CohauditError": "cohaudit.errors",
    "Config": "cohaudit.config",
    "Correction": "cohaudit.review.correct",
    "DatasetLike": "cohaudit.loading.data",
    "Difference": "cohaudit.review.diff.difference",
    "Estimate": "cohaudit.results",
    "ExportedFiles": "cohaudit.review.export_files",
    "Progress": "cohaudit.pipeline.progress",
    "Settings": "cohaudit.config.typed",
    "Skipped": "cohaudit.results",
    "Suppression": "cohaudit.results",
    "__version__": "cohaudit._version",
    "check": "cohaudit.review.check",
    "correct": "cohaudit.review.correct_audited",
    "export": "cohaudit.review.export_files",
    "read_audit": "cohaudit.results.read",
    "scan": "cohaudit.pipeline.scan",
    "write_report": "cohaudit.report",
}
"""Public name → the module that defines it."""


_RENAMED = {"diff": "compare", "compare": "compare"}
"""Public name → its name in `review.diff.compare`. `compare` is the former name of `diff`: scripts may still
use it, and nothing lists it."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: object = import_module(_MODULES[name])
    elif name in _RENAMED:
        value = getattr(import_module("cohaudit.review.diff.compare"), _RENAMED[name])
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # the next access finds it without this function
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # the public names alone: what a notebook completes after `cohaudit.`
    return sorted(__all__)
