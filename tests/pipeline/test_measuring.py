"""Three ways to measure gradients: the same verdict, and a coherence within its stated error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.scanning import scan

import cohaudit
from cohaudit.gradients.plain import PlainEngine
from cohaudit.results import Audit, Coherence, MeasuredGradients

MODEL = Path("fixtures/digits/model.safetensors")
OPTIONS = ("--audits", "none", "--limit", "600", "--bootstrap", "50")
GRADIENTS = ["gradient_norm", "support", "support_count"]


def audited(folder: Path, *options: Any) -> Audit:
    result = scan(MODEL, "--out", folder, *OPTIONS, *options)
    assert result.exit_code == 0, result.output
    return cohaudit.read_audit(folder / "audit.json")


@pytest.fixture(autouse=True, scope="module")
def _no_page() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohaudit.report.write.render_html", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Return an audit with the gradients of all samples."""
    return audited(tmp_path_factory.mktemp("exact"), "--coherence", "exact")


@pytest.mark.parametrize("way", ["sums", "fast"])
def test_what_needs_no_gradient_is_the_same_and_the_rest_within_its_error(
    way: str, exact: Audit, tmp_path: Path
) -> None:
    found = audited(tmp_path, "--coherence", way, "--coherence-samples", 100)
    kept = [column for column in found.samples.columns if column not in GRADIENTS]
    pd.testing.assert_frame_equal(found.samples[kept], exact.samples[kept], rtol=1e-5, atol=1e-6)
    assert [one.id for one in found.evidence] == [one.id for one in exact.evidence]
    for one, other in zip(found.evidence, exact.evidence, strict=True):
        assert [n.id for n in one.supporters] == [n.id for n in other.supporters]
        assert [n.id for n in one.opponents] == [n.id for n in other.opponents]
    assert isinstance(found.gradients, MeasuredGradients)
    error = found.gradients.energy_error
    assert abs(found.gradients.samples - 100) <= 1
    assert 0 < error < 0.2
    for mine, its in ((found.coherence, exact.coherence), *zip(_layers(found), _layers(exact), strict=True)):
        assert isinstance(mine, Coherence)
        assert isinstance(its, Coherence)
        if way == "sums":
            # the sums are exact: all that α errs by is the energy, by layers more than as a whole
            assert mine.alpha.value == pytest.approx(its.alpha.value, rel=10 * error)
        assert mine.alpha.low <= its.alpha.value <= mine.alpha.high
    # of samples that were not drawn no number stands for an unknown one
    drawn = found.samples["gradient_norm"].notna()
    assert drawn.sum() == found.gradients.samples
    assert found.samples["support"].isna().all()
    assert found.samples["support_count"].isna().all()
    norms = exact.samples["gradient_norm"][drawn]
    assert found.samples["gradient_norm"][drawn].to_numpy() == pytest.approx(norms.to_numpy(), rel=1e-4)
    table = pd.read_csv(tmp_path / "samples.csv")
    assert table["support_count"].isna().all()


def _layers(audit: Audit) -> list[Any]:
    return [layer.coherence for layer in audit.layers]


def test_few_samples_are_all_measured(exact: Audit, tmp_path: Path) -> None:
    found = audited(tmp_path, "--coherence-samples", 300)
    assert found.coherence == exact.coherence
    pd.testing.assert_frame_equal(found.samples, exact.samples)
    assert found.samples["support_count"].dtype == "Int64"
    assert np.isfinite(found.samples["support"]).all()


def test_an_unknown_way_is_refused_with_a_suggestion() -> None:
    result = scan(MODEL, "--coherence", "sum")
    assert result.exit_code == 2
    assert "--coherence" in result.stderr
    assert "'sum'" in result.stderr
    assert "did you mean sums?" in result.stderr
    nonsense = scan(MODEL, "--coherence", "nonsense")
    assert nonsense.exit_code == 2
    assert all(one in nonsense.stderr for one in ("fast", "sums", "exact"))


def test_a_sum_that_is_off_by_little_stops_the_scan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What six standard errors of a draw leave unseen, the sums of some drawn samples again show."""
    sums = PlainEngine.run

    def off(*arguments: Any, **options: Any) -> Any:
        found = sums(*arguments, **options)
        return replace(found, totals={name: 1.01 * total for name, total in found.totals.items()})

    monkeypatch.setattr(PlainEngine, "run", off)
    result = scan(MODEL, "--out", tmp_path, *OPTIONS, "--coherence-samples", 20, "--no-outside")
    assert result.exit_code == 2
    assert "certificate failed: class sums of some drawn samples" in result.stderr
    assert not (tmp_path / "audit.json").exists()
