"""The settings that an audit was made with, and whether it judges samples at all."""

from __future__ import annotations

from typing import Any

from cohaudit.config import KEYS
from cohaudit.results import Audit


def judged(audit: Audit) -> bool:
    """Return whether the samples were judged: a model can be not auditable, or lack a representation."""
    return audit.sanity.auditable and bool(audit.samples["suspicion"].notna().any())


def setting(audit: Audit, name: str) -> Any:
    """Return a setting of the audit, or the default of one that it does not hold.

    Args:
        audit: The audit.
        name: A key of the configuration.
    """
    key = KEYS[name]
    return key.checked(audit.settings.get(name, key.default), f"settings.{name} of the audit")
