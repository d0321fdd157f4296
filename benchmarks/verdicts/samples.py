"""The data sets of the verdicts benchmark: images, texts, tables and words, with their true labels.

Those of the other benchmarks, and more. Every one has a family: data sets of the same family are left out
together, because a constant chosen on one would be tuned to the other.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_wine
from torch import Tensor

from benchmarks.shared.datasets import SOURCES, WORDS, CleanData, adult_rows, word_numbers
from benchmarks.verdicts.minilm import embeddings, read_by, token_numbers

WINDOW = 9
"""Numbers that describe a word: five words around it, its ending, its beginning, its length, its case."""
PATCH = 16
"""Height and width of a patch of a street scene, in pixels."""


@dataclass(frozen=True)
class DataSet:
    """A data set of the benchmark.

    Attributes:
        family: Data sets of one family share samples.
        kind: "image", "text", "words" or "table".
        train: Number of training samples, drawn by the seed; None takes all.
        load: Reads it from a folder.
    """

    family: str
    kind: str
    train: int | None
    load: Callable[[Path, int], CleanData]


def shared(name: str) -> Callable[[Path, int], CleanData]:
    """Return the reader of a data set that other benchmarks use as well."""
    return SOURCES[name]


def pair(first: int, second: int) -> Callable[[Path, int], CleanData]:
    """Return the reader of two digits, to be told apart."""

    def load(folder: Path, seed: int) -> CleanData:
        clean = SOURCES["digits"](folder, seed)
        some = (clean.truth == first) | (clean.truth == second)
        others = (clean.test_labels == first) | (clean.test_labels == second)
        return CleanData(
            clean.train[some],
            (clean.truth[some] == second).long(),
            clean.test[others],
            (clean.test_labels[others] == second).long(),
            2,
            {},
        )

    return load


def one_against_rest(name: str, chosen: int, share: float) -> Callable[[Path, int], CleanData]:
    """Return the reader of a data set in which one class is to be told from all others.

    Args:
        name: Data set.
        chosen: Class.
        share: Share of the training samples that are of that class; the others are thinned out, or it is.
    """

    def load(folder: Path, seed: int) -> CleanData:
        clean = SOURCES[name](folder, seed)
        is_chosen = clean.truth == chosen
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(is_chosen), generator=generator)
        members = order[is_chosen[order]]
        rest = order[~is_chosen[order]]
        members = members[: max(1, round(share / (1 - share) * len(rest)))]
        some = torch.cat([members, rest])
        some = some[torch.randperm(len(some), generator=generator)]
        return CleanData(
            clean.train[some],
            is_chosen[some].long(),
            clean.test,
            (clean.test_labels == chosen).long(),
            2,
            {},
        )

    return load


def split(x: Tensor, y: Tensor, test: int, seed: int) -> CleanData:
    """Return samples in a random order, the last ones apart as test samples."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    a = order[:-test]
    b = order[-test:]
    return CleanData(x[a], y[a], x[b], y[b], int(y.max()) + 1, {})


def _scaled(x: np.ndarray) -> Tensor:
    return torch.tensor((x - x.mean(0)) / np.maximum(x.std(0), 1e-9), dtype=torch.float32)


def _breast_cancer(folder: Path, seed: int) -> CleanData:
    table = load_breast_cancer()
    return split(_scaled(table.data), torch.from_numpy(table.target).long(), 119, seed)


def _wine(folder: Path, seed: int) -> CleanData:
    table = load_wine()
    return split(_scaled(table.data), torch.from_numpy(table.target).long(), 38, seed)


def _all_of_adult(folder: Path, seed: int) -> CleanData:
    x, labels = adult_rows(folder)
    return split(x, labels, 2000, seed)


def _california(folder: Path, seed: int) -> CleanData:
    table = pd.read_csv(folder / "california_housing.csv.gz").dropna()
    value = table.pop("median_house_value")
    quarter = pd.qcut(value, 4, labels=False).to_numpy().astype(np.int64)
    x = _scaled(pd.get_dummies(table, dtype=float).to_numpy())
    clean = split(x, torch.from_numpy(quarter), 2000, seed)
    # each quarter of the prices is taken for the next one
    return replace(clean, confused=((0, 1, 2, 3),))


