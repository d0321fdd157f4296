"""Labels that an earlier correction changed: found among the samples, and kept from speaking for themselves.

What an audit concluded from other labels is no evidence about them. The labels are therefore judged as they
were given first, by predictions from labels as they were given first; then the verdict is restated for the
labels of today. Only what a person said counts as new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.corrected_labels import expected_remainder, shifted, wrong_after
from cohaudit.analysis.label_verdict import NoiseShare, label_is_right
from cohaudit.analysis.leave_one_out import Suspicion, margins
from cohaudit.pipeline.sample import Sample, content_hashes
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Answer, Estimate, Skipped
from cohaudit.results.corrections import Corrections, LabelChange, corrections_sentence
from cohaudit.review.label_provenance import (
    LabelProvenance,
    match_changes,
    provenance_file,
    read_provenance,
)

NOT_CORRECTED = Skipped("corrected labels", "no file of provenance lies beside the data")
"""Stands where no correction is known."""


@dataclass(frozen=True)
class CorrectedLabels:
    """What is known of an earlier correction of the samples.

    Attributes:
        file: The file, as it was found or named.
        provenance: Its content.
        changes: Index of a sample → its change, rising.
        today: Labels as they are, [N].
        given: Labels as they were given first, [N]; today's where that label is no class any more.
        class_names: Class names, [C].
    """

    file: str
    provenance: LabelProvenance
    changes: Mapping[int, LabelChange]
    today: NDArray[np.int64]
    given: NDArray[np.int64]
    class_names: Sequence[str]

    @property
    def by_audit(self) -> NDArray[np.bool_]:
        """Which labels an audit alone has changed, [N]."""
        changed: NDArray[np.bool_] = self._by({"audit"}) & (self.given != self.today)
        return changed

    @property
    def by_person(self) -> NDArray[np.bool_]:
        """Which labels a person gave or confirmed, [N]."""
        return self._by({"list", "review"})

    @property
    def lost(self) -> bool:
        """Whether an audit has changed labels, or left out samples, that cannot be seen here as they were."""
        found = {id(one) for one in self.changes.values()}
        unseen = any(one.by == "audit" and id(one) not in found for one in self.provenance.changes)
        return unseen or any(one.removed and one.by_audit for one in self.provenance.rounds)

    def answers(self) -> dict[int, Answer]:
        """Return what a person answered about labels that an audit chose, as answers about the given ones."""
        return {
            i: answer_about(one, self.class_names[self.given[i]], one.label)
            for i, one in self.changes.items()
            if one.by == "review"
        }

    def as_given(self, sample: Sample) -> Sample:
        """Return the samples with the labels that they were given first."""
        return replace(sample, source=replace(sample.source, labels=self.given))

    def _by(self, who: set[str]) -> NDArray[np.bool_]:
        chosen = np.zeros(len(self.today), dtype=bool)
        chosen[[i for i, one in self.changes.items() if one.by in who]] = True
        return chosen


def concluded(corrected: CorrectedLabels | None) -> bool:
    """Return whether an audit alone has changed labels of the samples."""
    return corrected is not None and bool(corrected.by_audit.any())


def answer_about(change: LabelChange, given: str, true: str) -> Answer:
    """Return the answer about a given label that a true label amounts to."""
    if given == true:
        return Answer(change.content, given, "right", id=change.id)
    return Answer(change.content, given, "wrong", true, id=change.id)


def find_corrections(subject: ScanSubject, sample: Sample, run: ScanRun) -> CorrectedLabels | None:
    """Read the file of provenance that the settings name, or that lies beside the data, and find its samples.

    Args:
        subject: Model and data.
        sample: The samples measured.
        run: The scan's instructions.

    Raises:
        ConfigError: If the file is wrong.
        DataError: If a sample cannot be read.
    """
    path = _path(subject.dataset.file, run)
    if path is None:
        return None
    provenance = read_provenance(path)
    source = sample.source
    names = source.class_names
    same = provenance.fingerprint == subject.dataset.fingerprint
    labels = [names[label] for label in source.labels.tolist()]
    contents = content_hashes(subject, sample)
    changes = match_changes(provenance, contents, source.ids, labels, same_data=same)
    place = {name: c for c, name in enumerate(names)}
    given = source.labels.copy()
    for i, one in changes.items():
        # the last sample of a class may have been changed: nothing can be predicted for such a label
        given[i] = place.get(one.given, given[i])
    file = run.config.provenance or str(path)
    return CorrectedLabels(file, provenance, changes, source.labels, given, names)


def _path(data: Path | None, run: ScanRun) -> Path | None:
    if run.config.provenance:
        return run.config.base / run.config.provenance
    if data is None:
        return None
    path = provenance_file(data)
    return path if path.is_file() else None


def restate(
    suspicion: Suspicion,
    corrected: CorrectedLabels | None,
    wrong_today: Sequence[int] = (),
    *,
    calibrated: bool,
) -> tuple[Suspicion, Corrections | Skipped]:
    """Return what a verdict on the labels as given first says of the labels of today.

    Args:
        suspicion: The verdict on the labels as they were given first.
        corrected: The correction; None leaves the verdict as it is.
        wrong_today: Changed samples whose label of today a person found wrong, without naming the right one.
        calibrated: Whether a person's answers have calibrated the verdict.
    """
    if corrected is None:
        return suspicion, NOT_CORRECTED
    wrong, new_right = _before(suspicion, corrected)
    new_right[list(wrong_today)] = 0
    changed = corrected.given != corrected.today
    after = wrong_after(wrong, new_right, changed)
    share = suspicion.share
    remainder = expected_remainder(
        wrong, new_right, changed, Estimate(share.estimate, share.lower, share.upper)
    )
    if corrected.lost and not calibrated:
        remainder = _at_least(remainder, corrected.provenance.rounds[-1].remainder)
        after = np.maximum(after, shifted(after, remainder.value))
    told = share.determined
    lower = remainder.low if told else 0.0
    tiny = np.finfo(float).tiny
    by_audit = corrected.by_audit
    summary = Corrections(
        file=corrected.file,
        rounds=corrected.provenance.rounds,
        by_audit=int(by_audit.sum()),
        by_person=int(corrected.by_person.sum()),
        unmatched=len(corrected.provenance.changes) - len(corrected.changes),
        wrong_changes=float(after[by_audit].mean()) if by_audit.any() else 0.0,
    )
    restated = replace(
        suspicion,
        probability=after,
        # where nothing was changed, the evidence itself: it has no bounds
        evidence=np.where(
            changed, np.log(np.maximum(1 - after, tiny)) - np.log(np.maximum(after, tiny)), suspicion.evidence
        ),
        margin=margins(suspicion.expected, corrected.today),
        suggestion=np.where(
            suspicion.suggested == corrected.today, 1 - after, np.minimum(suspicion.suggestion, after)
        ),
        share=NoiseShare(lower, remainder.value, remainder.high, told),
    )
    return restated, summary


def _before(
    suspicion: Suspicion, corrected: CorrectedLabels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the probabilities that the given label is wrong, and that today's is right, [N] each."""
    wrong = suspicion.probability.copy()
    new_right = label_is_right(suspicion.noise, corrected.given, wrong, corrected.today)
    answered = (wrong == 0) | (wrong == 1)
    # a person named the right label, or said that the given one is it
    new_right[answered] = suspicion.suggested[answered] == corrected.today[answered]
    for i, one in corrected.changes.items():
        if one.by == "review" or (one.by == "audit" and answered[i]):
            continue
        # what was known when the label was changed: since then the network was trained on the new one
        new_right[i] = 1 - one.wrong
        if corrected.given[i] == corrected.today[i]:
            wrong[i] = one.wrong
        else:
            wrong[i] = 1.0 if one.by == "list" else max(wrong[i], new_right[i])
    return wrong, new_right


def _at_least(found: Estimate, carried: Estimate) -> Estimate:
    """Return an estimate that is no lower than what was expected when the labels were changed."""
    value = max(found.value, carried.value)
    return Estimate(value, min(found.low, carried.low, value), max(found.high, carried.high, value))


def corrections_notice(found: Corrections | Skipped) -> str:
    """Return a notice about an earlier correction; empty where none is known."""
    return "" if isinstance(found, Skipped) else corrections_sentence(found)
