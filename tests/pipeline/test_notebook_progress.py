"""Progress in a notebook: a line in the cell, only there, and only if it is wanted."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from cohaudit.pipeline import notebook
from cohaudit.pipeline.notebook import NotebookProgress, in_notebook
from cohaudit.pipeline.progress import LineProgress, SilentProgress, chosen_progress


def kernel(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """Let this process look like one that IPython runs in."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_kernel_is_told_from_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    kernel(monkeypatch, SimpleNamespace())  # IPython in a terminal
    assert not in_notebook()
    kernel(monkeypatch, SimpleNamespace(kernel=object()))
    assert in_notebook()


def test_progress_is_shown_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(chosen_progress(None), SilentProgress)
    assert isinstance(chosen_progress(True), LineProgress)  # no terminal here
    own = SilentProgress()
    assert chosen_progress(own) is own
    kernel(monkeypatch, SimpleNamespace(kernel=object()))
    assert isinstance(chosen_progress(None), NotebookProgress)
    assert isinstance(chosen_progress(True), NotebookProgress)
    assert isinstance(chosen_progress(False), SilentProgress)


def test_a_stage_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], raw: bool) -> None:
            lines.append(content["text/plain"])

    def display(content: dict[str, str], raw: bool, display_id: bool) -> Handle:
        lines.append(content["text/plain"])
        return Handle()

    module = SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=module))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "UPDATE_SECONDS", 0.0)
    progress = NotebookProgress()
    with progress.stage("measure", 10) as advance:
        advance(4)
    with progress.stage("judge"):
        pass
    assert lines[0] == "measure …"
    assert lines[1].startswith("measure: 4 of 10 samples")
    assert lines[2:] == ["", "judge …", ""]
