"""How many labels are wrong, in words."""

from __future__ import annotations

import pytest

from cohaudit.results import Estimate, WrongLabels, format_wrong_labels

REVIEW = "which ones cannot be told here. Review the samples with the lowest rank in samples.csv."


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (WrongLabels(Estimate(0.1, 0.09, 0.153), 0.1, 0.95, True, "low"), "about 10.0% (9.0% to 15.3%)"),
        (WrongLabels(Estimate(0.0002, 0, 0.004), 0.1, 0.95, True, "low"), "about <0.1% (0% to 0.4%)"),
        (WrongLabels(Estimate(0.04, 0, 0.12), 0.1, 0.2, False, "unclear"), f"at most 12.0%; {REVIEW}"),
        (WrongLabels(Estimate(0, 0, 0.0001), 0.0001, 0, False, "low"), f"at most 0.1%; {REVIEW}"),
        (
            WrongLabels(Estimate(0, 0, 0.00001), 0, 0, False, "low"),
            "at most 0.1%; for no sample do the others suggest another label",
        ),
    ],
)
def test_the_sentence_says_what_can_be_told(wrong: WrongLabels, words: str) -> None:
    assert format_wrong_labels(wrong) == words
