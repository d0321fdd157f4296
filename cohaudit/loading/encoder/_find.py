"""Where an encoder lies on this machine: a folder, or a download in the cache of Hugging Face."""

from __future__ import annotations

import os
from pathlib import Path

from cohaudit.errors import MAX_NAMES, ConfigError

CACHE_VARIABLE = "SENTENCE_TRANSFORMERS_HOME"
"""Environment variable of sentence-transformers that names a cache besides the one of Hugging Face."""
OWNER = "sentence-transformers"
"""Owner of the names without an owner, as in sentence-transformers itself: all-MiniLM-L6-v2."""
_REPOSITORY = "models--"
"""How the folder of a model begins in a cache; its name follows, with -- for each slash."""


def find_encoder(name: str, base: Path) -> Path:
    """Return the folder of an encoder.

    Args:
        name: A folder, or the name of a model that was downloaded: owner/name, or a name of
            sentence-transformers.
        base: Folder that relative paths are resolved against.

    Raises:
        ConfigError: If there is no such encoder on this machine.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = base / name
    if folder.is_dir():
        return folder
    caches = [Path(cache) for cache in (HF_HUB_CACHE, os.environ.get(CACHE_VARIABLE)) if cache]
    for repository in (name,) if "/" in name else (name, f"{OWNER}/{name}"):
        for cache in caches:
            try:
                # of a cache, only the library knows which of several versions is the current one
                return Path(snapshot_download(repository, cache_dir=cache, local_files_only=True))
            except (OSError, ValueError):  # not there, or no possible name of a repository
                continue
    looked = f"no folder {folder}, nor among {_held(caches)}"
    remedy = f"give the folder of an encoder, or download it once: hf download {name}"
    if folder.is_file():
        looked = "it is a file, not the folder of an encoder"
        remedy = f"give the folder that holds config.json, or use the file as embeddings: --features {name}"
    raise ConfigError(f"encoder {name} (--encoder)", f"is not on this machine: {looked}", remedy)


def _held(caches: list[Path]) -> str:
    """Return the models in the caches, in words."""
    words = []
    for cache in caches:
        names = sorted(
            path.name.removeprefix(_REPOSITORY).replace("--", "/") for path in cache.glob(f"{_REPOSITORY}*")
        )
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        words.append(f"the models in {cache} ({', '.join(names[:MAX_NAMES]) or 'none'}{more})")
    return " or ".join(words)
