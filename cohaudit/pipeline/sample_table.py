"""The table of samples: one row per sample, with every figure about a single sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.analysis.neighbor_support import NeighborSide
from cohaudit.pipeline.label_findings import LabelFindings
from cohaudit.pipeline.observations import NAMED_NEIGHBORS, GradientObservations, Observations
from cohaudit.results.sample_table import as_sample_table, order_by_suspicion


def sample_table(seen: Observations, found: GradientObservations, judged: LabelFindings) -> pd.DataFrame:
    """Return the table with columns `SAMPLE_COLUMNS`; what was not measured is NaN, or an empty text.

    Args:
        seen: What the passes tell of every sample.
        found: What is known of their gradients.
        judged: The verdict on the labels.
    """
    forward = seen.forward
    source = seen.source
    suspicion = judged.suspicion
    support = found.support
    names = np.array(source.class_names, dtype=object)
    count = len(source.labels)
    missing = np.full(count, np.nan)  # shared by columns: none of them is written to
    norms = np.full(count, np.nan)
    norms[found.measured.drawn] = np.sqrt(found.measured.squared_norms.sum(1))
    columns = {
        "id": list(source.ids),
        "label": names[source.labels],
        "predicted": names[forward.predicted],
        "suggested": [""] * len(source.ids) if suspicion is None else names[suspicion.suggested],
        "suggestion": missing if suspicion is None else suspicion.suggestion,
        "suspicion": missing if suspicion is None else suspicion.probability,
        "rank": np.zeros(count, dtype=np.int64) if suspicion is None else ranks(suspicion),
        "suspect": judged.suspect,
        "kind": judged.kind.tolist(),
        "certainty": judged.certainty,
        "duplicate_of": [source.ids[j] if j >= 0 else "" for j in seen.duplicate_of.tolist()],
        "memorization": missing if suspicion is None else suspicion.memorization,
        "loss": forward.loss,
        "margin": forward.margin,
        "gradient_norm": norms,
        "support": missing if support is None else support.support,
        "support_count": [None] * count if support is None else support.count,
        "loo_margin": missing if suspicion is None else suspicion.margin,
        "out_of_fold": missing if seen.crossfit is None else seen.crossfit[np.arange(count), source.labels],
        "supporters": _ids(found.neighbors.supporters, source.ids),
        "opponents": _ids(found.neighbors.opponents, source.ids),
        "content": list(seen.contents),
    }
    return as_sample_table(columns)


def ranks(suspicion: Suspicion) -> NDArray[np.int64]:
    """Return each sample's place in the order of suspicion, from 1, [N]; the evidence breaks ties."""
    order = order_by_suspicion(suspicion.probability, suspicion.evidence)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(1, len(order) + 1)
    return place


def _ids(side: NeighborSide, ids: Sequence[str]) -> list[str]:
    """Return the ids of each sample's strongest neighbors on one side, joined by semicolons."""
    rows = side.indices[:, :NAMED_NEIGHBORS].tolist()
    # a missing neighbor has the index −1, which would name the last sample
    return [";".join(ids[j] for j in row if j >= 0) for row in rows]