def _cifar10h(folder: Path, seed: int) -> CleanData:
    with np.load(folder / "cifar10_20k.npz") as arrays, np.load(folder / "cifar10h_4k.npz") as people:
        x = arrays["x_test"]
        y = torch.from_numpy(arrays["y_test"]).long()
        extra = arrays["x_train"][:2000]
        extra_labels = torch.from_numpy(arrays["y_train"][:2000]).long()
        human = torch.from_numpy(people["one_annotator"]).long()
    mean = x.mean() / 255
    deviation = x.std() / 255
    inputs, test = (
        (torch.from_numpy(part).float() / 255 - mean).div(deviation).permute(0, 3, 1, 2).contiguous()
        for part in (x, extra)
    )
    return CleanData(inputs, y, test, extra_labels, 10, {"one annotator": human})


def _hausa_news(folder: Path, seed: int) -> CleanData:
    train, test = (pd.read_csv(folder / f"hausa_news{part}.csv") for part in ("", "_test"))
    names = sorted(set(train["true_label"]) | set(train["label"]) | set(test["label"]))
    number = {name: k for k, name in enumerate(names)}
    truth, given = (
        torch.tensor([number[name] for name in train[column]]) for column in ("true_label", "label")
    )
    x, x_test = (word_numbers([str(text) for text in table["text"]], 16, WORDS) for table in (train, test))
    test_labels = torch.tensor([number[name] for name in test["label"]])
    return CleanData(x, truth, x_test, test_labels, len(names), {"distant": given})


