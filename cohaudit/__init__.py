"""cohaudit: what a trained network learned, what it merely memorized, and which labels are wrong.

    import cohaudit

    audit = cohaudit.scan(model, dataset)
    audit.samples.sort_values("suspicion")

Everything here is imported when it is first used, so that `cohaudit --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cohaudit._version import __version__
    from cohaudit.config import Config
    from cohaudit.errors import CohauditError
    from cohaudit.pipeline.scan import scan
    from cohaudit.report import write_report
    from cohaudit.results import Audit
    from cohaudit.results.read import read_audit

__all__ = ["Audit", "CohauditError", "Config", "__version__", "read_audit", "scan", "write_report"]

_HOME = {
    "Audit": "cohaudit.results",
    "CohauditError": "cohaudit.errors",
    "Config": "cohaudit.config",
    "__version__": "cohaudit._version",
    "read_audit": "cohaudit.results.read",
    "scan": "cohaudit.pipeline.scan",
    "write_report": "cohaudit.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals() | _HOME)
