"""Does the audit of the inputs find words of pure noise in an embedding?

    python -m benchmarks.audits.input_tokens --data-dir ../shared/data

Each question of TREC gets four words more, drawn from thirty by chance, the commonest seven times as often as
the seventeenth. A network of an embedding, the mean of the words, and two dense layers is judged at three
stages of its training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audits.input_features import RESULTS, Row
from benchmarks.shared.datasets import SOURCES, WORDS
from cohaudit.audits.input_features import MIN_SAMPLES_PER_COLUMN, input_features
from cohaudit.config import Config
from cohaudit.gradients import Source
from cohaudit.gradients.passes.input_sums import InputSums
from cohaudit.gradients.passes.inputs import input_sums
from cohaudit.pipeline.scan import options_of
from cohaudit.results import Inputs

NOISE, PLACES = 30, 4
EPOCHS = (3, 10, 30)
SEEDS = 2


class Words(nn.Module):
    """Embedding, mean over the words, two dense layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS + NOISE, 32, padding_idx=0)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, words: Tensor) -> Tensor:
        """Map words [batch, places] to logits [batch, classes]."""
        told = (words > 0).unsqueeze(2)
        mean = (self.embed(words) * told).sum(1) / told.sum(1).clamp_min(1)
        logits: Tensor = self.body(4 * mean)
        return logits


def audited(model: nn.Module, words: Tensor, labels: Tensor, classes: int) -> Inputs:
    """Return the audit of the inputs."""
    ids, names = [str(i) for i in range(len(words))], [str(c) for c in range(classes)]
    source = Source(lambda indices: words[list(indices)], labels.numpy(), ids, names)
    sums = input_sums(model, source, options_of(Config()), torch.device("cpu"), lambda done: None)
    assert isinstance(sums, InputSums)
    tokens = [str(token) for token in sums.columns]
    found = input_features(
        tokens,
        sums.layer,
        squared_sum=sums.squared_sum,
        squares=sums.squares,
        norms=sums.norms,
        constant=sums.constant,
    )
    assert isinstance(found, Inputs)
    return found


def judged(found: Inputs) -> Row:
    """Return how the words of noise were told from the others."""
    noise = np.array([int(column.name) >= WORDS for column in found.columns])
    most, samples = (np.array([getattr(c, name) for c in found.columns]) for name in ("most", "samples"))
    called = np.array([column.verdict == "noise" for column in found.columns])
    often = samples >= MIN_SAMPLES_PER_COLUMN
    return {
        "words": len(noise),
        "noise": int(noise.sum()),
        "auroc": float(roc_auc_score(noise, -most)),
        "often": int(often.sum()),
        "noise often": int((noise & often).sum()),
        "auroc often": float(roc_auc_score(noise[often], -most[often])),
        "called": int(called.sum()),
        "called that are": int((called & noise).sum()),
    }


def compare(folder: Path) -> Iterator[Row]:
    """Train and judge; yield a row for each network."""
    for seed in range(SEEDS):
        given = SOURCES["trec"](folder, seed)
        often = np.exp(-np.arange(NOISE) / 8)
        shape = len(given.train), PLACES
        drawn = np.random.default_rng(seed).choice(NOISE, shape, p=often / often.sum())
        words, labels = torch.cat([given.train, torch.from_numpy(drawn) + WORDS], 1), given.truth
        torch.manual_seed(seed)
        model = Words(given.classes)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for epoch in range(1, EPOCHS[-1] + 1):
            for batch in torch.randperm(len(words)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(words[batch]), labels[batch]).backward()
                optimizer.step()
            if epoch in EPOCHS:
                with torch.no_grad():
                    fitted = float((model(words).argmax(1) == labels).float().mean())
                about: dict[str, Any] = {"seed": seed, "epoch": epoch, "fitted": fitted}
                yield about | judged(audited(model, words, labels, given.classes))


def main() -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    args = parser.parse_args()
    rows = list(compare(args.data_dir))
    for row in rows:
        print(", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    text = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n"
    (RESULTS / "input_tokens.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
