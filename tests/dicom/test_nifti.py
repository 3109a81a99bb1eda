import gzip
from pathlib import Path

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.dicom.geometry import voxel_affine
from medai.dicom.nifti import write_nifti
from tests.dicom.nifti_file import read_nifti
from tests.dicom.slices import AXIAL, OBLIQUE, positions

TO_RAS = np.diag([-1.0, -1, 1, 1])


def affine_of(orientation: tuple[float, ...] = OBLIQUE) -> np.ndarray:
    return voxel_affine(positions(3, 2.5, orientation), np.array(orientation), np.array([0.5, 0.75]), 1.0)


def volume(dtype: str = "int16", channels: int = 1) -> np.ndarray:
    return np.arange(channels * 3 * 4 * 5).reshape(channels, 3, 4, 5).astype(dtype)


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_voxels_dtype_and_affine_come_back(tmp_path: Path, name: str, dtype: str) -> None:
    write_nifti(tmp_path / name, volume(dtype), affine_of())
    found = read_nifti(tmp_path / name)
    assert found.voxels.dtype == dtype
    np.testing.assert_array_equal(found.voxels, volume(dtype)[0].transpose(2, 1, 0))
    np.testing.assert_allclose(found.sform, TO_RAS @ affine_of(), atol=1e-5)
    np.testing.assert_allclose(found.qform, found.sform, atol=1e-3)  # a quaternion of three float32


def test_nibabel_reads_the_same(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    generator = np.random.default_rng(0)
    for index in range(50):
        rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]  # of both hands
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = rotation * generator.uniform(0.3, 5, 3), generator.normal(size=3) * 100
        write_nifti(tmp_path / f"{index}.nii.gz", volume(), affine)
        image = nibabel.load(tmp_path / f"{index}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), volume()[0].transpose(2, 1, 0))
        np.testing.assert_allclose(image.affine, TO_RAS @ affine, atol=1e-4)
        np.testing.assert_allclose(image.get_qform(), TO_RAS @ affine, atol=1e-3)
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-6)


def test_half_turns_have_a_quaternion(tmp_path: Path) -> None:
    for signs in ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1), (-1, 1, 1), (-1, -1, -1)):
        affine = np.diag([*np.array(signs) * [0.5, 0.7, 2.0], 1])
        write_nifti(tmp_path / "case.nii", volume(), affine)
        np.testing.assert_allclose(read_nifti(tmp_path / "case.nii").qform, TO_RAS @ affine, atol=1e-6)


def test_sheared_affine_has_no_qform(tmp_path: Path) -> None:
    affine = affine_of(AXIAL)
    affine[1, 2] = 0.4
    write_nifti(tmp_path / "case.nii", volume(), affine)
    found = read_nifti(tmp_path / "case.nii")
    assert found.qform is None
    np.testing.assert_allclose(found.sform, TO_RAS @ affine, atol=1e-6)


def test_colour_is_rgb24_and_other_channels_a_fifth_dimension(tmp_path: Path) -> None:
    write_nifti(tmp_path / "rgb.nii", volume("uint8", 3), affine_of())
    rgb = read_nifti(tmp_path / "rgb.nii").voxels
    assert rgb.shape == (5, 4, 3, 3)
    np.testing.assert_array_equal(rgb, volume("uint8", 3).transpose(3, 2, 1, 0))
    write_nifti(tmp_path / "deep.nii", volume("uint16", 3), affine_of())
    np.testing.assert_array_equal(read_nifti(tmp_path / "deep.nii").voxels, volume("uint16", 3).transpose(3, 2, 1, 0)[:, :, :, None])


def test_masks_are_bytes(tmp_path: Path) -> None:
    write_nifti(tmp_path / "mask.nii", volume() > 7, affine_of())
    np.testing.assert_array_equal(read_nifti(tmp_path / "mask.nii").voxels, (volume() > 7)[0].transpose(2, 1, 0))


def test_same_volume_gives_the_same_bytes_without_a_time_or_a_name(tmp_path: Path) -> None:
    for name in ("one.nii.gz", "two.nii.gz"):
        write_nifti(tmp_path / name, volume(), affine_of())
    one, two = (tmp_path / "one.nii.gz").read_bytes(), (tmp_path / "two.nii.gz").read_bytes()
    assert one == two and one[4:8] == bytes(4) and not one[3] & 8
    assert len(gzip.decompress(one)) == 352 + 2 * 3 * 4 * 5


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("case.img", np.zeros((1, 2, 2, 2), np.int16), "case.img must end in .nii or .nii.gz"),
        ("case.nii", np.zeros((2, 2, 2), np.int16), "NIfTI takes pixels"),
        ("case.nii", np.zeros((1, 0, 2, 2), np.int16), "NIfTI takes pixels"),
        ("case.nii", np.zeros((1, 2, 2, 2), np.int64), "NIfTI has no voxels of int64"),
    ],
)
def test_what_nifti_cannot_say_is_refused_and_leaves_no_file(tmp_path: Path, name: str, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        write_nifti(tmp_path / name, pixels, np.eye(4))
    assert not list(tmp_path.iterdir())
