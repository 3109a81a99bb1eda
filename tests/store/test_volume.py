import pickle
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.store.volume import FOOTER, VolumePixels, pack_volume, volume_name, write_volume

SHAPES = [(1, 1, 1, 1), (1, 3, 70, 65), (1, 65, 64, 66), (2, 20, 33, 130)]


def volume(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    return (np.random.default_rng(0).normal(size=shape) * 300).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", ">i2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_volume_gives_back_every_voxel(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = volume(shape, dtype)
    assert write_volume(tmp_path / volume_name("a"), pixels) == (tmp_path / "pixels/a.b2nd").stat().st_size
    store = pickle.loads(pickle.dumps(VolumePixels(tmp_path)))
    back = store.read("a")
    assert back.dtype == pixels.dtype.newbyteorder("=") and store.shape("a") == shape
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize(
    "slices",
    [
        (),
        (slice(0, 1), slice(64, 65)),
        (slice(None), slice(3, 60), slice(60, 70), slice(0, 1)),
        (slice(None), slice(-1, None)),
        (slice(None), slice(5, 5)),
        (slice(None), slice(60, 1000)),
    ],
)
def test_a_part_equals_the_part_of_the_whole(slices: tuple[slice, ...], tmp_path: Path) -> None:
    pixels = volume((1, 100, 90, 80))
    write_volume(tmp_path / volume_name("a"), pixels)
    np.testing.assert_array_equal(VolumePixels(tmp_path).read("a", slices), pixels[slices])


def test_a_step_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / volume_name("a"), volume((1, 4, 4, 4)))
    with pytest.raises(MedaiError, match="expected a step of 1"):
        VolumePixels(tmp_path).read("a", (slice(None), slice(None, None, 2)))


def test_equal_voxels_give_equal_bytes_in_any_process_and_with_any_number_of_threads() -> None:
    code = (
        "import numpy as np, hashlib; from medai.store.volume import pack_volume;"
        "v = (np.random.default_rng(0).normal(size=(1, 70, 80, 90)) * 300).astype('int16');"
        "print(hashlib.sha256(pack_volume(v)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"BLOSC_NTHREADS": threads, "BLOSC_CLEVEL": threads, "PATH": ""},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(digests) == 1
    fortran = np.asfortranarray(volume((1, 70, 80, 90)))
    assert pack_volume(fortran) == pack_volume(volume((1, 70, 80, 90)))


def test_any_blosc2_reader_opens_the_file(tmp_path: Path) -> None:
    pixels = volume((1, 70, 80, 90))
    write_volume(tmp_path / "a.b2nd", pixels)
    array = blosc2.open(str(tmp_path / "a.b2nd"), mode="r")
    assert array.chunks == (1, 64, 64, 64) and array.blocks == (1, 16, 64, 64)
    np.testing.assert_array_equal(array[:], pixels)


def test_chunks_of_one_value_take_no_room_and_are_checked_too(tmp_path: Path) -> None:
    pixels = np.zeros((1, 130, 130, 130), np.int16)
    pixels[0, 70:, 70:, 70:] = volume((60, 60, 60))
    assert write_volume(tmp_path / volume_name("a"), pixels) < pixels.nbytes / 8
    np.testing.assert_array_equal(VolumePixels(tmp_path).read("a"), pixels)


def test_one_changed_byte_anywhere_is_noticed_and_the_case_is_named(tmp_path: Path) -> None:
    path = tmp_path / volume_name("case-7")
    write_volume(path, volume((1, 70, 66, 20)))
    good, store = path.read_bytes(), VolumePixels(tmp_path)
    for place in [
        *range(0, 250, 7),
        *np.linspace(250, len(good) - 1, 60).astype(int).tolist(),
        *range(len(good) - FOOTER.size, len(good), 5),
    ]:
        damaged = bytearray(good)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(MedaiError, match=r"the volume 'case-7' in .*case-7\.b2nd is damaged \(.*\); restore the file"):
            store.read("case-7")


def test_a_part_is_read_while_another_chunk_is_damaged(tmp_path: Path) -> None:
    path, pixels = tmp_path / volume_name("a"), volume((1, 128, 64, 64))
    write_volume(path, pixels)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) * 3 // 4] ^= 1
    path.write_bytes(damaged)
    store = VolumePixels(tmp_path)
    np.testing.assert_array_equal(store.read("a", (slice(None), slice(0, 64))), pixels[:, :64])
    with pytest.raises(MedaiError, match="checksum of chunk 1"):
        store.read("a")


def test_a_cut_an_empty_and_a_missing_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / volume_name("a")
    write_volume(path, volume((1, 9, 9, 9)))
    good, store = path.read_bytes(), VolumePixels(tmp_path)
    for length in (0, 10, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(MedaiError, match="is damaged"):
            store.read("a")
    with pytest.raises(MedaiError, match=r"none\.b2nd cannot be opened"):
        store.read("none")


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".hidden", "a b"])
def test_a_name_that_could_leave_the_folder_is_refused(name: str) -> None:
    with pytest.raises(MedaiError, match="the volume's name is"):
        volume_name(name)


def test_a_shape_that_is_no_volume_is_refused() -> None:
    for shape in [(3, 4, 5), (1, 0, 4, 4)]:
        with pytest.raises(MedaiError, match="expected"):
            pack_volume(np.zeros(shape, np.int16))


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / volume_name("a")
    write_volume(path, volume((1, 4, 4, 4)))
    good = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_volume(path, volume((1, 5, 5, 5)))
    assert path.read_bytes() == good and len(list(path.parent.iterdir())) == 1
