"""Whether an audit judges samples at all."""

from __future__ import annotations

from cohaudit.results import Audit


def judges_samples(audit: Audit) -> bool:
    """Return whether the samples were judged: a model can be not auditable, or lack a representation."""
    return audit.sanity.auditable and bool(audit.samples["suspicion"].notna().any())
