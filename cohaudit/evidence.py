"""What stands beside each suspect: who agrees with it, who fights it, and what a person has said of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohaudit.data import LabeledDataset
from cohaudit.drivers import find_drivers
from cohaudit.gradients import Source
from cohaudit.judgment import Judgment, Pairs
from cohaudit.kinds import REVIEWED
from cohaudit.results import Evidence, Neighbor, Preview, Skipped
from cohaudit.suppressions import Suppression, told_suppressed


def suppress(
    judged: Judgment, cleared: Mapping[int, Suppression]
) -> tuple[Judgment, tuple[Suppression, ...]]:
    """Take out of the suspects those that a person found to be right; their suspicion stays as measured.

    Args:
        judged: The findings.
        cleared: Index of a sample → what was said of it.

    Returns:
        The findings without them, and those that would be suspects, most suspicious first.
    """
    taken = {i: cleared[i] for i in judged.neighbors if i in cleared}
    table = judged.samples
    suspect = table["suspect"].to_numpy(copy=True)
    suspect[list(taken)] = False
    kind, certainty = table["kind"].to_numpy(copy=True), table["certainty"].to_numpy(copy=True)
    kind[list(taken)], certainty[list(taken)] = REVIEWED, 1.0
    left = table["label"][suspect].value_counts()
    suppressed = tuple(replace(entry, id=str(table["id"].iat[i])) for i, entry in taken.items())
    told = filter(None, [told_suppressed(suppressed)])
    risk = judged.risk
    if judged.facts is not None and not isinstance(risk, Skipped):
        risk = replace(risk, drivers=find_drivers(replace(judged.facts, suspect=suspect)))
    remaining = replace(
        judged,
        notices=(*judged.notices, *told),
        samples=table.assign(suspect=suspect, kind=kind, certainty=certainty),
        classes=tuple(replace(one, suspects=int(left.get(one.name, 0))) for one in judged.classes),
        neighbors={i: pairs for i, pairs in judged.neighbors.items() if i not in taken},
        risk=risk,
    )
    return remaining, suppressed


def gather_evidence(
    neighbors: Mapping[int, tuple[Pairs, Pairs]],
    source: Source,
    hashes: Mapping[int, str],
    dataset: LabeledDataset,
    chosen: NDArray[np.int64],
) -> tuple[Evidence, ...]:
    """Return each suspect's supporters and opponents by name.

    Args:
        neighbors: Index of a suspect → its supporters and opponents.
        source: The samples.
        hashes: Index of a suspect → hash of its input.
        dataset: The whole data.
        chosen: Where each sample stands in it.
    """

    def named(pairs: Pairs) -> tuple[Neighbor, ...]:
        return tuple(
            Neighbor(source.ids[j], source.class_names[source.labels[j]], cosine, twice)
            for j, cosine, twice in pairs
        )

    return tuple(
        Evidence(
            *(source.ids[i], named(supporters), named(opponents), hashes[i]),
            *_told(*dataset.place(int(chosen[i]))),
        )
        for i, (supporters, opponents) in neighbors.items()
    )


def _told(file: Path | None, line: int) -> tuple[str, int]:
    """Write a place as whoever started the scan sees it: what lies elsewhere keeps its whole path."""
    if file is None:
        return "", line
    path = Path(os.path.normpath(file.absolute()))
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix(), line


def previews_of(
    evidence: Sequence[Evidence], source: Source, dataset: LabeledDataset, chosen: NDArray[np.int64]
) -> dict[str, Preview]:
    """Return what a person is shown of every sample that the evidence names.

    Args:
        evidence: Of the suspects.
        source: The samples.
        dataset: The whole data.
        chosen: Where each sample stands in it.
    """
    position = {sample: int(chosen[i]) for i, sample in enumerate(source.ids)}
    named = {e.id for e in evidence} | {n.id for e in evidence for n in (*e.supporters, *e.opponents)}
    return {sample: dataset.preview(position[sample]) for sample in sorted(named, key=position.__getitem__)}
