import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import Refusal
from medai.dicom.geometry import voxel_affine
from medai.dicom.instance import INSTANCE_SCHEMA
from medai.dicom.nifti import write_nifti
from medai.dicom.scan import scan_header
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack import Stacks, frame_items, group_instances, read_frame_table
from medai.dicom.volume import Volume, read_volume, straighten
from tests.dicom.nifti_file import canonical, read_nifti
from tests.dicom.slices import AXIAL, CORONAL, OBLIQUE, SAGITTAL, enhanced_dataset, positions, slice_dataset, write_series

SPACING = np.array([0.5, 0.75])


def stored(depth: int = 5, dtype: str = "uint16") -> np.ndarray:
    return np.arange(depth * 4 * 6, dtype=dtype).reshape(depth, 4, 6)


def read(folder: Path, names: list[str], **options: Any) -> Volume:
    return read_volume(names, opener=lambda name: folder / name, **options)


def refusal_of(folder: Path, names: list[str], **options: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(folder, names, **options)
    assert str(folder) not in caught.value.message and "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("plane", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
@pytest.mark.parametrize("mirrored", [False, True])
def test_every_voxel_lies_where_its_slice_said(tmp_path: Path, plane: tuple[float, ...], mirrored: bool) -> None:
    direction = np.array(plane) * ([-1, -1, -1, 1, 1, 1] if mirrored else [1] * 6)
    place = positions(5, 2.0, direction)
    names = write_series(tmp_path, stored(), place, ImageOrientationPatient=direction.tolist())
    volume = read(tmp_path, sorted(names))
    source = voxel_affine(place, direction, SPACING, 1.0)
    where = {int(value): source @ [w, h, d, 1] for (d, h, w), value in np.ndenumerate(stored())}
    assert volume.pixels.dtype == np.uint16 and volume.pixels.shape[0] == 1
    for (_, d, h, w), value in np.ndenumerate(volume.pixels):
        np.testing.assert_allclose(volume.affine @ [w, h, d, 1], where[int(value)], atol=1e-4)
    towards = np.diag(volume.affine)[:3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    assert (towards > 0.7).all()  # W towards L, H towards P, D towards S


def test_spacing_is_given_along_depth_height_width(tmp_path: Path) -> None:
    volume = read(tmp_path, write_series(tmp_path, stored(), positions(5)))
    assert volume.spacing_mm == pytest.approx((2.0, 0.5, 0.75))
    np.testing.assert_array_equal(volume.pixels[0], stored())
    assert volume.attributes["Modality"] == "CT" and volume.figures.slices.tolist() == [5]


def test_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(), positions(5))
    np.testing.assert_array_equal(read(tmp_path, names).pixels, read(tmp_path, names[::-1]).pixels)


def test_rescale_of_each_slice_is_honoured(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(3), positions(3))
    slope = [1.0, 0.5, 2.0]
    for name, piece, place, factor in zip(names, stored(3), positions(3), slope, strict=True):
        slice_dataset(piece, place, RescaleSlope=factor, RescaleIntercept=-10).save_as(tmp_path / name, enforce_file_format=True)
    pixels = read(tmp_path, names).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0], stored(3) * np.array(slope)[:, None, None] - 10)


def test_whole_numbers_stay_whole_in_one_type_that_holds_all_slices(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(2), positions(2))
    for intercept, dtype in ((-100, np.int16), (60_000, np.uint16), (100_000, np.int32)):
        second = slice_dataset(stored(2)[1], positions(2)[1], RescaleSlope=1, RescaleIntercept=intercept)
        second.save_as(tmp_path / names[1], enforce_file_format=True)
        pixels = read(tmp_path, names).pixels
        assert pixels.dtype == dtype
        np.testing.assert_array_equal(pixels[0, 1], stored(2)[1].astype(int) + intercept)
        np.testing.assert_array_equal(pixels[0, 0], stored(2)[0])


def test_single_slice_is_as_deep_as_it_is_thick(tmp_path: Path) -> None:
    volume = read(tmp_path, write_series(tmp_path, stored(1), positions(1), SliceThickness=3.0))
    assert volume.pixels.shape == (1, 1, 4, 6) and volume.spacing_mm == pytest.approx((3.0, 0.5, 0.75))


