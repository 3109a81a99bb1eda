"""Ordinary pictures become (C, H, W) arrays, or a reason."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medai.core.error import Refusal
from medai.core.picture import read_picture


def test_grey_colour_and_sixteen_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    deep = grey.astype(np.uint16) * 1000
    colour = np.stack([grey, grey + 1, grey + 2], axis=-1)
    for name, array in (("grey", grey), ("deep", deep), ("colour", colour)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    assert np.array_equal(read_picture(tmp_path / "grey.png"), grey[None])
    assert np.array_equal(read_picture(tmp_path / "deep.png"), deep[None])
    assert np.array_equal(read_picture(tmp_path / "colour.png"), np.moveaxis(colour, -1, 0))


def test_equal_colour_channels_are_grey(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").shape == (1, 3, 4)


@pytest.mark.parametrize(("content", "code"), [(b"no picture", "unreadable-picture"), (b"", "unreadable-picture"), (None, "missing-file")])
def test_what_is_no_picture_is_refused_with_a_code(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Refusal) as refusal:
        read_picture(tmp_path / "a.png")
    assert refusal.value.code == code


def test_a_truncated_png_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    with pytest.raises(Refusal, match="cannot be read as a picture"):
        read_picture(tmp_path / "b.png")


def test_arrays_are_read_without_pickle_and_need_a_picture_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 6), np.int16))
    assert read_picture(tmp_path / "a.npy").shape == (1, 5, 6)
    np.save(tmp_path / "b.npy", np.zeros((2, 5, 6)))
    with pytest.raises(Refusal, match="expected numbers of shape"):
        read_picture(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Refusal, match="cannot be read as an array"):
        read_picture(tmp_path / "c.npy")


def test_a_file_of_several_pictures_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 200)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(Refusal, match="holds 2 pictures"):
        read_picture(tmp_path / "a.tif")
