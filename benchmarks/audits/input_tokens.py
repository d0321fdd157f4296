"""Does the audit of the inputs find words of pure noise in an embedding?

    python -m benchmarks.audits.input_tokens --data-dir DIR   train, and write results/input_tokens.json
    python -m benchmarks.audits.input_tokens --show           show the saved results

Each question of TREC gets four more words, drawn from thirty at random, the most common seven times as often
as the seventeenth. A network of an embedding, the mean of the words, and two dense layers is judged at three
stages of its training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.shared import paths
from benchmarks.shared.command_line import make_parser
from benchmarks.shared.datasets import SOURCES, WORDS
from benchmarks.shared.measuring import CPU, default_options, silent, source_of
from benchmarks.shared.results import Row, read_rows, write_rows
from benchmarks.shared.training import accuracy, train_epoch
from cohaudit.audits.input_features import MIN_SAMPLES_PER_COLUMN, features_of
from cohaudit.gradients.passes.input_sums import InputSums
from cohaudit.gradients.passes.inputs import input_sums
from cohaudit.results import Inputs

RESULTS = paths.RESULTS / "input_tokens.json"
NOISE = 30
"""Number of noise words."""
PLACES = 4
"""Noise words put into each question."""
EPOCHS = (3, 10, 30)
"""Epochs after which the network is judged."""
SEEDS = 2
"""Number of seeds."""


class Words(nn.Module):
    """Embedding, mean over the words, two dense layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS + NOISE, 32, padding_idx=0)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes))

    def forward(self, words: Tensor) -> Tensor:
        """Map words [batch, places] to logits [batch, classes]."""
        is_word = (words > 0).unsqueeze(2)
        mean = (self.embed(words) * is_word).sum(1) / is_word.sum(1).clamp_min(1)
        logits: Tensor = self.body(4 * mean)
        return logits


def audited(model: nn.Module, words: Tensor, labels: Tensor, classes: int) -> Inputs:
    """Return the audit of the inputs."""
    sums = input_sums(model, source_of(words, labels, classes), default_options(), CPU, silent)
    assert isinstance(sums, InputSums)
    tokens = [str(token) for token in sums.columns]
    found = features_of(tokens, sums)
    assert isinstance(found, Inputs)
    return found


def judged(found: Inputs) -> Row:
    """Return how well the noise words are distinguished from the others."""
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
        words = torch.cat([given.train, torch.from_numpy(drawn) + WORDS], 1)
        labels = given.truth
        torch.manual_seed(seed)
        model = Words(given.classes)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for epoch in range(1, EPOCHS[-1] + 1):
            train_epoch(model, optimizer, words, labels, 64)
            if epoch in EPOCHS:
                about: Row = {"seed": seed, "epoch": epoch, "fitted": accuracy(model, words, labels)}
                yield about | judged(audited(model, words, labels, given.classes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; return the exit code."""
    parser = make_parser(__doc__, data=True, show=True)
    args = parser.parse_args(arguments)
    if not args.show:
        write_rows(RESULTS, list(compare(args.data_dir)))
    for row in read_rows(RESULTS):
        print(", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
