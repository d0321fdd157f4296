"""The terminal summary: everything that matters, on one screen, whatever names the files contain."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from support.audits import HOSTILE, gate, make_audit

from cohaudit.report.terminal.summary import render_summary, summary
from cohaudit.results import Audit, Skipped, by_gap

FILES = [Path("cohaudit-report", name) for name in ("report.html", "audit.json", "samples.csv")]


def rendered(audit: Audit, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(summary(audit, FILES), highlight=False)
    return captured.get()


def test_notes_come_under_the_heading() -> None:
    notes = ["Weights: ema of last.ckpt, epoch 3", "Inputs: 4 float32 \x1b[2J: [red]"]
    lines = render_summary(make_audit(), FILES, io.StringIO(), notes).splitlines()
    assert [line for line in lines if line.startswith(("Weights: ", "Inputs: "))] == [
        "Weights: ema of last.ckpt, epoch 3",
        r"Inputs: 4 float32 \x1b[2J: [red]",
    ]
    assert "Weights" not in rendered(make_audit())


def flat(text: str) -> str:
    return " ".join(text.split())


def test_names_what_matters() -> None:
    audit = make_audit(gates=(gate(failed=True), gate(failed=False)))
    text = flat(rendered(audit))
    for expected in (
        "fixtures/digits/model.safetensors on 240 of 480 samples of fixtures/digits/train.npz",
        "Labels: HIGH. About 6.2% of the labels are wrong. Between 4.7% and 9.4%. 12 suspects are listed; ",
        "Generalization: HIGH. 84.4% accuracy expected on new data. 80% interval: 81.2% to 87.5%, from the",
        "That is 15.6 points below the training accuracy, >99.9%.",
        "12.5% of the labels are memorized.",
        "accuracy >99.9%, balanced >99.9%, chance 10.0%, loss 0.0210",
        "body.0.fc",
        "class 9",
        "and 8 more",
        "8 samples recomputed with plain autograd, largest relative error 8.4 × 10⁻⁶",
        "99.9% of the parameters measured",
        "Skipped: layer embed: its weights are frozen",
        "risk>=high FAILED",
        "risk>=severe passed",
        "Report: cohaudit-report/report.html (beside it: audit.json, samples.csv)",
    ):
        assert expected in text


def test_suspects_come_most_suspicious_first() -> None:
    audit = make_audit()
    top = audit.samples[audit.samples["suspect"]].nlargest(4, "suspicion")
    text = rendered(audit)
    places = [text.index(name) for name in top["id"]]
    assert places == sorted(places)
    first = top.iloc[0]
    line = next(line for line in text.splitlines() if line.startswith(first["id"]))
    assert flat(line) == f"{first['id']} {first['label']} {first['suggested']} {first['suspicion']:.2f}"


def test_equally_suspicious_samples_come_in_the_order_of_the_report() -> None:
    audit = make_audit()
    samples = audit.samples.assign(suspicion=np.where(audit.samples["suspect"], 0.99, 0.1))
    text = rendered(replace(audit, samples=samples))
    first = [evidence.id for evidence in audit.evidence[:4]]
    assert first != sorted(first)
    places = [text.index(name) for name in first]
    assert places == sorted(places)


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_stays_within_the_width(width: int, hostile: bool) -> None:
    text = rendered(make_audit(hostile=hostile, gates=(gate(failed=True),)), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize(
    "size", [{}, {"layers": 300, "classes": 500, "samples": 2000, "suspects": 900, "evidence": 0}]
)
def test_fits_a_screen(size: dict[str, Any]) -> None:
    audit = make_audit(gates=(gate(failed=True),), **size)
    many = tuple(Skipped(f"layer {i}", "its weights are frozen") for i in range(100))
    assert len(rendered(replace(audit, skipped=many)).splitlines()) <= 42


def test_of_many_layers_shows_those_with_the_largest_gradients() -> None:
    text = rendered(make_audit(layers=30))
    assert [line.split()[0] for line in text.splitlines() if line.startswith("body.")] == [
        f"body.{i}.fc" for i in range(25, 30)
    ]
    assert "and 25 more" in text


def few_wrong(audit: Audit) -> Audit:
    assert not isinstance(audit.wrong_labels, Skipped)
    return replace(audit, wrong_labels=replace(audit.wrong_labels, level="low"))


def test_without_a_suspect_it_says_what_to_look_at_first() -> None:
    audit = make_audit(suspects=0)
    text = rendered(audit)
    assert "Look at first" in text
    assert all(name in text for name in audit.ranked_samples()["id"][:4])
    assert "Look at first" not in rendered(few_wrong(audit))
    assert "Look at first" not in rendered(make_audit())


def test_of_many_classes_shows_those_with_the_largest_gaps() -> None:
    audit = few_wrong(make_audit(classes=30, suspects=0))
    largest = {one.name for one in by_gap(audit.classes)[:5]}
    text = rendered(audit)
    assert {one.name for one in audit.classes if re.search(rf"{one.name}\b", text)} >= largest
    assert text.count("class ") - flat(text).count("of class ") <= 7
    assert "and 25 more" in text


def test_a_model_that_cannot_be_audited_gets_no_verdict() -> None:
    text = flat(rendered(make_audit(auditable=False)))
    assert "NOT AUDITABLE: no better than chance" in text
    assert "accuracy 10.0%" in text
    assert "risk" not in text
    assert "Wrong labels" not in text


def test_what_must_be_known_before_the_numbers_is_said_whole() -> None:
    notices = ("The preprocessing may differ. " + "Look at it. " * 40, "The sample \x1b[2J is odd.")
    text = flat(rendered(replace(make_audit(), notices=notices)))
    assert f"Note: {notices[0]}Note: The sample \\x1b[2J is odd." in text
    assert text.index("Note: ") < text.index("m-coherence")


def test_the_verdict_on_the_labels_stands_before_the_suspects() -> None:
    audit = make_audit()
    text = flat(rendered(audit))
    assert text.index("12 suspects are listed") < text.index(audit.suspects.iloc[0]["id"])


def test_where_wrong_labels_cannot_be_told_no_number_reads_as_correct_labels() -> None:
    text = flat(rendered(make_audit(told=False)))
    assert "Labels: UNCLEAR. Up to 12.5% of the labels may be wrong. Which ones, if any," in text
    assert not re.search(r"\d suspects?\b", text)


def test_labels_that_were_not_judged_are_not_right() -> None:
    audit = make_audit()
    samples = audit.samples.assign(suspicion=math.nan, suspect=False)
    assert "Labels: Labels not judged." in flat(rendered(replace(audit, samples=samples)))


def test_a_risk_that_was_not_estimated_says_why() -> None:
    audit = replace(make_audit(), risk=Skipped("risk", "there was no time"))
    text = flat(rendered(audit))
    assert "Generalization: Score on new data not estimated. There was no time" in text


def test_hostile_names_can_do_nothing() -> None:
    audit = make_audit(hostile=True, gates=(replace(gate(failed=True), expression=HOSTILE[2]),))
    audit = replace(audit, skipped=(Skipped("[red]\x1b[2J", HOSTILE[3]),))
    text = rendered(audit)
    assert not {c for c in text if not c.isprintable()} - {"\n"}
    assert r"[red]\x1b[2J" in text
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize(
    ("accuracy", "shown"),
    [(1.0, "100%"), (0.99999, ">99.9%"), (0.5, "50.0%"), (1e-9, "<0.1%"), (0.0, "0%"), (math.nan, "–")],
)
def test_only_a_whole_share_is_shown_as_whole(accuracy: float, shown: str) -> None:
    audit = make_audit()
    audit = replace(audit, sanity=replace(audit.sanity, accuracy=accuracy))
    assert f"accuracy {shown}, balanced" in rendered(audit)


def test_colors_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    red = "\x1b[1;31mHIGH"
    assert red in render_summary(make_audit(), FILES, Terminal())
    assert "\x1b" not in render_summary(make_audit(), FILES, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert red not in render_summary(make_audit(), FILES, Terminal())
