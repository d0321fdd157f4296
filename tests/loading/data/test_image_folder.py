"""Image folders, and the pictures that a report shows of samples."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_datasets import npz_images, write_arrays, write_images

from cohaudit.config import Config
from cohaudit.errors import DataError
from cohaudit.loading.data import open_dataset
from cohaudit.loading.data._preview import array_preview


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_image_folder(tmp_path: Path, mode: str, channels: int) -> None:
    dataset = open_dataset(write_images(tmp_path, mode))
    assert dataset.ids == ["ant/a.png", "ant/z.png", "cat/b.png", "cat/deep/a.png"]
    assert (dataset.class_names, dataset.labels.tolist()) == (["ant", "cat"], [0, 0, 1, 1])
    batch = dataset.batch([3, 0])
    assert isinstance(batch, torch.Tensor)
    assert batch.shape == (2, channels, 5, 4)
    with Image.open(tmp_path / "pictures/cat/deep/a.png") as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(5, 4, channels)
    assert torch.equal(batch[0], torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255)


def test_grey_images_of_16_bit_keep_their_depth(tmp_path: Path) -> None:
    config = write_images(tmp_path)
    levels = np.array([[0, 1], [32768, 65535]], np.uint16)
    for path in (tmp_path / "pictures").rglob("*.png"):
        Image.fromarray(levels).save(path)
    batch = open_dataset(config).batch([0])
    assert isinstance(batch, torch.Tensor)
    assert torch.allclose(batch[0, 0], torch.from_numpy(levels.astype(np.float32) / 65535))


def test_one_color_image_makes_all_of_them_rgb(tmp_path: Path) -> None:
    config = write_images(tmp_path)
    Image.new("RGB", (4, 5), "red").save(tmp_path / "pictures/ant/a.png")
    batch = open_dataset(config).batch([0, 1])
    assert isinstance(batch, torch.Tensor)
    assert batch.shape == (2, 3, 5, 4)
    assert batch[0].mean(dim=(1, 2)).tolist() == [1.0, 0.0, 0.0]
    assert torch.equal(batch[1, 0], batch[1, 2])


def test_an_image_folder_follows_class_names_and_passes_over_hidden_files(tmp_path: Path) -> None:
    config = write_images(tmp_path, class_names=("cat", "ant"))
    (tmp_path / "pictures/ant/.DS_Store").write_bytes(b"x")
    (tmp_path / "pictures/.git").mkdir()
    (tmp_path / "pictures/README.txt").write_text("about")
    dataset = open_dataset(config)
    assert (dataset.class_names, dataset.labels.tolist()) == (["cat", "ant"], [1, 1, 0, 0])
    assert len(dataset) == 4


def test_what_operating_systems_leave_among_images_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_images(tmp_path)
    root = tmp_path / "pictures"
    for file in ("__MACOSX/ant/._0.png", "ant/.ipynb_checkpoints/0-checkpoint.png", "ant/Thumbs.db"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"not an image")
    Image.new("L", (4, 5)).save(root / "ant/.ipynb_checkpoints/copy.png")
    (root / "desktop.ini").write_text("[.ShellClassInfo]")
    with caplog.at_level("INFO"):
        dataset = open_dataset(config)
    assert dataset.class_names == ["ant", "cat"]
    assert len(dataset) == 4
    said = [message for message in caplog.messages if "left out" in message]
    assert said == ["left out, not images: __MACOSX, ant/.ipynb_checkpoints, ant/Thumbs.db (3)"]


def test_an_image_folder_follows_links(tmp_path: Path) -> None:
    config = write_images(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (4, 5)).save(tmp_path / "elsewhere/n.png")
    (tmp_path / "pictures/ant/linked").symlink_to(tmp_path / "elsewhere")
    assert "ant/linked/n.png" in open_dataset(config).ids


def test_fingerprint_changes_with_one_pixel_and_not_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (open_dataset(write_images(tmp_path / name)).fingerprint for name in "ab")
    assert first == second
    with Image.open(tmp_path / "b/pictures/ant/a.png") as image:
        image.putpixel((0, 0), 255 - image.getpixel((0, 0)))
        image.save(tmp_path / "b/pictures/ant/a.png")
    assert open_dataset(Config(data="pictures", base=tmp_path / "b")).fingerprint != first


def decode(uri: str) -> Image.Image:
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_photo_is_previewed_as_a_jpeg_and_a_small_image_exactly() -> None:
    rng = np.random.default_rng(0)
    photo = np.clip(rng.normal(128, 20, (200, 200, 3)).cumsum(0) % 256, 0, 255).astype(np.uint8)
    preview = array_preview(photo).image
    assert preview.startswith("data:image/jpeg;base64,")
    assert preview == array_preview(photo).image
    small = array_preview(photo[:64, :64]).image
    np.testing.assert_array_equal(np.asarray(decode(small)), photo[:64, :64])
    flat = array_preview(np.full((200, 200, 3), 7, np.uint8)).image
    assert decode(flat).size == (160, 160)


@pytest.mark.parametrize(
    ("images", "size", "mode"),
    [
        (np.full((2, 8, 9), 7, np.uint8), (9, 8), "L"),
        (np.full((2, 8, 9, 3), 7, np.uint8), (9, 8), "RGB"),
        (np.full((2, 100, 200), 7, np.uint8), (160, 80), "L"),
        (np.full((2, 3, 8, 9), 0.5, np.float32), (9, 8), "RGB"),
        (np.full((2, 1, 8, 9), -3.0, np.float32), (9, 8), "L"),
    ],
    ids=["grey", "color", "large", "floats", "one normalized value"],
)
def test_image_previews(tmp_path: Path, images: np.ndarray, size: tuple[int, int], mode: str) -> None:
    preview = open_dataset(write_arrays(tmp_path, images=images, labels=[0, 1])).preview(1)
    assert preview.kind == "image"
    image = decode(preview.image)
    assert (image.size, image.mode) == (size, mode)


def test_small_images_are_previewed_pixel_by_pixel(tmp_path: Path) -> None:
    config = npz_images(tmp_path)
    stored = np.load(tmp_path / "data.npz")["images"]
    assert np.array_equal(np.asarray(decode(open_dataset(config).preview(4).image)), stored[4])


def test_a_truncated_image_among_many_is_refused_when_read(tmp_path: Path) -> None:
    config = write_images(tmp_path, "RGB", (64, 64))
    whole = (tmp_path / "pictures/ant/a.png").read_bytes()
    for i in range(40):
        (tmp_path / f"pictures/ant/{i:02d}.png").write_bytes(whole[:2000] if i == 1 else whole)
    dataset = open_dataset(config)
    assert isinstance(dataset.batch([0, 2]), torch.Tensor)
    with pytest.raises(DataError, match=r"ant/01\.png: is not a readable image: .*truncated"):
        dataset.batch([0, 1])
    with pytest.raises(DataError, match=r"ant/01\.png: is not a readable image"):
        dataset.preview(1)


@pytest.mark.parametrize("pixels", [30, 60], ids=["error of Pillow", "warning of Pillow"])
def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    config = write_images(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "pictures/cat/large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(DataError, match=r"cat/large\.png: is too large"):
        open_dataset(config)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    config = write_images(tmp_path)
    (tmp_path / "pictures/dog").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"dog: is a broken link"):
        open_dataset(config)


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    config = write_images(tmp_path)
    (tmp_path / "pictures/ant/again").symlink_to(tmp_path / "pictures/ant")
    with pytest.raises(DataError, match=r"again: is a link back to .*ant\n"):
        open_dataset(config)


def test_float_images_in_the_unit_range_are_grey_levels(tmp_path: Path) -> None:
    for name, level in (("ant/a", 0.25), ("bee/b", 1.0)):
        (tmp_path / name).parent.mkdir()
        Image.new("F", (4, 4), level).save(tmp_path / f"{name}.tif")
    batch = open_dataset(Config(data=".", base=tmp_path)).batch([0, 1])
    assert isinstance(batch, torch.Tensor)
    assert batch.flatten(1).unique(dim=1).tolist() == [[0.25], [1.0]]


@pytest.mark.parametrize(("mode", "value"), [("I", 70000), ("I", -1), ("F", 1.5)])
def test_images_without_a_known_white_level_are_refused(tmp_path: Path, mode: str, value: float) -> None:
    for name in ("ant/a", "bee/b"):
        (tmp_path / name).parent.mkdir()
        Image.new(mode, (4, 4), value).save(tmp_path / f"{name}.tif")
    with pytest.raises(DataError, match=r"ant/a\.tif.* white level of its pixels is unknown"):
        open_dataset(Config(data=".", base=tmp_path))
