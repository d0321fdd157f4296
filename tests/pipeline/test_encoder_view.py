"""A scan with a pretrained encoder: one more view of the labels, offline, the same in every run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from support.encoders import save_bert, save_vit
from torch import nn
from torch.utils.data import TensorDataset

import cohaudit
from cohaudit.cli import main
from cohaudit.errors import DataError
from cohaudit.loading.data import from_torch
from cohaudit.loading.encoder import open_encoder
from cohaudit.pipeline import outside
from cohaudit.pipeline.embedding import embed_samples
from cohaudit.results.read import read_audit

COLORS = ("red", "green", "blue")
PROJECT = """\
import torch
from torch import nn
def network():
    return nn.Linear(2, 3)
def encode(row):
    return torch.tensor([float(len(row["text"])), 1.0])
"""
needs_libraries = pytest.mark.filterwarnings("ignore")


def write_project(folder: Path, count: int = 60) -> list[str]:
    """Write texts that name their class, and a network that sees only their length."""
    rng = np.random.default_rng(0)
    words = ("old", "new", "very", "house", "car")
    rows = []
    for i in range(count):
        rest = " ".join(rng.choice(words, rng.integers(1, 6)))
        rows.append(f"the {COLORS[i % 3]} {rest},{COLORS[i % 3]}")
    (folder / "data.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "project.py").write_text(PROJECT)
    torch.manual_seed(0)
    save_file(nn.Linear(2, 3).state_dict(), folder / "model.safetensors")
    settings = {"model": "project.py:network", "data": "data.csv", "transform": "project.py:encode"}
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    (folder / "cohaudit.toml").write_text("\n".join(["bootstrap = 20", *lines]) + "\n")
    return [row.partition(",")[0] for row in rows]


def scan_project(folder: Path, *options: str) -> Any:
    return CliRunner().invoke(main, ["scan", str(folder / "model.safetensors"), *options])


def test_without_the_libraries_the_command_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    result = scan_project(tmp_path, "--encoder", "owner/tiny")
    assert result.exit_code == 2
    assert "encoder owner/tiny (--encoder)" in result.stderr
    assert "pip install 'cohaudit[encoders]'" in result.stderr
    assert not (tmp_path / "cohaudit-report").exists()


@needs_libraries
@pytest.mark.usefixtures("no_network")
def test_texts_of_a_table_are_one_more_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    write_project(tmp_path)
    save_bert(tmp_path / "elsewhere" / "bert")
    audits = []
    for name in ("one", "two"):
        # a folder beside the command, not beside the settings; numbers and order follow --limit
        result = scan_project(tmp_path, "--encoder", "bert", "--limit", "45", "--out", name)
        assert result.exit_code == 0, result.output
        audits.append(read_audit(Path(name) / "audit.json"))
    found = {view.name: view.accuracy for view in audits[0].outside}
    (name,) = [name for name in found if "embeddings of" in name]
    assert name.startswith("ridge regression on the embeddings of ")
    assert name.endswith("bert")
    # a third is chance, and what vectors in another order would give; the encoder is random
    assert found[name] >= 0.75
    assert audits[0].outside == audits[1].outside


@needs_libraries
@pytest.mark.usefixtures("no_network")
def test_images_in_memory_are_one_more_view_also_without_the_others(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    labels = torch.arange(60) % 3
    images = 0.2 * torch.rand(60, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    for place, label in enumerate(labels.tolist()):
        images[place, :, 4 * label : 4 * label + 4] += 0.7
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    encoder = save_vit(tmp_path / "vit")
    found = cohaudit.scan(
        model, TensorDataset(images, labels), encoder=encoder, outside=False, bootstrap=20, batch_size=7
    )
    (view,) = found.outside
    assert str(encoder) in view.name
    assert view.accuracy >= 0.95


@needs_libraries
def test_vectors_stay_with_their_samples_and_progress_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr("cohaudit.pipeline.embedding.BATCH", 4)
    monkeypatch.setattr("cohaudit.pipeline.embedding.SORTED_BATCHES", 2)
    texts = ["very " * (1 + (7 * i) % 11) + COLORS[i % 3] for i in range(21)]

    class Texts:
        """Pairs of a text and a label; the network's input is made by nobody here."""

        def __len__(self) -> int:
            return len(texts)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.zeros(2), index % 3

    dataset = from_torch(Texts())
    monkeypatch.setattr(dataset, "raw", texts.__getitem__)
    encoder = open_encoder(str(save_bert(tmp_path / "bert")), tmp_path, texts[0], "sample 0")
    cpu = torch.device("cpu")
    positions = np.arange(1, 21)[::-1].copy()
    done: list[int] = []
    found = embed_samples(encoder, dataset, positions, cpu, done.append)
    assert sum(done) == 20
    assert max(done) == 4
    alone = [encoder.embed([texts[i]], ["it"], cpu)[0] for i in positions]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-5)


@needs_libraries
def test_numbers_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    data = TensorDataset(torch.randn(6, 4), torch.arange(6) % 3)
    with pytest.raises(DataError, match=r"neither a text nor an image but float32 of shape \[4\]"):
        cohaudit.scan(nn.Linear(4, 3), data, encoder=save_bert(tmp_path / "bert"))


@needs_libraries
def test_more_embeddings_than_fit_into_memory_are_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(outside, "MAX_NUMBERS", 32 * 60 - 1)
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    data = TensorDataset(images, torch.arange(60) % 3)
    found = cohaudit.scan(model, data, encoder=save_vit(tmp_path / "vit"), outside=False, bootstrap=20)
    assert found.outside == ()
    reasons = [part.reason for part in found.skipped if "embeddings of" in part.name]
    assert len(reasons) == 1
    assert "--limit" in reasons[0]
