"""Audits that differ in one thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from support.audits import content, make_audit

from cohaudit.results import Audit, Estimate, Risk

BASE = make_audit(samples=120, suspects=12)


def with_gap(value: float, half: float = 0.01, audit: Audit = BASE) -> Audit:
    assert isinstance(audit.risk, Risk)
    gap = Estimate(value, value - half, value + half)
    expected = Estimate(*(audit.sanity.accuracy - one for one in (gap.value, gap.high, gap.low)))
    return replace(audit, risk=replace(audit.risk, gap=gap, expected=expected))


def with_suspicions(suspicions: dict[int, float], audit: Audit = BASE) -> Audit:
    """Return an audit whose suspects are the samples in these rows."""
    values = np.full(len(audit.samples), 0.1)
    values[list(suspicions)] = list(suspicions.values())
    table = audit.samples.assign(suspicion=values, suspect=values >= 0.5)
    ids = table["id"][table["suspect"]]
    any_evidence = audit.evidence[0]
    evidence = tuple(replace(any_evidence, id=i, content=content(i)) for i in ids)
    return replace(audit, samples=table, evidence=evidence)


def relabeled(audit: Audit, rows: Iterable[int]) -> Audit:
    """Return the audit of other data: the samples in these rows have another label."""
    labels = audit.samples["label"].to_numpy(copy=True)
    labels[list(rows)] = "another"
    subject = replace(audit.subject, data_fingerprint="relabeled")
    return replace(audit, samples=audit.samples.assign(label=labels), subject=subject)


def with_order(audit: Audit, order: Iterable[int]) -> Audit:
    """Return the audit with the samples in these rows as the most suspicious ones, the first one first."""
    first = list(order)
    rest = [row for row in range(len(audit.samples)) if row not in set(first)]
    rank = np.empty(len(audit.samples), dtype=np.int64)
    rank[[*first, *rest]] = np.arange(1, len(rank) + 1)
    return replace(audit, samples=audit.samples.assign(rank=rank))