def test_frames_of_an_enhanced_file_are_placed_by_their_groups_and_rescaled_each(tmp_path: Path) -> None:
    place = positions(5)[[3, 0, 4, 1, 2]]
    groups = [{"slope": 1.5 + index} for index in range(5)]
    enhanced_dataset(stored(), place, groups).save_as(tmp_path / "mr.dcm", enforce_file_format=True)
    whole = read(tmp_path, ["mr.dcm"])
    expected = stored() * np.array([1.5, 2.5, 3.5, 4.5, 5.5])[:, None, None]
    np.testing.assert_allclose(whole.pixels[0], expected[[1, 3, 4, 0, 2]])
    part = read_volume(["mr.dcm"] * 3, [3, 1, 4], lambda name: tmp_path / name)
    np.testing.assert_allclose(part.pixels[0], expected[[1, 3, 4]])
    assert whole.spacing_mm == pytest.approx((2.0, 0.5, 0.75))


def test_bytes_are_read_as_well_as_paths(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(), positions(5))
    volume = read_volume(names, opener=lambda name: (tmp_path / name).read_bytes())
    np.testing.assert_array_equal(volume.pixels[0], stored())


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("mixed-shape", {"Rows": 2, "PixelData": bytes(24)}),
        ("mixed-shape", {"PixelSpacing": [0.6, 0.75]}),
        ("mixed-orientation", {"ImageOrientationPatient": list(OBLIQUE)}),
        ("no-geometry", {"ImagePositionPatient": None}),
        ("no-geometry", {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}),
        ("no-geometry", {"PixelSpacing": [0, 0.75]}),
        ("duplicate-positions", {"ImagePositionPatient": [-10, -20, 7]}),
        ("uneven-spacing", {"ImagePositionPatient": [-10, -20, 9.7]}),
        ("jitter", {"ImagePositionPatient": [-9, -20, 9]}),
    ],
)
def test_files_that_changed_since_the_scan_are_judged_again(tmp_path: Path, code: str, change: dict[str, Any]) -> None:
    names = write_series(tmp_path, stored(), positions(5))
    slice_dataset(stored()[2], positions(5)[2], **change).save_as(tmp_path / names[2], enforce_file_format=True)
    assert refusal_of(tmp_path, names).code == code


def test_missing_slice_and_multi_frame_without_groups_are_refused(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(), positions(5))
    assert refusal_of(tmp_path, names[:2] + names[3:]).code == "missing-slices"
    clip = slice_dataset(stored(1)[0], positions(1)[0], NumberOfFrames=2, PixelData=stored(2).tobytes())
    clip.save_as(tmp_path / "clip.dcm", enforce_file_format=True)
    assert refusal_of(tmp_path, ["clip.dcm"]).code == "multi-frame"


def tilted(depth: int, degrees: float) -> np.ndarray:
    place = positions(depth)
    place[:, 1] -= np.tan(np.radians(degrees)) * (place[:, 2] - place[0, 2])
    return place


def test_tilted_stack_is_refused_or_sheared_back(tmp_path: Path) -> None:
    """A plane in space, linear in x, y, z, is what linear interpolation restores without an error."""
    place = tilted(9, 20)
    rows, columns = np.mgrid[:20, :16]
    ramp = np.stack([1000 + 40 * (p[0] + columns * 0.75) + 60 * (p[1] + rows * 0.5) + 30 * p[2] for p in place])
    names = write_series(tmp_path, np.rint(ramp).astype(np.int16), place)
    assert refusal_of(tmp_path, names).code == "gantry-tilt"
    volume = read(tmp_path, names, tilt="resample")
    assert volume.pixels.dtype == np.int16 and volume.pixels.shape == (1, 9, 20 + 12, 16)  # 16 mm x tan 20 / 0.5 mm = 11.6
    step = volume.affine[:3, :3]
    np.testing.assert_allclose(step, np.diag([0.75, 0.5, 2.0]), atol=1e-6)
    depth, height, width = np.mgrid[:9, :32, :16]
    x, y, z = np.moveaxis(np.stack([width, height, depth, np.ones_like(width)], axis=-1) @ volume.affine[:3].T, -1, 0)
    inside = volume.pixels[0] > volume.pixels.min()
    expected = 1000 + 40 * x + 60 * y + 30 * z
    for index in range(9):
        rows_in = np.flatnonzero(inside[index].all(axis=1))[1:-1]  # the outermost blend with the fill
        assert len(rows_in) >= 16
        np.testing.assert_allclose(volume.pixels[0, index, rows_in], expected[index, rows_in], atol=1.01)
    assert volume.figures.tilt_degrees[0] == pytest.approx(20, abs=1e-3)


