"""What the report shows beside a sample: samples that support or oppose its label, and what a person said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pandas as pd

from cohaudit.analysis.gap_drivers import find_drivers
from cohaudit.loading.data import LabeledDataset
from cohaudit.pipeline.judgment import Judgment
from cohaudit.pipeline.observations import NeighborPairs
from cohaudit.pipeline.sample import Sample
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.results import Evidence, Neighbor, Preview, Risk, Skipped
from cohaudit.results.kinds import REVIEWED
from cohaudit.results.suppression import Suppression
from cohaudit.review.suppressions import Matches, active, match, suppressed_notice


@dataclass(frozen=True)
class Reviewed:
    """The findings that remain after a person's review, and what is shown of single samples.

    Attributes:
        judged: The findings, without the suspects that a person has cleared.
        suppressed: Suppressions of samples that would be suspects otherwise, most suspicious first.
        notices: Suppressions that match no sample, in sentences.
        evidence: As `Audit.evidence`.
        previews: As `Audit.previews`.
    """

    judged: Judgment
    suppressed: tuple[Suppression, ...]
    notices: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    previews: Mapping[str, Preview]


def gather_evidence(judged: Judgment, dataset: LabeledDataset, sample: Sample, run: ScanRun) -> Reviewed:
    """Remove suspects that a person has cleared, and collect the neighbors of those that remain.

    A few samples of each other kind get evidence too.

    Args:
        judged: The findings.
        dataset: The whole training data.
        sample: The samples measured.
        run: The scan's instructions.

    Raises:
        DataError: If a sample cannot be read.
    """
    matches = _matches(judged, dataset, sample, run.suppressions)
    remaining, suppressed = _suppress(judged, matches.samples)
    neighbors = remaining.neighbors
    evidence = tuple(
        _evidence(dataset, sample, i, supporters, opponents)
        for i, (supporters, opponents) in neighbors.items()
    )
    # the twin of a duplicate is shown beside it, whether or not it is among its neighbors
    # an empty text stands for no twin
    twins = set(remaining.samples["duplicate_of"].iloc[list(neighbors)]) - {""}
    asked = {sample.source.ids[i] for i in remaining.questions}
    previews = _previews(dataset, sample, evidence, twins | asked)
    return Reviewed(remaining, suppressed, matches.notices, evidence, previews)


def _matches(
    judged: Judgment, dataset: LabeledDataset, sample: Sample, entries: Sequence[Suppression]
) -> Matches:
    """Find the samples that the suppressions name, by the hash of their content."""
    today = date.today()
    # hashing reads every input: only done if an entry can match
    indices = range(len(sample.positions)) if active(entries, today) else range(0)
    hashes = {i: dataset.content_hash(int(sample.positions[i])) for i in indices}
    return match(entries, hashes, judged.samples["label"].tolist(), today)


def _suppress(
    judged: Judgment, cleared: Mapping[int, Suppression]
) -> tuple[Judgment, tuple[Suppression, ...]]:
    """Remove the suspects that a person has cleared; their suspicion stays as measured.

    Args:
        judged: The findings.
        cleared: Index of a sample → its suppression.

    Returns:
        The findings without them, and their suppressions, most suspicious first.
    """
    suspect = judged.samples["suspect"].to_numpy()
    # an entry for a sample that is no suspect clears nothing
    removed = {i: cleared[i] for i in judged.neighbors if i in cleared and suspect[i]}
    samples = _as_reviewed(judged.samples, list(removed))
    # under its id in this scan: an entry is matched by content, and the sample may have been renamed
    suppressed = tuple(replace(entry, id=str(samples["id"].iat[i])) for i, entry in removed.items())
    counts = samples["label"][samples["suspect"]].value_counts()
    remaining = replace(
        judged,
        notices=(*judged.notices, *filter(None, [suppressed_notice(suppressed)])),
        samples=samples,
        classes=tuple(replace(one, suspects=int(counts.get(one.name, 0))) for one in judged.classes),
        neighbors={i: pairs for i, pairs in judged.neighbors.items() if i not in removed},
        questions=tuple(i for i in judged.questions if i not in removed),
        risk=_without_suspects(judged, samples),
    )
    return remaining, suppressed


def _as_reviewed(samples: pd.DataFrame, indices: list[int]) -> pd.DataFrame:
    """Return the table with some suspects marked as reviewed by a person, which is certain."""
    # copied: the table before the review must not change with it
    suspect = samples["suspect"].to_numpy(copy=True)
    kind = samples["kind"].to_numpy(copy=True)
    certainty = samples["certainty"].to_numpy(copy=True)
    suspect[indices] = False
    kind[indices] = REVIEWED
    certainty[indices] = 1.0
    return samples.assign(suspect=suspect, kind=kind, certainty=certainty)


def _without_suspects(judged: Judgment, samples: pd.DataFrame) -> Risk | Skipped:
    """Return the risk with its drivers found again: they count the suspects."""
    if judged.driver_inputs is None or isinstance(judged.risk, Skipped):
        return judged.risk
    inputs = replace(judged.driver_inputs, suspect=samples["suspect"].to_numpy())
    return replace(judged.risk, drivers=find_drivers(inputs))


def _evidence(
    dataset: LabeledDataset, sample: Sample, index: int, supporters: NeighborPairs, opponents: NeighborPairs
) -> Evidence:
    position = int(sample.positions[index])
    file, line = dataset.place(position)
    return Evidence(
        id=sample.source.ids[index],
        supporters=_named(sample, supporters),
        opponents=_named(sample, opponents),
        content=dataset.content_hash(position),
        place=_seen_from_here(file),
        line=line,
    )


def _named(sample: Sample, pairs: NeighborPairs) -> tuple[Neighbor, ...]:
    source = sample.source
    return tuple(
        Neighbor(source.ids[j], source.class_names[source.labels[j]], cosine, duplicate)
        for j, cosine, duplicate in pairs
    )


def _previews(
    dataset: LabeledDataset, sample: Sample, evidence: Sequence[Evidence], others: set[str]
) -> dict[str, Preview]:
    """Return a preview of each sample that is shown, in the order of the data.

    Args:
        dataset: The whole training data.
        sample: The samples measured.
        evidence: Names the samples shown and their neighbors.
        others: Ids of near-duplicates and of samples to review, shown too.
    """
    position = {name: int(sample.positions[i]) for i, name in enumerate(sample.source.ids)}
    shown = {e.id for e in evidence} | {n.id for e in evidence for n in (*e.supporters, *e.opponents)}
    return {
        name: dataset.preview(position[name]) for name in sorted(shown | others, key=position.__getitem__)
    }


def _seen_from_here(file: Path | None) -> str:
    """Return a path relative to the working directory if it lies inside, else absolute; empty for None."""
    if file is None:
        return ""
    # normalized by its text: a symbolic link should be shown as the user named it
    path = Path(os.path.normpath(file.absolute()))
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
