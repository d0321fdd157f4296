"""The networks behind an encoder: texts or images in, a vector each out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from cohaudit.errors import ModelError
from cohaudit.loading.encoder._check import has_modules

MAX_TOKENS = 512
"""Tokens of a text that are read, at most: attention's memory grows with their square. Encoders are rarely
trained with more; where one takes fewer, fewer are read."""
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
"""Files by which a folder shows that its model takes texts."""
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files by which a folder shows that its model takes images."""
_POOLER = "pooler"
"""Part of a model that makes one vector of all positions; files often lack it, and it is not used here."""


class Network(Protocol):
    """A network that gives a vector for each item."""

    module: nn.Module
    """The network, in eval mode."""

    def vectors(self, items: Sequence[Any], device: torch.device) -> Tensor:
        """Return a vector for each text or image, float [n, F]."""


class SentenceNetwork:
    """An encoder of texts by sentence-transformers, with the pooling that it was trained with.

    Args:
        folder: Checked folder of the encoder.
    """

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self.module: Any = SentenceTransformer(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        ).eval()
        longest = self.module.max_seq_length
        if longest is None or longest > MAX_TOKENS:
            self.module.max_seq_length = MAX_TOKENS

    def vectors(self, items: Sequence[str], device: torch.device) -> Tensor:
        """See `Network.vectors`."""
        found: Tensor = self.module.encode(
            list(items),
            batch_size=len(items),
            show_progress_bar=False,
            convert_to_tensor=True,
            device=str(device),
        )
        return found


class TextNetwork:
    """A model of transformers for texts; a text's vector is the mean of its tokens' last hidden states.

    Args:
        folder: Checked folder of the model.
        where: The encoder, for messages.

    Raises:
        ModelError: If the model is no encoder of texts.
    """

    def __init__(self, folder: Path, where: str) -> None:
        from transformers import AutoTokenizer

        self.module = _load(folder, where)
        self._tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        if self._tokenizer.pad_token is None:
            raise ModelError(
                where,
                "its tokenizer has no token to fill short texts with, so it cannot read several at once",
                "choose an encoder, such as one of sentence-transformers",
            )
        positions = getattr(self.module.config, "max_position_embeddings", MAX_TOKENS)
        # RoBERTa counts its positions from two: the tokenizer knows the length that can be used
        self._longest = min(MAX_TOKENS, self._tokenizer.model_max_length, positions)

    def vectors(self, items: Sequence[str], device: torch.device) -> Tensor:
        """See `Network.vectors`."""
        batch = self._tokenizer(
            list(items), padding=True, truncation=True, max_length=self._longest, return_tensors="pt"
        ).to(device)
        if hasattr(self.module, "get_text_features"):
            return _pooled(self.module.get_text_features(**batch))
        states = self.module(**batch).last_hidden_state
        read = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        # a text without tokens has the mean 0
        mean: Tensor = (states * read).sum(1) / read.sum(1).clamp(min=1)
        return mean


class ImageNetwork:
    """A model of transformers for images; an image's vector is the mean of its last hidden states.

    Args:
        folder: Checked folder of the model.
        where: The encoder, for messages.

    Raises:
        ModelError: If the model is no encoder of images.
    """

    def __init__(self, folder: Path, where: str) -> None:
        from transformers import AutoImageProcessor

        self.module = _load(folder, where)
        self._processor = AutoImageProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )

    def vectors(self, items: Sequence[Image.Image], device: torch.device) -> Tensor:
        """See `Network.vectors`."""
        pixels = self._processor(list(items), return_tensors="pt")["pixel_values"].to(device)
        if hasattr(self.module, "get_image_features"):
            return _pooled(self.module.get_image_features(pixel_values=pixels))
        states = self.module(pixel_values=pixels).last_hidden_state
        # [n, positions, F] of a transformer, or [n, F, H, W] of a convolutional network
        mean: Tensor = states.mean(1) if states.ndim == 3 else states.flatten(2).mean(2)
        return mean


def open_network(folder: Path, where: str, images: bool) -> Network:
    """Load the network that encodes the given kind of data; see the class for errors.

    Args:
        folder: Checked folder of the encoder.
        where: The encoder, for messages.
        images: Whether it shall encode images; else texts.

    Raises:
        ModelError: If the encoder takes no data of this kind.
    """
    if has_modules(folder) and not images:
        return SentenceNetwork(folder)
    files, kind = (_PROCESSORS, "images") if images else (_TOKENIZERS, "texts")
    if not any((folder / name).exists() for name in files):
        raise ModelError(
            where,
            f"does not take {kind}, which the data holds: {folder} has no {' or '.join(files)}",
            f"choose an encoder of {kind}, or compute the embeddings yourself: --features",
        )
    return ImageNetwork(folder, where) if images else TextNetwork(folder, where)


def _load(folder: Path, where: str) -> Any:
    """Return a model of transformers with its weights, float32, in eval mode."""
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(
        str(folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        # by default it is what the file holds, and CPUs are slow in half precision
        dtype=torch.float32,
        output_loading_info=True,
    )
    lacking = sorted(name for name in report["missing_keys"] if _POOLER not in name.split("."))
    if lacking:
        raise ModelError(
            where,
            f"its file lacks {len(lacking)} of the weights, such as {lacking[0]}, which would be random",
            "download or save the encoder again",
        )
    if model.config.is_encoder_decoder:
        raise ModelError(
            where,
            f"has a decoder as well ({type(model).__name__}), which writes texts, not vectors of them",
            "choose an encoder, such as one of sentence-transformers",
        )
    return model.eval()


def _pooled(found: Any) -> Tensor:
    """Return the vectors of a model of texts and images: some versions of transformers wrap them."""
    pooled: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return pooled
