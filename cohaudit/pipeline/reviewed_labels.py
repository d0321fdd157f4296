"""Labels that a person reviewed: found among the samples, and put into the verdict on all labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohaudit.analysis.label_verdict import NoiseShare, label_is_right
from cohaudit.analysis.leave_one_out import Suspicion
from cohaudit.analysis.review_calibration import MIN_REVIEWS, Reviews, calibrate_by_reviews
from cohaudit.analysis.review_design import design_review
from cohaudit.config import Config
from cohaudit.errors import ConfigError, did_you_mean
from cohaudit.pipeline.corrected_labels import CorrectedLabels, answer_about
from cohaudit.pipeline.sample import Sample, content_hashes
from cohaudit.pipeline.scan_run import ScanRun
from cohaudit.pipeline.subject import ScanSubject
from cohaudit.results import Answer, Estimate, ReviewCalibration, Skipped
from cohaudit.results.wording import percent
from cohaudit.review.answers import AnswerFile, MatchedAnswers, match_answers, read_answers, unmatched_notice

BESIDE_DATA = ".reviewed.json"
"""Ending of the file of answers that is used without being named: the data's name and this, beside the data.
It holds hashes and answers; it names no code and no path."""

MAX_QUESTIONS = 60
"""Samples that an audit suggests for review, each with its preview: 50 answers calibrate most scans to within
a few points (docs/review.md), and a few can be skipped."""

NOT_REVIEWED = Skipped("calibration by reviewed labels", "no label was reviewed: see cohaudit review")
"""Stands where there are no answers."""


@dataclass(frozen=True)
class LabelReview:
    """A person's answers, and the samples that they are about.

    Attributes:
        file: The file, as the user named it.
        matched: The samples.
        wrong_today: Samples whose label was changed since it was given, and is wrong now by an answer that
            does not name the right one.
    """

    file: str
    matched: MatchedAnswers
    wrong_today: tuple[int, ...] = ()


def find_answers(
    subject: ScanSubject, sample: Sample, run: ScanRun, corrected: CorrectedLabels | None = None
) -> LabelReview | None:
    """Read the answers that the settings name, or that lie beside the data, and find their samples.

    Args:
        subject: Model and data.
        sample: The samples measured.
        run: The scan's instructions.
        corrected: An earlier correction of the labels: answers that it holds count too, and all are about the
            labels that were given first.

    Raises:
        ConfigError: If the file is wrong, none of the answers in a file that was named is about the data, or
            an answer names a class that the data does not have.
        DataError: If a sample cannot be read.
    """
    file = run.reviewed
    named = file is not None
    if file is None and (found := _beside(subject.dataset.file)):
        file = read_answers(found)
    if file is None:
        return None if corrected is None else _recorded(corrected)
    contents = content_hashes(subject, sample)
    names = np.array(subject.dataset.class_names, dtype=object)
    matched = match_answers(file.answers, contents, names[sample.source.labels].tolist())
    wrong_today: tuple[int, ...] = ()
    if corrected is not None:
        wrong_today = _wrong_today(matched, corrected)
        matched = _with_recorded(matched, file.answers, contents, corrected)
    # a file that lies beside other data now, or a part of the data, is told in a notice
    applies = len(matched.unmatched) < len(file.answers)
    if named and not applies and len(sample.positions) == len(subject.dataset):
        told = f"none of its {len(file.answers):,} answers is about a sample of {subject.dataset.source}"
        raise ConfigError(
            f"reviewed {file.path}", told, "name the answers to this data, or scan without reviewed"
        )
    _refuse_unknown_classes(file, matched, subject.dataset.class_names)
    return LabelReview(file.path, matched, wrong_today)


def _recorded(corrected: CorrectedLabels) -> LabelReview | None:
    """Return the answers that an earlier correction holds; None without one."""
    answers = corrected.answers()
    return LabelReview(corrected.file, MatchedAnswers(answers, ())) if answers else None


def _with_recorded(
    today: MatchedAnswers, answers: Sequence[Answer], contents: Sequence[str], corrected: CorrectedLabels
) -> MatchedAnswers:
    """Return all answers as answers about the labels that were given first; later ones replace earlier ones.

    Args:
        today: Answers of the file about labels as they are.
        answers: All answers of the file.
        contents: Short hash of each sample's input, [N].
        corrected: The correction; it holds earlier answers.
    """
    names = np.array(corrected.class_names, dtype=object)
    first = match_answers(answers, contents, names[corrected.given].tolist())
    found = corrected.answers() | dict(first.samples)
    for i, answer in today.samples.items():
        change = corrected.changes.get(i)
        if change is None:
            found[i] = answer
        elif answer.answer != "unsure" and (true := _true_label(answer)):
            found[i] = answer_about(change, names[corrected.given[i]], true)
    unmatched = set(first.unmatched)
    return MatchedAnswers(dict(sorted(found.items())), tuple(a for a in today.unmatched if a in unmatched))


def _wrong_today(today: MatchedAnswers, corrected: CorrectedLabels) -> tuple[int, ...]:
    return tuple(
        i
        for i, answer in today.samples.items()
        if i in corrected.changes and answer.answer == "wrong" and not answer.true_label
    )


def _true_label(answer: Answer) -> str:
    """Return the true label by an answer; empty if it does not say."""
    return answer.label if answer.answer == "right" else answer.true_label


def is_calibrated(found: ReviewCalibration | Skipped) -> bool:
    """Return whether answers have changed the suspicions of labels that were not reviewed."""
    return not isinstance(found, Skipped) and not isinstance(found.wrong_share, Skipped)


def _beside(data: Path | None) -> Path | None:
    if data is None:
        return None
    path = data.with_name(data.name + BESIDE_DATA)
    return path if path.is_file() else None


def _refuse_unknown_classes(file: AnswerFile, matched: MatchedAnswers, names: Sequence[str]) -> None:
    for answer in matched.samples.values():
        if answer.true_label and answer.true_label not in names:
            where = f"{file.path}, true_label of {answer.id or answer.content}"
            raise ConfigError(
                where, f"{answer.true_label!r:.80} is not a class", did_you_mean(answer.true_label, names)
            )


def apply_answers(
    suspicion: Suspicion,
    review: LabelReview | None,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    config: Config,
) -> tuple[Suspicion, ReviewCalibration | Skipped]:
    """Return the verdict on every label once the answers are known, and what they say in sum.

    A reviewed label is wrong with probability 0 or 1, as the person said. All other probabilities, and the
    share of wrong labels, are calibrated by the answers, unless these are too few.

    Args:
        suspicion: The verdict of the scan.
        review: The answers; None without a review.
        labels: Given labels, [N].
        class_names: Class names, [C].
        config: Settings; they give threshold and seed.
    """
    if review is None:
        return suspicion, NOT_REVIEWED
    reviews = _reviews(review.matched)
    suggested = _suggested(suspicion, review.matched, class_names)
    calibrated = replace(suspicion, suggested=suggested)
    share: Estimate | Skipped
    precision: Estimate | Skipped
    if len(reviews.samples) < MIN_REVIEWS:
        reason = f"needs {MIN_REVIEWS} labels found right or wrong; there are {len(reviews.samples)}"
        share = precision = Skipped("calibration by reviewed labels", reason)
        probability = suspicion.probability
    else:
        found = calibrate_by_reviews(
            suspicion.probability, suspicion.evidence, reviews, config.suspicion_threshold, config.seed
        )
        share = found.share
        precision = found.precision or Skipped("precision of the suspects", "there are no suspects")
        probability = found.probability
        calibrated = replace(
            calibrated, share=NoiseShare(share.low, share.value, share.high, determined=True)
        )
    # equal samples with one label share the answer
    probability = _answered(probability, review.matched)
    summary = ReviewCalibration(
        file=review.file,
        right=_count(review.matched, "right"),
        wrong=_count(review.matched, "wrong"),
        unsure=_count(review.matched, "unsure"),
        unmatched=len(review.matched.unmatched),
        wrong_share=share,
        precision=precision,
    )
    suggestion = label_is_right(suspicion.noise, labels, probability, suggested)
    # a person named the right label
    suggestion[[i for i, one in review.matched.samples.items() if one.true_label]] = 1.0
    return replace(calibrated, probability=probability, suggestion=suggestion), summary


def _reviews(matched: MatchedAnswers) -> Reviews:
    """Return the labels found right or wrong; equal samples with one label count once."""
    first: dict[tuple[str, str], int] = {}
    for i, answer in matched.samples.items():
        if answer.answer != "unsure":
            first.setdefault((answer.content, answer.label), i)
    samples = list(first.values())
    wrong = [matched.samples[i].answer == "wrong" for i in samples]
    return Reviews(np.array(samples, dtype=np.int64), np.array(wrong, dtype=bool))


def _count(matched: MatchedAnswers, name: str) -> int:
    return len({one for one in matched.samples.values() if one.answer == name})


def _answered(probability: NDArray[np.float64], matched: MatchedAnswers) -> NDArray[np.float64]:
    """Return the probabilities with 0 and 1 where a person decided."""
    answered = probability.copy()
    for i, answer in matched.samples.items():
        if answer.answer != "unsure":
            answered[i] = float(answer.answer == "wrong")
    return answered


def _suggested(
    suspicion: Suspicion, matched: MatchedAnswers, class_names: Sequence[str]
) -> NDArray[np.int64]:
    """Return the suggested labels with those that a person gave or confirmed."""
    suggested = suspicion.suggested.copy()
    place = {name: c for c, name in enumerate(class_names)}
    for i, answer in matched.samples.items():
        if answer.answer == "right":
            suggested[i] = place[answer.label]
        elif answer.true_label:
            suggested[i] = place[answer.true_label]
    return suggested


def calibration_notice(found: ReviewCalibration | Skipped) -> str:
    """Return a notice about what the answers say of all labels; empty without an answer."""
    if isinstance(found, Skipped) or not found.right + found.wrong:
        return ""
    share = found.wrong_share
    many = found.right + found.wrong
    if isinstance(share, Skipped):
        said = f"{many:,} labels were reviewed ({found.file})"
        return f"{said}, too few to calibrate the others: this {share.reason}."
    precision = found.precision
    listed = (
        "No label is suspect."
        if isinstance(precision, Skipped)
        else f"Of the suspects, {percent(precision.value)} are wrong "
        f"({percent(precision.low)} to {percent(precision.high)})."
    )
    return (
        f"Calibrated by {many:,} reviewed labels ({found.file}): {percent(share.value)} of the labels are "
        f"wrong (90% interval: {percent(share.low)} to {percent(share.high)}). {listed}"
    )


def unmatched_answers_notice(review: LabelReview | None) -> str:
    """Return a notice about answers that apply to no sample; empty when there are none."""
    return "" if review is None else unmatched_notice(review.matched.unmatched, review.file)


def choose_questions(
    suspicion: Suspicion,
    review: LabelReview | None,
    contents: Sequence[str],
    labels: NDArray[np.int64],
    seed: int,
) -> list[int]:
    """Return the samples that a person should review, in the order to ask.

    Args:
        suspicion: The verdict on every label.
        review: The answers so far, which are not asked again.
        contents: Short hash of each sample's input, [N]; of equal samples with one label, one is asked.
        labels: Given labels, [N].
        seed: Seed of the choice.
    """
    skip = np.zeros(len(labels), dtype=bool)
    if review is not None:
        skip[[*review.matched.samples, *review.wrong_today]] = True
    seen = set[tuple[str, int]]()
    for i, key in enumerate(zip(contents, labels.tolist(), strict=True)):
        skip[i] |= key in seen
        seen.add(key)
    design = design_review(suspicion.probability, suspicion.evidence, MAX_QUESTIONS, seed, skip)
    return [int(i) for i in design.samples]
