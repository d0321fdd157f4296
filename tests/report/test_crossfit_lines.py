"""The result of a cross-fit in the summary and in the report, and nothing of it where there is none."""

from __future__ import annotations

import io
from dataclasses import replace

from support.audits import make_audit

from cohaudit.report.html.view._facts import build_facts
from cohaudit.report.terminal.summary import render_summary
from cohaudit.results import Audit, Crossfit
from cohaudit.results.gap import format_crossfit

WITH = make_audit(holdout=True)
WITHOUT = make_audit()


def summary(audit: Audit) -> str:
    return " ".join(render_summary(audit, [], io.StringIO()).split())


def test_the_report_shows_the_accuracy_and_the_recipe() -> None:
    facts = dict(build_facts(WITH))
    assert facts["Out-of-fold accuracy"].short == (
        "81.2% (78.1% to 84.4%), by 5 copies, each on the fold that it was not trained on"
    )
    recipe = facts["Cross-fit"]
    assert recipe.short.startswith("5 copies trained by SGD with learning rate 0.05 (as set)")


def test_the_summary_shows_both_in_a_line() -> None:
    assert (
        "Cross-fit: out-of-fold accuracy 81.2% (78.1% to 84.4%), 5 copies trained by SGD with learning "
        "rate 0.05 (as set); they stopped after 9 to 14 epochs"
    ) in summary(WITH)


def test_copies_that_took_equally_long_need_no_word_about_it() -> None:
    assert isinstance(WITH.crossfit, Crossfit)
    assert "stopped" not in format_crossfit(replace(WITH.crossfit, epochs=(7, 7, 7, 7, 7)))
    assert "stopped" not in format_crossfit(replace(WITH.crossfit, epochs=()))


def test_without_a_cross_fit_nothing_is_shown() -> None:
    assert not {"Out-of-fold accuracy", "Cross-fit"} & dict(build_facts(WITHOUT)).keys()
    assert "Cross-fit" not in summary(WITHOUT)
