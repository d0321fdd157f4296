"""Which optional audits are run, and what becomes of those that are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cohaudit
from cohaudit.audits import registry
from cohaudit.audits.registry import AUDITS, BY_DEFAULT, selected_audits
from cohaudit.errors import ConfigError
from cohaudit.report import render_html
from cohaudit.results import Skipped


def scanned(steps: int = 40, **settings: object) -> cohaudit.Audit:
    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.arange(40) % 2
    x[:, 0] += 3 * y
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return cohaudit.scan(model, (x, y), **settings)


def test_names_may_be_given_apart_or_with_commas() -> None:
    assert selected_audits(()) == set(BY_DEFAULT)
    assert selected_audits(("depth, memory",)) == selected_audits(("depth", "memory")) == {"depth", "memory"}
    assert selected_audits(("all",)) == set(AUDITS)
    assert selected_audits(("none",)) == set()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="dept") as caught:
        selected_audits(("dept",))
    assert "depth" in caught.value.remedy


def test_audits_without_a_pass_of_their_own_are_run_and_timed() -> None:
    audit = scanned()
    assert not isinstance(audit.audits.depth, Skipped)
    assert "audit depth" in audit.timings
    assert isinstance(audit.audits.memory, Skipped)
    assert "optimizer" in audit.audits.memory.reason


def test_one_that_is_not_selected_is_skipped() -> None:
    depth = scanned(audits=("none",)).audits.depth
    assert isinstance(depth, Skipped)
    assert "--audits depth" in depth.reason


def test_the_sums_of_every_weight_are_measured_once_for_all_that_use_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure, calls = registry.weight_sums, []
    monkeypatch.setattr(registry, "weight_sums", lambda *given: calls.append(1) or measure(*given))
    theory = scanned(steps=5, audits=("width", "decay")).audits
    assert len(calls) == 1
    assert not isinstance(theory.width, Skipped)
    assert not isinstance(theory.decay, Skipped)
    assert theory.width.units == 8
    assert isinstance(theory.decay.trained, Skipped)


def test_one_that_takes_a_pass_is_run_when_selected() -> None:
    assert "robust" not in BY_DEFAULT
    audit = scanned(audits=("robust",))
    found = audit.audits.robust
    assert not isinstance(found, Skipped)
    assert found.samples == 40
    assert [layer.name for layer in found.layers] == [layer.name for layer in audit.layers]
    assert "audit robust" in audit.timings
    assert "winsorized" in render_html(audit)
