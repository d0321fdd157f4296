"""Folders that could run code, or hold no encoder, are refused by reading them; no library is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cohaudit.errors import MissingExtraError, ModelError
from cohaudit.loading.encoder import open_encoder
from cohaudit.loading.encoder._check import check_folder

POOLING = "sentence_transformers.models.Pooling"


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace("_bin", ".bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def modules(*types: Any) -> list[dict[str, Any]]:
    return [{"idx": i, "name": str(i), "path": f"part{i}", "type": kind} for i, kind in enumerate(types)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"readme": "x"}, "neither modules.json nor config.json"),
    "own code": ({"config_json": {"auto_map": {"AutoModel": "evil.Model"}}}, "never run"),
    "own code, nested": ({"config_json": {"a": [{"auto_map": {}}]}}, "never run"),
    "own tokenizer": (
        {"config_json": {}, "tokenizer_config_json": {"auto_map": {}}},
        "tokenizer_config.json",
    ),
    "kernels": ({"config_json": {"text_config": {"_attn_implementation": "owner/kernels"}}}, "never run"),
    "adapter": ({"config_json": {}, "adapter_config_json": {}}, "adapter of another model"),
    "not JSON": ({"config_json": "{"}, "cannot be read as JSON"),
    "deep JSON": ({"config_json": "[" * 100_000}, "cannot be read as JSON"),
    "pickles": ({"config_json": {}, "pytorch_model_bin": "x"}, "pickles can run code"),
    "own module": ({"modules_json": modules(POOLING, "evil.Module")}, "evil.Module"),
    "module by prefix": ({"modules_json": modules("sentence_transformers_evil.Pooling")}, "evil"),
    "module of the library": ({"modules_json": modules("sentence_transformers.util.Router")}, "Router"),
    "no list": ({"modules_json": {"a": 1}}, "not a list of modules"),
    "no type": ({"modules_json": modules(None)}, "None"),
    "pickled part": ({"modules_json": modules(POOLING), "part0__pytorch_model_bin": "x"}, "pickles"),
    "part with code": (
        {"modules_json": modules(POOLING), "part0__config_json": {"auto_map": 1}},
        "never run",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_are_refused(tmp_path: Path, case: str) -> None:
    files, words = REFUSED[case]
    with pytest.raises(ModelError, match=words):
        check_folder(write(tmp_path, **files), "encoder tiny")


def test_plain_folders_pass(tmp_path: Path) -> None:
    write(tmp_path / "a", config_json={"_attn_implementation": "sdpa"}, vocab_bin="x", a="x")
    (tmp_path / "a" / "model.safetensors").write_bytes(b"")
    check_folder(tmp_path / "a", "a")
    check_folder(write(tmp_path / "b", modules_json=modules(POOLING), part0__config_json={}), "b")


def test_without_the_libraries_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"transformers\n.*pip install 'cohaudit\[encoders\]'"):
        open_encoder("tiny", tmp_path, "a text", "sample 0")
