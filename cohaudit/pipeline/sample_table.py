"""The table of samples: one row each, every figure that is told of a single sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.analysis.neighbor_support import Side, Support
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.gradients import Measurement, Source
from cohaudit.results.sample_table import as_sample_table

NAMED_NEIGHBORS = 3
"""Supporters and opponents named for every sample: enough to look at, few enough for a table."""


def sample_table(
    measured: Measurement,
    source: Source,
    found: Suspicion | None,
    suspect: NDArray[np.bool_] | None,
    duplicate_of: NDArray[np.int64],
    support: Support,
) -> pd.DataFrame:
    """Return the table of samples, columns SAMPLE_COLUMNS; what was not measured is NaN, or an empty text.

    Args:
        measured: What the gradient pass gave.
        source: The samples measured.
        found: What the other samples say of each label; None without a representation to ask.
        suspect: Whose label counts as wrong, [N]; None where nobody is judged.
        duplicate_of: Index of a near-duplicate, or −1, [N].
        support: What the gradient neighbors say.
    """
    names = np.array(source.class_names, dtype=object)
    count = len(source.labels)
    missing = np.full(count, np.nan)
    kind = np.full(count, "")
    certainty = missing
    if found is not None and suspect is not None:
        kind, certainty = kinds_of(found.expected, source.labels, found.probability, suspect, duplicate_of)
    columns = {
        "id": list(source.ids),
        "label": names[source.labels],
        "predicted": names[measured.predicted],
        "suggested": [""] * count if found is None else names[found.suggested],
        "suspicion": missing if found is None else found.probability,
        "suspect": np.zeros(count, dtype=bool) if suspect is None else suspect,
        "kind": kind.tolist(),
        "certainty": certainty,
        "duplicate_of": [source.ids[j] if j >= 0 else "" for j in duplicate_of.tolist()],
        "memorization": missing if found is None else found.memorization,
        "loss": measured.loss,
        "margin": measured.margin,
        "gradient_norm": np.sqrt(measured.squared_norms.sum(1)),
        "support": support.support,
        "support_count": support.count,
        "loo_margin": missing if found is None else found.margin,
        "supporters": _named(support.supporters, source.ids),
        "opponents": _named(support.opponents, source.ids),
    }
    return as_sample_table(columns)


def _named(side: Side, ids: Sequence[str]) -> list[str]:
    """Return the ids of each sample's strongest neighbors on a side, in one text."""
    rows = side.indices[:, :NAMED_NEIGHBORS].tolist()
    return [";".join(ids[j] for j in row if j >= 0) for row in rows]
