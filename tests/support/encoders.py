"""Tiny encoders of texts and images with random weights, saved by the libraries that save real ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("red", "green", "blue", "the", "car", "house", "is", "very", "old", "new")
"""Vocabulary of the tiny encoders of texts, besides the special tokens."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIDE = 16
"""Height and width that the tiny encoders of images take, in pixels."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if anything looks up a host or opens a connection, even if the error is caught."""
    tried = []

    def refuse(*address: Any, **_: Any) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert tried == []


def save_bert(folder: Path) -> Path:
    """Save a BERT of two layers and a WordPiece tokenizer, as transformers does."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=24,
        **{f"{name}_token": token for name, token in names.items()},
    ).save_pretrained(folder)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, initializer_range=0.5, **sizes
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_sentence_bert(folder: Path, parts: Path) -> Path:
    """Save the same BERT as sentence-transformers does, with pooling, a dense layer and normalization.

    Args:
        folder: Folder to write.
        parts: Folder for the BERT that it is made of.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    bert = Transformer(str(save_bert(parts)))
    modules = [bert, Pooling(32, pooling_mode="mean"), Dense(32, 12), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def save_vit(folder: Path) -> Path:
    """Save a vision transformer of two layers and its image processor."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 4}
    ViTModel(
        ViTConfig(hidden_size=32, intermediate_size=64, initializer_range=0.3, **sizes),
        add_pooling_layer=False,
    ).save_pretrained(folder)
    _save_processor(folder, "ViTImageProcessor")
    return folder


def save_clip(folder: Path) -> Path:
    """Save a CLIP of texts and images, without its tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 50},
        vision_config={**small, "image_size": SIDE, "patch_size": 4},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    _save_processor(folder, "CLIPImageProcessor")
    return folder


def _save_processor(folder: Path, name: str) -> None:
    import transformers

    # the other kind of processor, which real folders are saved with, needs torchvision
    kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    half = [0.5, 0.5, 0.5]
    kind(
        size={"height": SIDE, "width": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=half,
        image_std=half,
    ).save_pretrained(folder)