def _lines(path: Path) -> list[dict[str, list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def windows(sentences: Sequence[Sequence[str]]) -> Tensor:
    """Return each word of the sentences as numbers, in reading order, int64 [words, WINDOW]."""
    texts = []
    for tokens in sentences:
        padded = ["<s>", "<s>", *tokens, "</s>", "</s>"]
        for k, word in enumerate(tokens):
            around = [f"{offset}={padded[k + 2 + offset].lower()}" for offset in range(-2, 3)]
            shape = f"case={word[:1].isupper()}{word.isupper()}{word.isalnum()}"
            # a prefix keeps the same word apart at different places
            texts.append(
                [*around, f"end={word[-3:].lower()}", f"start={word[:2].lower()}", f"n={len(word)}", shape]
            )
    return word_numbers([" ".join(text) for text in texts], WINDOW, 4 * WORDS)


def tagged(file: str, test: str, true: str, given: str) -> Callable[[Path, int], CleanData]:
    """Return the reader of words with a tag each.

    Args:
        file: Name of the file of the training sentences, in the folder of the data.
        test: The same of the test sentences.
        true: Key of the true tags.
        given: Key of the tags by distant supervision; equal to `true` if there are none.
    """

    def load(folder: Path, seed: int) -> CleanData:
        train, later = (_lines(folder / name) for name in (file, test))
        key = true if true in later[0] else given
        counts: dict[str, int] = {}
        for line in train:
            for tag in line[true]:
                counts[tag] = counts.get(tag, 0) + 1
        names = sorted(name for name, count in counts.items() if count >= 25)
        number = {name: k for k, name in enumerate(names)}
        x, x_test = (windows([line["tokens"] for line in part]) for part in (train, later))
        y, labels, y_test = (
            torch.tensor([number.get(tag, -1) for line in part for tag in line[column]])
            for part, column in ((train, true), (train, given), (later, key))
        )
        known = (y >= 0) & (labels >= 0)
        known_test = y_test >= 0
        human = {"distant": labels[known]} if given != true else {}
        return CleanData(x[known], y[known], x_test[known_test], y_test[known_test], len(names), human)

    return load


def _patches(folder: Path, seed: int) -> CleanData:
    with np.load(folder / "camvid_small.npz") as arrays:
        parts = [_patches_of(arrays[f"x_{part}"], arrays[f"y_{part}"], seed) for part in ("train", "test")]
    (x, y), (x_test, y_test) = parts
    mean, deviation = x.mean(), x.std()
    # pavement and road, tree and building, pedestrian and bicyclist
    confused = ((3, 4), (5, 1), (9, 10))
    return CleanData(
        (x - mean) / deviation, y, (x_test - mean) / deviation, y_test, int(y.max()) + 1, {}, confused
    )


def _patches_of(images: np.ndarray, masks: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Return patches around random pixels, labeled with the pixel's class."""
    generator = np.random.default_rng(seed)
    half = PATCH // 2
    count = 12 * len(images)
    which = np.repeat(np.arange(len(images)), 12)
    rows = generator.integers(half, images.shape[1] - half, count)
    columns = generator.integers(half, images.shape[2] - half, count)
    labels = masks[which, rows, columns].astype(np.int64)
    known = labels < 11
    patches = np.stack(
        [
            images[i, r - half : r + half, c - half : c + half]
            for i, r, c in zip(which[known], rows[known], columns[known], strict=True)
        ]
    )
    return torch.from_numpy(patches).float().permute(0, 3, 1, 2).contiguous() / 255, torch.from_numpy(
        labels[known]
    )


def _origin(folder: Path, seed: int) -> CleanData:
    """Read texts of four origins: a question, a review, a headline in Hausa, or an article."""
    questions = [
        line.partition(" ")[2]
        for line in (folder / "trec_train.label").read_text(encoding="latin-1").splitlines()
    ]
    reviews = [str(text) for text in pd.read_csv(folder / "sentiment_train.csv")["text"]]
    headlines = [str(text) for text in pd.read_csv(folder / "hausa_news.csv")["text"]]
    articles = [str(line["text"]) for line in _lines(folder / "wikitext2_valid.jsonl.gz")]
    texts = [part[:800] for part in (questions, reviews, headlines, articles)]
    x = word_numbers([text for part in texts for text in part], 12, WORDS)
    y = torch.tensor([k for k, part in enumerate(texts) for _ in part])
    return split(x, y, 800, seed)


DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet("digits", "image", None, shared("digits")),
    "digits 0, 1": DataSet("digits", "image", None, pair(0, 1)),
    "digits 3, 8": DataSet("digits", "image", None, pair(3, 8)),
    "digits, a 3?": DataSet("digits", "image", None, one_against_rest("digits", 3, 0.1)),
    "fashion": DataSet("fashion", "image", 3000, shared("fashion")),
    "fashion, a bag?": DataSet("fashion", "image", 4000, one_against_rest("fashion", 8, 0.02)),
    "cifar": DataSet("cifar", "image", 3000, shared("cifar")),
    "cifar10h": DataSet("cifar", "image", 4000, _cifar10h),
    "camvid patches": DataSet("camvid", "image", 3000, _patches),
    "labelme": DataSet("labelme", "table", None, shared("labelme")),
    "sentiment": DataSet("sentiment", "text", 3000, shared("sentiment")),
    "sentiment, MiniLM embeddings": DataSet("sentiment", "table", 3000, read_by(embeddings, "sentiment")),
    "trec": DataSet("trec", "text", 3000, shared("trec")),
    "trec, MiniLM embeddings": DataSet("trec", "table", 3000, read_by(embeddings, "trec")),
    "trec, MiniLM tokens": DataSet("trec", "text", 1000, read_by(token_numbers, "trec")),
    "hausa news": DataSet("hausa news", "text", None, _hausa_news),
    "origin": DataSet("origin", "text", 2000, _origin),
    "hausa words": DataSet(
        "hausa words",
        "words",
        5000,
        tagged("hausa_ner.jsonl.gz", "hausa_ner_test.jsonl.gz", "true_tags", "tags"),
    ),
    "english words": DataSet(
        "english words",
        "words",
        4000,
        tagged("ewt_pos_train.jsonl.gz", "ewt_pos_test.jsonl.gz", "upos", "upos"),
    ),
    "english words, fine": DataSet(
        "english words",
        "words",
        6000,
        tagged("ewt_pos_train.jsonl.gz", "ewt_pos_test.jsonl.gz", "xpos", "xpos"),
    ),
    "english words, large": DataSet(
        "english words",
        "words",
        20_000,
        tagged("ewt_pos_train.jsonl.gz", "ewt_pos_test.jsonl.gz", "upos", "upos"),
    ),
    "adult": DataSet("adult", "table", 4000, shared("adult")),
    "adult, large": DataSet("adult", "table", 20_000, _all_of_adult),
    "california": DataSet("california", "table", 3000, _california),
    "breast cancer": DataSet("breast cancer", "table", None, _breast_cancer),
    "wine": DataSet("wine", "table", None, _wine),
}
"""Data sets by name."""
