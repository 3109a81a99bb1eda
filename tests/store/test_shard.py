from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.store.shard import NativePixels, ShardWriter, pack, unpack

SHAPES = [(1, 1, 1), (1, 28, 28), (3, 17, 5), (1, 700, 901)]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_gives_back_every_bit(dtype: str, shape: tuple[int, int, int]) -> None:
    pixels = (np.random.default_rng(0).normal(size=shape) * 100).astype(dtype)
    back = unpack(pack(pixels))
    assert back.dtype == pixels.dtype and back.shape == shape and (back == pixels).all()


def test_big_endian_and_strided_pixels_give_the_same_values() -> None:
    pixels = np.arange(60, dtype=">i2").reshape(1, 6, 10)[:, ::2]
    assert (unpack(pack(pixels)) == pixels).all()


def test_equal_pixels_give_equal_bytes() -> None:
    pixels = np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)
    assert pack(pixels) == pack(pixels.copy())


@pytest.mark.parametrize("place", [0, 5, 9, 20, 27, 35, 41, -1])
def test_one_changed_bit_anywhere_is_noticed(place: int) -> None:
    record = bytearray(pack(np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)))
    record[place] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        unpack(bytes(record))


def _shard(folder: Path) -> list[tuple[int, int]]:
    (folder / "pixels").mkdir()
    with open(folder / "pixels/00003.shard", "wb") as stream:
        writer = ShardWriter(stream)
        places = [writer.append(np.full((1, 4, 4), value, dtype=np.int16)) for value in range(5)]
    frame = pl.DataFrame({"case_id": [f"case-{index}" for index in range(5)], "shard": [3] * 5, "offset": [offset for offset, _ in places]})
    frame.write_parquet(folder / "cases.parquet")
    return places


def test_records_are_read_in_any_order(tmp_path: Path) -> None:
    places = _shard(tmp_path)
    store = NativePixels(tmp_path)
    for value in (4, 0, 2):
        assert (store.read(3, *places[value]) == value).all()


def test_a_damaged_record_names_its_case(tmp_path: Path) -> None:
    places = _shard(tmp_path)
    path = tmp_path / "pixels/00003.shard"
    data = bytearray(path.read_bytes())
    data[places[2][0] + 45] ^= 255
    path.write_bytes(data)
    store = NativePixels(tmp_path)
    with pytest.raises(MedaiError, match=r"pixels of case 'case-2' in .* are damaged"):
        store.read(3, *places[2])
    assert (store.read(3, *places[3]) == 3).all()
    path.write_bytes(data[: places[4][0] + 10])
    with pytest.raises(MedaiError, match="case 'case-4'"):
        store.read(3, *places[4])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"00007.shard cannot be opened"):
        NativePixels(tmp_path).read(7, 0, 10)
