"""The verdict on every label, and which samples are shown for it. No gradient has a part in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.leave_one_out import Suspicion, suspect_labels
from cohaudit.analysis.sample_kinds import kinds_of
from cohaudit.analysis.sanity import check_sanity
from cohaudit.config import Config
from cohaudit.pipeline.corrected_labels import concluded
from cohaudit.pipeline.observations import Observations
from cohaudit.pipeline.todays_labels import TodaysLabels, given_labels, todays_labels
from cohaudit.results import Sanity
from cohaudit.results.kinds import AMBIGUOUS, DUPLICATE, RARE, SAMPLE_KINDS
from cohaudit.results.sample_table import order_by_suspicion

SHOWN_PER_KIND = 40
"""Samples shown of each kind other than mislabeled: enough to see what the kind means."""


@dataclass(frozen=True)
class LabelFindings:
    """The verdict on the labels, and whether it may be given; N samples.

    Attributes:
        today: The verdict on the labels of today.
        sanity: Whether model and data belong together.
        suspect: Which labels count as wrong, [N]; none if the model gets no verdict.
        kind: Kind of each sample, [N]; empty texts if no sample was judged.
        certainty: Probability of that kind, [N]; NaN if no sample was judged.
        shown: Indices of the samples that get evidence: the suspects, most suspicious first, then the most
            certain samples of other kinds.
    """

    today: TodaysLabels
    sanity: Sanity
    suspect: NDArray[np.bool_]
    kind: NDArray[np.str_]
    certainty: NDArray[np.float64]
    shown: NDArray[np.int64]

    @property
    def suspicion(self) -> Suspicion | None:
        """How suspect each label is; None if no layer gives a representation."""
        return self.today.suspicion

    @property
    def valid(self) -> Suspicion | None:
        """The suspicion, unless model and data do not belong together."""
        return self.suspicion if self.sanity.auditable else None

    @property
    def suspects(self) -> NDArray[np.int64]:
        """Indices of the suspects, most suspicious first."""
        return self.shown[: np.count_nonzero(self.suspect)]


def judge_labels(seen: Observations, config: Config) -> LabelFindings:
    """Judge every label.

    Args:
        seen: What the passes tell of every sample.
        config: Settings; they give thresholds.
    """
    forward = seen.forward
    today = TodaysLabels()
    if forward.views:
        found = suspect_labels(
            [view.rows for view in forward.views],
            given_labels(seen),
            forward.probability,
            seen.earlier,
            [view.probability for view in seen.outside],
            # copies that were trained on what an audit concluded repeat it
            crossfit=None if concluded(seen.corrected) else seen.crossfit,
            trained=seen.source.labels,
        )
        today = todays_labels(found, seen, config)
    sanity = check_sanity(
        forward.predicted,
        seen.source.labels,
        seen.source.class_names,
        float(forward.loss.mean()),
        today.suspicion.accuracy if today.suspicion else None,
    )
    return _findings(seen, today, sanity, config)


def _findings(seen: Observations, today: TodaysLabels, sanity: Sanity, config: Config) -> LabelFindings:
    labels = seen.source.labels
    suspicion = today.suspicion
    if suspicion is None or not sanity.auditable:
        # suspicions stay in the table even without a verdict; only nobody is a suspect then
        count = len(labels)
        none = np.zeros(count, dtype=bool)
        nothing = np.zeros(0, dtype=np.int64)
        return LabelFindings(today, sanity, none, np.full(count, ""), np.full(count, np.nan), nothing)
    # where wrong labels and hard samples cannot be told apart, no label is singled out, except by a person:
    # only an answer makes a label wrong with probability 1
    told = suspicion.share.determined | (suspicion.probability == 1)
    suspect: NDArray[np.bool_] = (suspicion.probability >= config.suspicion_threshold) & told
    kind, certainty = kinds_of(suspicion.expected, labels, suspicion.probability, suspect, seen.duplicate_of)
    order = order_by_suspicion(suspicion.probability, suspicion.evidence)
    # the threshold is on the probability, which the order goes by: among the suspects it is kept
    others = _other_kinds(kind, certainty, seen.duplicate_of, labels)
    shown = np.concatenate([order[suspect[order]], others])
    return LabelFindings(today, sanity, suspect, kind, certainty, shown)


def _other_kinds(
    kind: NDArray[np.str_],
    certainty: NDArray[np.float64],
    duplicate_of: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the samples that are most certainly ambiguous, rare, or duplicates, kind by kind.

    Among duplicates, those whose label differs from their twin's come first: one of the two is wrong.
    """
    same = (duplicate_of < 0) | (labels[duplicate_of] == labels)
    # a stable sort: samples that are equally certain stay in the order of the data
    order = np.lexsort((-certainty, same))
    chosen = [
        order[kind[order] == SAMPLE_KINDS[one]][:SHOWN_PER_KIND] for one in (AMBIGUOUS, RARE, DUPLICATE)
    ]
    return np.concatenate(chosen)