def test_straightening_a_whole_number_of_voxels_moves_values_without_changing_them() -> None:
    affine = voxel_affine(positions(3, 2.0), np.array(AXIAL), np.array([0.5, 0.5]), 1.0)
    affine[:3, 2] += [0.5, -1.0, 0]  # one column to the left, two rows forward
    grown, straight = straighten(stored(3)[None] + 1, affine)
    assert grown.shape == (1, 3, 8, 8) and grown.min() == 1
    np.testing.assert_allclose(straight[:3, 2], [0, 0, 2], atol=1e-12)
    for index in range(3):
        np.testing.assert_array_equal(grown[0, index, 4 - 2 * index : 8 - 2 * index, index : 6 + index], stored(3)[index] + 1)
    at = straight @ [0, 4, 0, 1]
    np.testing.assert_allclose(at, affine @ [0, 0, 0, 1])


def test_tilt_that_would_blow_up_the_slices_is_refused_even_to_be_resampled(tmp_path: Path) -> None:
    names = write_series(tmp_path, stored(), tilted(5, 80))
    assert refusal_of(tmp_path, names, tilt="resample").code == "gantry-tilt"


def ground_truths() -> list[Path]:
    folder = Path(os.environ.get("MEDAI_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    base = folder / "dicom2nifti-data" / "tests" / "data"
    found = [path for path in sorted(base.rglob("*_ground_truth.nii.gz")) if not {"dti", "fmri"} & set(path.parts)]
    return [path.relative_to(folder) for path in [*found, *sorted((folder / "dcm_qa_ts" / "Ref").glob("*.nii"))]] or [Path("absent")]


def stacks_of(folder: Path, files: list[Path], **rules: Any) -> Stacks:
    found = [{"item": str(file.relative_to(folder)), "size": 1, "mtime_ns": 0, **scan_header(file)} for file in files]
    instances, chosen = pl.DataFrame(found, schema=INSTANCE_SCHEMA), SeriesRules.of(rules)
    return group_instances(instances, chosen, frames=read_frame_table(frame_items(instances, chosen), lambda item: folder / item))


@pytest.mark.parametrize("truth", ground_truths(), ids=str)
def test_volume_equals_its_ground_truth(shared_data: Path, truth: Path, tmp_path: Path) -> None:
    if "Ref" in truth.parts:
        files = [shared_data / truth.parent.parent / "In" / f"{truth.stem}.dcm"]
    else:
        files = sorted((shared_data / truth.parent / truth.name.removesuffix("_ground_truth.nii.gz")).iterdir())
    stacks = stacks_of(shared_data, files, volumes="always")
    assert len(stacks.cases) == 1, stacks.refused
    case = stacks.cases.row(0, named=True)
    volume = read_volume(case["items"], case["frames"], lambda item: shared_data / item)
    write_nifti(tmp_path / "case.nii.gz", volume.pixels, volume.affine)
    ours, theirs = read_nifti(tmp_path / "case.nii.gz"), read_nifti(shared_data / truth)
    voxels, affine = canonical(ours.voxels, ours.sform)
    expected, expected_affine = canonical(theirs.voxels, theirs.sform)
    if volume.pixels.shape[0] == 3:
        expected = expected[..., :3]  # RGBA
    expected = expected.reshape(voxels.shape)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-3)
    if voxels.dtype.kind == "f":
        np.testing.assert_allclose(voxels, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(voxels, expected)


def test_series_that_others_fail_on_are_read_or_refused_with_a_reason(shared_data: Path) -> None:
    folder = shared_data / "dicom2nifti-data" / "tests" / "data" / "failing"
    stacks = stacks_of(folder, sorted(folder.rglob("*.dcm")))
    assert stacks.cases["slices"].to_list() == [2]
    assert stacks.refused.group_by("code").len().rows() == [("missing-slices", 4)]


def test_any_file_is_a_case_or_a_reason(shared_data: Path) -> None:
    folder = shared_data / "pydicom-test_files"
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    stacks = stacks_of(folder, files)
    used = set(stacks.cases["items"].explode())
    assert len(used) + len(stacks.refused) == len(files) and not used & set(stacks.refused["item"])
    for case in stacks.cases.filter(pl.col("kind") == "volume").iter_rows(named=True):
        with suppress(Refusal):
            assert read_volume(case["items"], case["frames"], lambda item: folder / item).pixels.size
