"""Refuses folders that could run code of their own, or that are no encoder, before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cohaudit.errors import ModelError
from cohaudit.untrusted import read_bytes

MODULES_FILE = "modules.json"
"""File of sentence-transformers that lists the parts of an encoder."""
MODULE_TYPES = frozenset(
    {"Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout", "StaticEmbedding"}
)
"""Parts of sentence-transformers that run nothing but code of the library; any other is refused."""
SETTINGS = (
    "config.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
)
"""Files in which transformers and sentence-transformers keep settings, also those that name code."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
"""Extensions of weights that are not safetensors."""
_ADAPTER = "adapter_config.json"
"""File that belongs to the weights of an adapter, which are nothing without another model."""


def check_folder(folder: Path, where: str) -> None:
    """Raise an error unless a folder holds an encoder that can be loaded without running code from it.

    Args:
        folder: The folder.
        where: The encoder, for messages.

    Raises:
        ModelError: If the folder holds no encoder, its weights are pickles, or it asks for code of its own.
    """
    parts = _parts(folder, where)
    for part in parts:
        if (part / _ADAPTER).exists():
            found = f"is an adapter of another model ({_ADAPTER}), not a whole encoder"
            raise ModelError(where, found, "merge the adapter into its model, save that, and give its folder")
        for name in SETTINGS:
            if (part / name).exists():
                _refuse_code(_read(part / name, where), f"{where}, {name}")
        _refuse_pickles(part, where)


def has_modules(folder: Path) -> bool:
    """Tell whether a folder was saved by sentence-transformers, with its list of modules."""
    return (folder / MODULES_FILE).exists()


def _parts(folder: Path, where: str) -> list[Path]:
    """Return the folders that an encoder is loaded from: its own, and those of its parts."""
    if has_modules(folder):
        modules = _read(folder / MODULES_FILE, where)
        if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
            raise ModelError(where, f"{MODULES_FILE} is not a list of modules", "save the encoder again")
        for module in modules:
            kind = str(module.get("type"))
            library, _, name = kind.partition(".")[0], *kind.rpartition(".")[1:]
            if library != "sentence_transformers" or name not in MODULE_TYPES:
                raise ModelError(
                    where,
                    f"has a part of the type {kind}, and only {', '.join(sorted(MODULE_TYPES))} of "
                    "sentence_transformers are used",
                    "choose another encoder, or compute its embeddings yourself: --features",
                )
        return list(dict.fromkeys([folder, *(folder / str(module.get("path", "")) for module in modules)]))
    if not (folder / "config.json").exists():
        raise ModelError(
            where,
            f"is not an encoder: {folder} holds neither {MODULES_FILE} nor config.json",
            "give the folder that SentenceTransformer.save or save_pretrained of transformers wrote",
        )
    return [folder]


def _read(path: Path, where: str) -> Any:
    try:
        return json.loads(read_bytes(path, ModelError))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            where, f"{path.name} cannot be read as JSON: {error}", "download or save the encoder again"
        ) from error


def _refuse_code(settings: Any, where: str) -> None:
    for key, value in _items(settings):
        # an attention with a slash is a repository of compiled kernels
        foreign = key.endswith("attn_implementation") and isinstance(value, str) and "/" in value
        if foreign or key == "auto_map":
            raise ModelError(
                where,
                f"asks for code from outside the libraries ({key}), and such code is never run",
                "choose another encoder, or compute its embeddings yourself: --features",
            )


def _items(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of objects at any depth."""
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _refuse_pickles(part: Path, where: str) -> None:
    files = [path for path in part.iterdir() if path.is_file()] if part.is_dir() else []
    pickles = sorted(path.name for path in files if path.suffix.lower() in PICKLES)
    if pickles and not any(path.suffix == ".safetensors" for path in files):
        raise ModelError(
            where,
            f"its weights are not stored as safetensors ({', '.join(pickles[:3])}), and pickles can run code",
            "if you trust it, load it with its library and save it again: both save safetensors",
        )
