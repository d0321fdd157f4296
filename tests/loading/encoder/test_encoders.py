"""Encoders give the vectors that their libraries give, offline, and what is no encoder is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.encoders import SIDE, save_bert, save_clip, save_sentence_bert, save_vit

from cohaudit.errors import ConfigError, DataError, ModelError
from cohaudit.loading.encoder import Encoder, open_encoder

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

pytestmark = [pytest.mark.usefixtures("no_network"), pytest.mark.filterwarnings("ignore")]

CPU = torch.device("cpu")
TEXTS = ["the red car", "the very very old house is very new", "", "blue unknownword", "new " * 60]


def images(count: int = 5) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]


def embed(encoder: Encoder, raws: list[Any]) -> np.ndarray[Any, Any]:
    return encoder.embed(raws, [f"sample {i}" for i in range(len(raws))], CPU)


def opened(folder: Path, raw: Any = "a text") -> Encoder:
    return open_encoder(str(folder), Path.cwd(), raw, "sample 0")


def test_texts_in_a_batch_get_the_means_that_each_gets_alone(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = save_bert(tmp_path / "bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        alone = [
            model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(0)
            for text in TEXTS
        ]
    found = opened(folder)
    assert (found.images, found.width) == (False, 32)
    np.testing.assert_allclose(embed(found, TEXTS), torch.stack(alone).numpy(), atol=1e-5)
    np.testing.assert_array_equal(embed(found, TEXTS), embed(opened(folder), TEXTS))


def test_sentence_transformers_keep_their_own_pooling(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save_sentence_bert(tmp_path / "sentences", tmp_path / "bert")
    found = opened(folder)
    assert found.width == 12
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    vectors = embed(found, TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_images_get_the_mean_of_the_positions(tmp_path: Path) -> None:
    from transformers import ViTModel

    folder = save_vit(tmp_path / "vit")
    model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    pixels = torch.from_numpy(np.stack(images())).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = model(pixel_values=(pixels - 0.5) / 0.5).last_hidden_state.mean(1).numpy()
    found = opened(folder, images()[0])
    assert (found.images, found.width) == (True, 32)
    np.testing.assert_allclose(embed(found, images()), expected, atol=1e-5)


def test_a_model_of_texts_and_images_gives_its_projections(tmp_path: Path) -> None:
    found = opened(save_clip(tmp_path / "clip"), images()[0])
    assert found.width == 8
    assert embed(found, images()).std(0).min() > 0


def test_one_image_is_the_same_as_a_file_an_array_or_a_tensor(tmp_path: Path) -> None:
    pixels = images(1)[0]
    chw = np.moveaxis(pixels, -1, 0)
    kinds = [Image.fromarray(pixels), pixels, chw, torch.from_numpy(chw.astype(np.float32) / 255)]
    vectors = embed(opened(save_vit(tmp_path / "vit"), pixels), kinds)
    np.testing.assert_array_equal(vectors, np.repeat(vectors[:1], 4, axis=0))


def test_random_numbers_and_settings_of_the_libraries_are_left_alone(tmp_path: Path) -> None:
    from huggingface_hub import constants
    from transformers.utils import logging

    folder = save_bert(tmp_path / "bert")
    before = (constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled())
    state = torch.random.get_rng_state()
    embed(opened(folder), TEXTS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert before == (constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled())


@pytest.mark.parametrize("name", ["owner/tiny", "tiny"])
def test_a_name_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner = "owner" if "/" in name else "sentence-transformers"
    repository = tmp_path / "cache" / f"models--{owner}--tiny"
    save_bert(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert embed(open_encoder(name, tmp_path, "a text", "sample 0"), TEXTS).shape == (5, 32)


def test_a_name_that_is_not_there_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache" / "models--owner--other").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match="not on this machine") as raised:
        open_encoder("owner/tiny", tmp_path, "a text", "sample 0")
    assert str(tmp_path / "owner/tiny") in raised.value.found
    assert f"{tmp_path / 'cache'} (owner/other)" in raised.value.found
    assert "hf download owner/tiny" in raised.value.remedy


def without_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def as_pickle(folder: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def of_no_known_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nonsense"}))


def without_padding(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


SPOILED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight is missing": (without_weights, "lacks 1 of the weights"),
    "pickled weights": (as_pickle, "pickles can run code"),
    "half a file": (cut_short, "cannot be loaded"),
    "unknown model": (of_no_known_type, "nonsense"),
    "no padding": (without_padding, "no token to fill"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_cannot_be_loaded_is_refused(tmp_path: Path, case: str) -> None:
    spoil, words = SPOILED[case]
    folder = save_bert(tmp_path / "bert")
    spoil(folder)
    with pytest.raises(ModelError, match=words):
        opened(folder)


def test_pickled_weights_are_usable_once_their_library_has_saved_them_again(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = save_bert(tmp_path / "bert")
    expected = embed(opened(folder), TEXTS)
    as_pickle(folder)
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "again")
    np.testing.assert_array_equal(embed(opened(tmp_path / "again"), TEXTS), expected)


def test_an_encoder_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not take images"):
        opened(save_bert(tmp_path / "bert"), images()[0])
    with pytest.raises(ModelError, match="does not take texts"):
        opened(save_vit(tmp_path / "vit"), "a text")


def test_a_sample_of_another_kind_is_named(tmp_path: Path) -> None:
    encoder = opened(save_bert(tmp_path / "bert"))
    with pytest.raises(DataError, match=r"sample 1: is not a text.*float64 of shape \[3\]"):
        embed(encoder, ["a text", np.zeros(3)])
