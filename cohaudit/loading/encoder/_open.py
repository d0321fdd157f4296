"""Opens an encoder, tries it on one sample, and applies it to raw samples."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cohaudit.errors import DataError, MissingExtraError, ModelError, describe_error
from cohaudit.loading.encoder._check import check_folder, has_modules
from cohaudit.loading.encoder._find import find_encoder
from cohaudit.loading.encoder._network import Network, open_network
from cohaudit.loading.encoder._quiet import offline
from cohaudit.loading.encoder._raw import image_of, text_of

EXTRA = "encoders"
"""Extra of cohaudit that installs transformers and sentence-transformers."""


@dataclass(frozen=True)
class Encoder:
    """A pretrained network that gives a vector for each raw sample.

    Attributes:
        name: Name or folder as the user gave it.
        images: Whether it encodes images; else texts.
        width: Length of a vector, F.
        network: The network, on the CPU.
    """

    name: str
    images: bool
    width: int
    network: Network

    def embed(self, raws: Sequence[Any], where: Sequence[str], device: torch.device) -> NDArray[np.float32]:
        """Return the vectors of some samples, float32 [n, F].

        Args:
            raws: Raw samples, as `LabeledDataset.raw` returns them.
            where: Each sample, for messages.
            device: Device that the network is on.

        Raises:
            DataError: If a sample is of another kind, or its vector is not finite.
            ModelError: If the network fails.
        """
        items = [_item(raw, place, self.images, self.name) for raw, place in zip(raws, where, strict=True)]
        vectors = _vectors(self.network, items, device, _place(self.name))
        finite = np.isfinite(vectors).all(1)
        if not finite.all():
            raise DataError(
                where[int(np.flatnonzero(~finite)[0])],
                f"its embedding by {self.name} is NaN or infinite",
                "correct the sample, or choose another encoder",
            )
        return vectors


def open_encoder(name: str, base: Path, raw: Any, where: str) -> Encoder:
    """Load an encoder from this machine, for texts or for images, whichever the first sample is.

    Args:
        name: A folder, or the name of a model in a local cache.
        base: Folder that relative paths are resolved against.
        raw: The first sample, on which the encoder is tried.
        where: The sample, for messages.

    Raises:
        MissingExtraError: If the libraries are not installed.
        ConfigError: If there is no such encoder on this machine.
        ModelError: If it cannot be loaded without running code from it, or does not take this kind of data.
        DataError: If the sample is neither a text nor an image.
    """
    place = _place(name)
    _require("transformers", place)
    images = text_of(raw) is None
    item = _item(raw, where, images, name)
    with offline():
        folder = find_encoder(name, base)
        check_folder(folder, place)
        if has_modules(folder) and not images:
            _require("sentence_transformers", place)
        try:
            network = open_network(folder, place, images)
        except ModelError:
            raise
        # any exception: both libraries raise whatever a wrong file leads to
        except Exception as error:
            raise ModelError(
                place,
                f"cannot be loaded from {folder}: {describe_error(error)}",
                "choose an encoder that transformers or sentence-transformers loads by itself",
            ) from error
    width = _vectors(network, [item], torch.device("cpu"), place).shape[1]
    return Encoder(name, images, width, network)


def _require(module: str, where: str) -> None:
    """Import a library of the extra, or raise an error that says how to install it."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(where, module.replace("_", "-"), EXTRA) from error


def _place(name: str) -> str:
    return f"encoder {name} (--encoder)"


def _item(raw: Any, where: str, images: bool, name: str) -> str | Image.Image:
    """Return a raw sample as a text or an image."""
    item = image_of(raw, where) if images else text_of(raw)
    if item is None:
        kinds = "neither a text nor an image" if images else "not a text, as the samples before it are"
        raise DataError(
            where,
            f"is {kinds} but {_describe(raw)}, so the encoder {name} cannot be applied",
            "give the data as texts or images and prepare them in a transform (--transform), or compute the "
            "embeddings yourself: --features",
        )
    return item


def _describe(raw: Any) -> str:
    if isinstance(raw, np.ndarray | torch.Tensor):
        return f"{str(raw.dtype).removeprefix('torch.')} of shape {list(raw.shape)}"
    if isinstance(raw, dict):
        return f"a row of {len(raw)} columns without a text"
    return f"an object of type {type(raw).__qualname__}"


def _vectors(network: Network, items: Sequence[Any], device: torch.device, where: str) -> NDArray[np.float32]:
    try:
        with offline(), torch.inference_mode():
            found = network.vectors(items, device).float().cpu().numpy()
    # any exception: code of the library, on weights and settings that came from elsewhere
    except Exception as error:
        raise ModelError(
            where,
            f"failed on the data: {describe_error(error)}",
            "choose another encoder, or compute its embeddings yourself: --features",
        ) from error
    if found.ndim != 2 or len(found) != len(items):
        raise ModelError(
            where,
            f"gave an array of shape {list(found.shape)} for {len(items)} samples, not a vector each",
            "choose another encoder",
        )
    vectors: NDArray[np.float32] = found
    return vectors
