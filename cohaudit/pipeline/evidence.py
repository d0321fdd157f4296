"""What stands beside each sample shown: who agrees with it, who fights it, what a person has said of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohaudit.analysis.gap_drivers import find_drivers
from cohaudit.gradients import Source
from cohaudit.loading.data import LabeledDataset
from cohaudit.pipeline.findings import Comparison, Judgment, Pairs, sides
from cohaudit.results import Evidence, Neighbor, Preview, Skipped
from cohaudit.results.kinds import AMBIGUOUS, DUPLICATE, RARE, REVIEWED, SAMPLE_KINDS
from cohaudit.results.suppression import Suppression
from cohaudit.review.suppressions import suppressed_notice

SHOWN = 40
"""Samples of each kind other than mislabeled that are shown: enough to see what is meant."""


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
    kind = table["kind"].to_numpy(copy=True)
    certainty = table["certainty"].to_numpy(copy=True)
    kind[list(taken)] = REVIEWED
    certainty[list(taken)] = 1.0
    left = table["label"][suspect].value_counts()
    suppressed = tuple(replace(entry, id=str(table["id"].iat[i])) for i, entry in taken.items())
    told = filter(None, [suppressed_notice(suppressed)])
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


@dataclass(frozen=True)
class Shown:
    """What a person is shown of samples."""

    evidence: tuple[Evidence, ...]
    """As `Audit.evidence`."""
    previews: dict[str, Preview]
    """As `Audit.previews`."""


def gather_evidence(
    judged: Judgment,
    compared: Comparison,
    source: Source,
    dataset: LabeledDataset,
    chosen: NDArray[np.int64],
    count: int,
) -> Shown:
    """Return the neighbors of the suspects, and of a few samples of each other kind, by name and to look at.

    Args:
        judged: The findings.
        compared: What stands near each sample.
        source: The samples.
        dataset: The whole data.
        chosen: Where each sample stands in it.
        count: Supporters and opponents kept of each sample of another kind; those of suspects are chosen.
    """

    def named(pairs: Pairs) -> tuple[Neighbor, ...]:
        return tuple(
            Neighbor(source.ids[j], source.class_names[source.labels[j]], cosine, twice)
            for j, cosine, twice in pairs
        )

    others = {i: sides(compared, i, count) for i in _other_kinds(judged.samples)}
    evidence = tuple(
        Evidence(
            *(source.ids[i], named(supporters), named(opponents), dataset.content_hash(int(chosen[i]))),
            *_told(*dataset.place(int(chosen[i]))),
        )
        for i, (supporters, opponents) in (judged.neighbors | others).items()
    )
    position = {sample: int(chosen[i]) for i, sample in enumerate(source.ids)}
    seen = {e.id for e in evidence} | {n.id for e in evidence for n in (*e.supporters, *e.opponents)}
    seen |= set(judged.samples["duplicate_of"].iloc[list(judged.neighbors | others)]) - {""}
    previews = {name: dataset.preview(position[name]) for name in sorted(seen, key=position.__getitem__)}
    return Shown(evidence, previews)


def _told(file: Path | None, line: int) -> tuple[str, int]:
    """Write a place as whoever started the scan sees it: what lies elsewhere keeps its whole path."""
    if file is None:
        return "", line
    path = Path(os.path.normpath(file.absolute()))
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix(), line


def _other_kinds(samples: pd.DataFrame) -> list[int]:
    """Return the samples that are most certainly ambiguous, rare, or there twice, kind by kind.

    Of duplicates first those that carry another label than their twin.
    """
    label = samples.set_index("id")["label"]
    twin = samples["duplicate_of"].map(label)
    same = twin.isna() | (twin == samples["label"])
    keys = pd.DataFrame({"same": same, "certainty": -samples["certainty"]})
    order = keys.sort_values(["same", "certainty"], kind="stable").index.to_numpy()
    kind = samples["kind"].to_numpy()[order]
    chosen = [order[kind == SAMPLE_KINDS[one]][:SHOWN] for one in (AMBIGUOUS, RARE, DUPLICATE)]
    return [int(i) for i in np.concatenate(chosen)]
