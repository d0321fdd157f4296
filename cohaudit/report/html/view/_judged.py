"""Whether an audit judges samples, and lists any as suspects."""

from __future__ import annotations

from cohaudit.results import Audit


def judges_samples(audit: Audit) -> bool:
    """Return whether the samples were judged: a model can be not auditable, or lack a representation."""
    return audit.sanity.auditable and bool(audit.samples["suspicion"].notna().any())


def lists_suspects(audit: Audit) -> bool:
    """Return whether suspects are listed: they are not where it cannot be told which labels are wrong."""
    return audit.lists_suspects or bool(audit.samples["suspect"].any())
