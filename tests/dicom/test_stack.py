from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.dicom.instance import INSTANCE_SCHEMA
from medai.dicom.scan import scan_header
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack import (
    CASE_SCHEMA,
    FRAME_SCHEMA,
    SERIES_SCHEMA,
    STACK_REFUSED_SCHEMA,
    Stacks,
    frame_items,
    frame_table,
    group_instances,
    judge_studies,
    put_together,
    read_frame_table,
)
from tests.dicom.slices import AXIAL, CORONAL, OBLIQUE, SAGITTAL, enhanced_dataset, positions, rows


def grouped(*frames: pl.DataFrame, tilt: str = "quarantine", **rules: Any) -> Stacks:
    """Group, and check what holds always: each file is in a case or refused, and the columns are as promised."""
    instances = pl.concat(frames)
    instances = instances.sample(fraction=1, shuffle=True, seed=0)
    stacks = group_instances(instances, SeriesRules.of(rules), tilt)
    used = stacks.cases["items"].explode().unique().to_list()
    assert sorted(used + stacks.refused["item"].to_list()) == sorted(instances["item"])
    assert stacks.cases.schema == CASE_SCHEMA and stacks.refused.schema == STACK_REFUSED_SCHEMA and stacks.series.schema == SERIES_SCHEMA
    assert stacks.cases["stack"].is_unique().all()
    return stacks


def codes(stacks: Stacks) -> list[str]:
    return sorted(stacks.refused["code"].unique())


def only_volume(stacks: Stacks) -> dict[str, Any]:
    assert stacks.cases["kind"].to_list() == ["volume"], (stacks.cases, stacks.refused)
    return stacks.cases.row(0, named=True)


def test_even_series_is_one_volume_with_its_figures() -> None:
    case = only_volume(grouped(rows(positions(5, 2.5))))
    assert case["case"] == case["stack"] == "1.2.3" and case["part"] is None
    assert (case["slices"], case["rows"], case["columns"], case["size"]) == (5, 64, 48, 5000)
    assert case["spacing_mm"] == pytest.approx(2.5) and case["missing"] == 0 and case["duplicates"] == 0
    assert max(case[name] for name in ("spacing_deviation", "orientation_deviation", "jitter_mm", "tilt_degrees")) < 1e-9
    assert case["frames"] == [0] * 5


def test_order_follows_the_position_and_not_the_instance_number() -> None:
    reverse = only_volume(grouped(rows(positions(4)[::-1])))
    assert reverse["items"] == ["1.2.3/0003", "1.2.3/0002", "1.2.3/0001", "1.2.3/0000"]
    shuffled = only_volume(grouped(rows(positions(4), instance_number=[3, 1, 4, 2])))
    assert shuffled["items"] == ["1.2.3/0000", "1.2.3/0001", "1.2.3/0002", "1.2.3/0003"]


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_every_plane_is_stacked_along_its_normal(orientation: tuple[float, ...]) -> None:
    frame = rows(positions(6, 3.0, orientation), orientation=[list(orientation)] * 6)
    case = only_volume(grouped(frame))
    assert case["items"] == frame["item"].to_list()
    assert case["spacing_mm"] == pytest.approx(3.0) and case["tilt_degrees"] < 1e-6


def test_result_does_not_depend_on_the_order_of_the_rows() -> None:
    frame = rows(np.tile(positions(4), (2, 1)), echo_time=[5.0] * 4 + [9.0] * 4)
    one, two = (group_instances(order, SeriesRules()) for order in (frame, frame.reverse()))
    assert one.cases.equals(two.cases) and one.refused.equals(two.refused)


def test_gap_of_a_multiple_is_told_as_missing_slices() -> None:
    stacks = grouped(rows(np.delete(positions(10), [4, 5], axis=0)))
    assert codes(stacks) == ["missing-slices"]
    assert stacks.refused["message"][0] == "8 slices are 2.000 mm apart, but for gaps that lack 2"
    assert stacks.series["missing"].to_list() == [2]
    assert stacks.refused["stack"].unique().to_list() == ["1.2.3"]


def test_uneven_spacing_is_refused_beyond_one_per_cent() -> None:
    place = positions(6)
    place[3, 2] += 0.018
    assert len(grouped(rows(place)).cases) == 1
    place[3, 2] += 0.006
    stacks = grouped(rows(place))
    assert codes(stacks) == ["uneven-spacing"]
    assert "deviate by 1.2% from 2.000 mm" in stacks.refused["message"][0]


def test_gap_of_a_multiple_beside_an_uneven_step_is_uneven() -> None:
    place = np.delete(positions(10), 4, axis=0)
    place[7:, 2] += 0.6
    assert codes(grouped(rows(place))) == ["uneven-spacing"]


def test_second_slice_at_a_place_without_a_tag_is_refused() -> None:
    stacks = grouped(rows(np.concatenate([positions(5), positions(5)[2:3]])))
    assert codes(stacks) == ["duplicate-positions"]
    assert stacks.refused["message"][0] == "1 of 6 slices lie where another lies, and no tag tells them apart"


def test_copies_of_a_file_are_no_slices() -> None:
    twice = rows(positions(5))
    copy = twice[1:2].with_columns(item=pl.lit("1.2.3/copy"))
    moved = twice[2:3].with_columns(item=pl.lit("1.2.3/moved"), position=pl.lit([0.0, 0.0, 99.0]))
    stacks = grouped(twice, copy, moved)
    assert only_volume(stacks)["slices"] == 5
    assert dict(stacks.refused.select("item", "code").iter_rows()) == {
        "1.2.3/copy": "duplicate-instance",
        "1.2.3/moved": "contradicting-instance",
    }


def test_jitter_within_the_plane_is_refused_beyond_a_tenth_of_a_millimetre() -> None:
    place = positions(9)
    place[4, 0] += 0.1
    assert len(grouped(rows(place)).cases) == 1
    place[4, 0] += 0.1
    stacks = grouped(rows(place))
    assert codes(stacks) == ["jitter"] and stacks.series["jitter_mm"][0] == pytest.approx(0.2 * 8 / 9)


def test_gantry_tilt_is_measured_and_kept_only_to_be_resampled() -> None:
    place = positions(9)
    place[:, 1] += np.tan(np.radians(15)) * (place[:, 2] - place[0, 2])
    frame = rows(place, gantry_tilt=15.0)
    stacks = grouped(frame)
    assert codes(stacks) == ["gantry-tilt"]
    assert stacks.series["tilt_degrees"][0] == pytest.approx(15)
    assert "15.00 degrees" in stacks.refused["message"][0]
    case = only_volume(grouped(frame, tilt="resample"))
    assert case["tilt_degrees"] == pytest.approx(15) and case["gantry_tilt"] == 15


def test_drifting_planes_are_mixed_orientation() -> None:
    turned = [[float(np.cos(angle)), 0.0, float(np.sin(angle)), 0.0, 1.0, 0.0] for angle in np.radians(np.arange(8))]
    assert codes(grouped(rows(positions(8), orientation=turned))) == ["mixed-orientation"]


def test_planes_of_one_series_are_split() -> None:
    places = [positions(4, 2.0, plane) for plane in (AXIAL, CORONAL, SAGITTAL)]
    planes = [list(plane) for plane in (AXIAL, CORONAL, SAGITTAL) for _ in range(4)]
    cases = grouped(rows(np.concatenate(places), orientation=planes)).cases
    assert cases["slices"].to_list() == [4, 4, 4]
    assert sorted(cases["part"]) == ["orientation 1", "orientation 2", "orientation 3"]
    assert sorted(cases["case"])[0] == "1.2.3/orientation 1"


def test_single_slice_of_another_plane_or_shape_is_refused_beside_a_stack() -> None:
    plane = grouped(rows(positions(6), orientation=[list(AXIAL)] * 5 + [list(CORONAL)]))
    assert plane.cases["slices"].to_list() == [5] and codes(plane) == ["mixed-orientation"]
    shape = grouped(rows(positions(6), rows=[64] * 5 + [32]))
    assert shape.cases["slices"].to_list() == [5] and codes(shape) == ["mixed-shape"]
    assert shape.refused["message"][0] == "a slice of 32 x 48 in a series of 64 x 48"
    other = grouped(rows(positions(6), image_type=["ORIGINAL\\PRIMARY"] * 5 + ["DERIVED\\SECONDARY"]))
    assert other.cases["slices"].to_list() == [5] and codes(other) == ["too-few-slices"]


def test_shapes_of_one_series_are_split() -> None:
    cases = grouped(rows(positions(8), rows=[64] * 4 + [32] * 4)).cases
    assert sorted(cases["part"]) == ["32 x 48 x 1", "64 x 48 x 1"]


def test_localiser_in_a_series_is_left_out_by_default() -> None:
    types = ["ORIGINAL\\PRIMARY\\LOCALIZER", *["ORIGINAL\\PRIMARY\\AXIAL"] * 5]
    frame = rows(np.concatenate([[[0.0, 0, 0]], positions(5)]), image_type=types, orientation=[list(CORONAL)] + [list(AXIAL)] * 5)
    stacks = grouped(frame)
    assert only_volume(stacks)["slices"] == 5
    assert stacks.refused["message"].to_list() == ["rules.not_image_type leaves it out: the image type is LOCALIZER"]


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("echo_number", [1, 2], ["echo 1", "echo 2"]),
        ("echo_time", [4.6, 9.2], ["TE=4.6", "TE=9.2"]),
        ("b_value", [0.0, 1000.0], ["b=0", "b=1000"]),
        ("image_type", ["ORIGINAL\\PRIMARY\\M", "DERIVED\\PRIMARY\\ADC"], ["DERIVED\\PRIMARY\\ADC", "ORIGINAL\\PRIMARY\\M"]),
        ("sequence_name", ["*ep_b0", "*ep_b1000#1"], ["sequence *ep_b0", "sequence *ep_b1000#1"]),
        ("kernel", ["B30f", "B70f"], ["kernel B30f", "kernel B70f"]),
        ("temporal_position", [1, 2], ["time 1", "time 2"]),
        ("acquisition_number", [3, 4], ["acquisition 3", "acquisition 4"]),
        ("trigger_time", [0.0, 350.0], ["trigger 0", "trigger 350"]),
        ("slice_thickness", [1.0, 2.0], ["thickness 1", "thickness 2"]),
    ],
)
def test_interleaved_parts_at_the_same_places_are_split_by_what_tells_them_apart(column: str, values: list[Any], parts: list[str]) -> None:
    frame = rows(np.repeat(positions(5), 2, axis=0), **{"modality": "MR", column: values * 5})
    cases = grouped(frame).cases.sort("part")
    assert cases["part"].to_list() == parts
    assert cases["slices"].to_list() == [5, 5]
    assert cases["items"][0].to_list() == frame["item"].to_list()[values.index(min(values)) :: 2]


def test_two_differing_keys_are_named_until_the_parts_are_told_apart() -> None:
    frame = rows(np.tile(positions(3), (4, 1)), echo_number=[1] * 6 + [2] * 6, image_type=(["M"] * 3 + ["P"] * 3) * 2)
    assert sorted(grouped(frame).cases["part"]) == ["M / echo 1", "M / echo 2", "P / echo 1", "P / echo 2"]


def test_tag_that_differs_from_slice_to_slice_splits_nothing() -> None:
    assert only_volume(grouped(rows(positions(6), acquisition_number=list(range(6)), trigger_time=[1.0 * index for index in range(6)])))


@pytest.mark.parametrize("by_position", [False, True])
def test_passes_without_a_tag_are_counted_in_the_order_of_the_instances(by_position: bool) -> None:
    place = np.repeat(positions(4), 3, axis=0) if by_position else np.tile(positions(4), (3, 1))
    frame = rows(place, modality="MR")
    cases = grouped(frame).cases.sort("part")
    assert cases["part"].to_list() == ["time 1", "time 2", "time 3"]
    names = frame["item"].to_list()
    assert cases["items"][1].to_list() == (names[1::3] if by_position else names[4:8])


def test_time_orders_passes_before_the_instance_number_does() -> None:
    frame = rows(np.tile(positions(3), (2, 1)), acquisition_time=["120500"] * 3 + ["120000.5"] * 3)
    cases = grouped(frame).cases.sort("part")
    assert cases["items"][0].to_list() == frame["item"].to_list()[3:]


def test_value_that_is_absent_is_not_zero() -> None:
    frame = rows(np.tile(positions(3), (2, 1)), modality="MR", b_value=[None] * 3 + [0.0] * 3)
    assert sorted(grouped(frame).cases["part"]) == ["b=0", "other"]


def test_repeated_series_that_nothing_orders_is_refused() -> None:
    assert codes(grouped(rows(np.tile(positions(4), (2, 1)), instance_number=[1, 2, 3, 4] * 2))) == ["duplicate-positions"]


def test_broken_off_last_pass_is_judged_alone() -> None:
    frame = rows(np.concatenate([positions(6), positions(6)[:3]]), temporal_position=[1] * 6 + [2] * 3)
    assert grouped(frame).cases["slices"].to_list() == [6, 3]


def test_shared_slice_at_the_seam_of_two_acquisitions_stays_a_fault() -> None:
    frame = rows(np.concatenate([positions(10)[:6], positions(10)[5:]]), acquisition_number=[1] * 6 + [2] * 5)
    assert codes(grouped(frame)) == ["duplicate-positions"]


def test_interleaved_acquisitions_of_other_places_are_split_but_a_gap_between_acquisitions_is_a_gap() -> None:
    second = positions(6, origin=(-10, -20, 5.7))
    interleaved = rows(np.concatenate([positions(6), second]), acquisition_number=[1] * 6 + [2] * 6)
    assert grouped(interleaved).cases["slices"].to_list() == [6, 6]
    gap = rows(np.delete(positions(5), 3, axis=0), acquisition_number=[1, 1, 2, 2])
    assert codes(grouped(gap)) == ["missing-slices"]


def test_whole_series_of_single_slices_are_images() -> None:
    stacks = grouped(rows(positions(1)), rows(positions(1), series_uid="1.2.4"))
    assert stacks.cases["kind"].to_list() == ["image", "image"]
    assert stacks.cases["case"].to_list() == ["1.2.3.0", "1.2.4.0"]
    assert stacks.cases["stack"].to_list() == ["1.2.3/0000", "1.2.4/0000"]
    assert grouped(rows(positions(1)), volumes="always").cases["kind"].to_list() == ["volume"]


def test_radiographs_are_images_one_by_one_and_ct_too_if_volumes_are_never_wanted() -> None:
    radiographs = rows([None] * 3, modality="DX", series_uid="1.2.9", pixel_spacing=None, orientation=None)
    stacks = grouped(radiographs, rows(positions(3)))
    assert stacks.cases["kind"].to_list() == ["volume", "image", "image", "image"]
    assert set(grouped(rows(positions(3)), volumes="never").cases["kind"]) == {"image"}


@pytest.mark.parametrize("fault", ["absent", "short", "nan", "skewed", "zero"])
def test_slices_without_a_place_are_refused(fault: str) -> None:
    frame = rows(positions(3))
    broken = {
        "absent": {"position": pl.lit(None)},
        "short": {"position": pl.lit([1.0, 2.0])},
        "nan": {"position": pl.lit([1.0, 2.0, float("nan")])},
        "skewed": {"orientation": pl.lit([1.0, 0, 0, 1, 0, 0])},
        "zero": {"pixel_spacing": pl.lit([0.0, 0.5])},
    }
    assert codes(grouped(frame.with_columns(**broken[fault]).cast(dict(INSTANCE_SCHEMA)))) == ["no-geometry"]


def test_single_picture_without_a_place_is_an_image() -> None:
    frame = rows([None], orientation=None)
    assert grouped(frame).cases["kind"].to_list() == ["image"]
    assert codes(grouped(frame, volumes="always")) == ["no-geometry"]


@pytest.mark.parametrize(("rule", "frames"), [("first", [[0]]), ("middle", [[4]]), ("all", [[index] for index in range(9)])])
def test_frames_of_a_multi_frame_ultrasound_become_images_by_rule(rule: str, frames: list[list[int]]) -> None:
    clip = rows([None], modality="US", frames=9, orientation=None)
    assert codes(grouped(clip)) == ["multi-frame"]
    cases = grouped(clip, frames=rule).cases
    assert cases["frames"].to_list() == frames and cases["case"].is_unique().all()
    assert cases["case"][-1] == ("1.2.3.0#8" if rule == "all" else "1.2.3.0")


def test_file_that_claims_endless_frames_is_refused_before_they_are_counted() -> None:
    stacks = grouped(rows([None], modality="US", frames=2**31 - 1, orientation=None), frames="all")
    assert codes(stacks) == ["too-large"]


def test_mosaics_are_volumes_each_or_refused() -> None:
    mosaics = rows(positions(2), modality="MR", image_type="ORIGINAL\\PRIMARY\\M\\MOSAIC")
    cases = grouped(mosaics).cases
    assert cases["mosaic"].to_list() == [True, True] and cases["kind"].to_list() == ["volume", "volume"]
    assert codes(grouped(mosaics, mosaics="refuse")) == ["mosaic"]


def test_what_the_scan_refused_stays_refused_with_its_reason() -> None:
    frame = rows(positions(3), code=[None, "truncated", None], message=[None, "cut off", None])
    stacks = grouped(frame)
    assert "truncated" in codes(stacks)
    assert stacks.refused.filter(pl.col("code") == "truncated")["message"].to_list() == ["cut off"]


def test_same_series_uid_of_two_patients_is_not_mixed() -> None:
    one, two = rows(positions(3)), rows(positions(3), patient_id="Q")
    two = two.with_columns(item=pl.lit("b/") + pl.col("item"))
    cases = grouped(one, two).cases
    assert cases["slices"].to_list() == [3, 3] and cases["case"].to_list() == ["1.2.3", "1.2.3"]
    assert cases["stack"].to_list() == ["1.2.3", "1.2.3 (2)"]


def test_instances_without_a_series_are_not_stacked_together() -> None:
    assert grouped(rows(positions(3), series_uid=[None] * 3)).cases["kind"].to_list() == ["image"] * 3


def test_nothing_found_gives_empty_tables() -> None:
    stacks = group_instances(INSTANCE_SCHEMA.to_frame(), SeriesRules())
    assert not len(stacks.cases) and not len(stacks.refused) and not len(stacks.series)


@pytest.mark.parametrize(
    ("rules", "kept", "rule"),
    [
        ({"modalities": ["mr"]}, ["thin", "thick"], "modalities"),
        ({"include": ["t2.*tra"]}, ["thick"], "include"),
        ({"exclude": ["loc", "T1"]}, ["ct", "thick"], "exclude"),
        ({"kernel": "^B3"}, ["ct"], "kernel"),
        ({"thickness_mm": [None, 1.5]}, ["thin"], "thickness_mm"),
        ({"thickness_mm": [2.0, None]}, ["ct", "thick"], "thickness_mm"),
        ({"slices": [5, 8]}, ["thin"], "slices"),
        ({"image_type": ["ORIGINAL", "PRIMARY"]}, ["ct"], "image_type"),
        ({"not_image_type": ["DERIVED"]}, ["ct"], "not_image_type"),
        ({"choose": "largest"}, ["ct"], "choose"),
        ({"choose": "thinnest"}, ["thin"], "choose"),
    ],
)
def test_rules_choose_series_and_name_themselves_where_they_leave_one_out(rules: dict[str, Any], kept: list[str], rule: str) -> None:
    stacks = grouped(
        rows(positions(10), series_uid="ct", kernel="B30f", series_description="Chest"),
        rows(
            positions(6, 1.0), series_uid="thin", modality="MR", series_description="T1 sag", slice_thickness=1.0, image_type="DERIVED\\X"
        ),
        rows(
            positions(4, 5.0), series_uid="thick", modality="MR", protocol_name="t2_TSE_tra", slice_thickness=4.0, image_type="DERIVED\\X"
        ),
        **rules,
    )
    assert sorted(stacks.cases["case"]) == sorted(kept)
    assert codes(stacks) == ["not-selected"]
    assert stacks.refused["message"].str.starts_with(f"rules.{rule} leaves it out: ").all()


def test_one_volume_is_chosen_in_each_study() -> None:
    frames = [rows(positions(size), series_uid=f"{study}.{size}", study_uid=study) for study in ("a", "b") for size in (3, 5)]
    assert sorted(grouped(*frames, choose="largest").cases["case"]) == ["a.5", "b.5"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"modality": ["CT"]}, "dataset.series.modality is unknown; there are: modalities, include"),
        ({"include": "T1"}, "dataset.series.include is 'T1'; expected a list of texts"),
        ({"include": ["("]}, "dataset.series.include '(' is no regular expression"),
        ({"thickness_mm": [3, 1]}, "expected the least first"),
        ({"slices": 5}, "expected two numbers"),
        ({"volumes": "sometimes"}, "dataset.series.volumes is 'sometimes'; allowed: auto, never, always"),
        ({"choose": "best"}, "dataset.series.choose is 'best'"),
    ],
)
def test_wrong_rules_are_refused_by_name(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(MedaiError) as caught:
        SeriesRules.of(rules)
    assert message in str(caught.value)


def test_unknown_tilt_is_refused() -> None:
    with pytest.raises(MedaiError, match="tilt is 'ignore'; allowed: quarantine, resample"):
        group_instances(INSTANCE_SCHEMA.to_frame(), SeriesRules(), "ignore")


def enhanced(tmp_path: Path, groups: list[dict[str, Any]], place: np.ndarray) -> Stacks:
    stored = np.zeros((len(place), 4, 6), np.uint16)
    enhanced_dataset(stored, place, groups).save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    row = {"item": "enhanced.dcm", "size": 10, "mtime_ns": 0, **scan_header(tmp_path / "enhanced.dcm")}
    instances, rules = pl.DataFrame([row], schema=INSTANCE_SCHEMA), SeriesRules()
    assert frame_items(instances, rules).to_list() == ["enhanced.dcm"]
    assert group_instances(instances, rules).refused["code"].to_list() == ["multi-frame"]
    return group_instances(instances, rules, frames=read_frame_table(frame_items(instances, rules), lambda item: tmp_path / item))


def test_frames_of_an_enhanced_file_are_ordered_by_their_own_positions(tmp_path: Path) -> None:
    case = only_volume(enhanced(tmp_path, [{}] * 5, positions(5)[[3, 0, 4, 1, 2]]))
    assert case["items"] == ["enhanced.dcm"] * 5 and case["frames"] == [1, 3, 4, 0, 2]
    assert case["size"] == 10 and case["slices"] == 5


def test_enhanced_file_of_two_b_values_is_two_volumes_and_a_bad_one_does_not_hide_the_good(tmp_path: Path) -> None:
    groups = [{"b_value": 0.0}, {"b_value": 800.0}] * 4
    stacks = enhanced(tmp_path, groups, np.repeat(positions(4), 2, axis=0))
    assert stacks.cases["part"].to_list() == ["b=0", "b=800"]
    assert [frames.to_list() for frames in stacks.cases["frames"]] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    place = np.repeat(positions(4), 2, axis=0)
    place[3, 2] += 0.5
    stacks = enhanced(tmp_path, groups, place)
    assert stacks.cases["part"].to_list() == ["b=0"] and not len(stacks.refused)
    assert stacks.series["code"].to_list() == [None, "uneven-spacing"]


def test_single_frames_in_other_planes_are_images_of_their_own_frames(tmp_path: Path) -> None:
    groups = [{"orientation": plane} for plane in (AXIAL, CORONAL, SAGITTAL)]
    cases = enhanced(tmp_path, groups, np.zeros((3, 3))).cases
    assert cases["kind"].to_list() == ["image"] * 3
    assert sorted(cases["frames"].explode()) == [0, 1, 2]
    assert sorted(cases["stack"]) == ["enhanced.dcm#0", "enhanced.dcm#1", "enhanced.dcm#2"] and cases["case"].is_unique().all()


@pytest.mark.parametrize("fault", ["fewer groups than frames", "no groups"])
def test_multi_frame_file_whose_groups_do_not_describe_each_frame_is_refused(tmp_path: Path, fault: str) -> None:
    dataset = enhanced_dataset(np.zeros((4, 4, 6), np.uint16), positions(4))
    del dataset.PerFrameFunctionalGroupsSequence[2 if fault == "fewer groups than frames" else slice(None)]
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    row = {"item": "enhanced.dcm", "size": 10, "mtime_ns": 0, **scan_header(tmp_path / "enhanced.dcm")}
    instances = pl.DataFrame([row], schema=INSTANCE_SCHEMA)
    for rules in (SeriesRules(), SeriesRules(frames="all")):
        frames = read_frame_table(frame_items(instances, rules), lambda item: tmp_path / item)
        assert group_instances(instances, rules, frames=frames).refused["code"].to_list() == ["multi-frame"]
    cases = group_instances(instances, SeriesRules(volumes="never", frames="all")).cases
    assert cases["frames"].explode().to_list() == [0, 1, 2, 3]


def test_frame_without_a_position_is_no_slice(tmp_path: Path) -> None:
    dataset = enhanced_dataset(np.zeros((4, 4, 6), np.uint16), positions(4))
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    row = {"item": "enhanced.dcm", "size": 10, "mtime_ns": 0, **scan_header(tmp_path / "enhanced.dcm")}
    instances, rules = pl.DataFrame([row], schema=INSTANCE_SCHEMA), SeriesRules()
    stacks = group_instances(instances, rules, frames=read_frame_table(frame_items(instances, rules), lambda item: tmp_path / item))
    assert stacks.cases["frames"].to_list() == [[0, 1, 2]]


def test_file_without_functional_groups_has_no_frames() -> None:
    table = frame_table([("a", [])])
    assert table.schema == FRAME_SCHEMA and not len(table)


@pytest.mark.parametrize("seed", range(6))
def test_headers_with_anything_missing_are_accounted_for(seed: int) -> None:
    generator = np.random.default_rng(seed)
    place = np.concatenate([positions(6), positions(6), positions(6, 2.0, CORONAL)])[generator.permutation(18)]
    frame = rows(place, modality=generator.choice(["CT", "MR", "US", "DX"], 18).tolist(), frames=generator.choice([1, 1, 4], 18).tolist())
    for column in set(frame.columns) - {"item"}:
        if generator.random() < 0.5:
            lost = pl.Series(generator.random(18) < generator.choice([0.2, 1.0]))
            frame = frame.with_columns(pl.when(~lost).then(column))
    for volumes in ("auto", "never", "always"):
        for frames in ("refuse", "all"):
            grouped(frame, volumes=volumes, frames=frames, choose="largest", tilt="resample")


def many_studies(generator: np.random.Generator) -> pl.DataFrame:
    """Studies whose files lie among each other, with series of one name in several, repeated positions, copies and single slices."""
    found = []
    for study in range(12):
        place = positions(4 + study % 3, 1.0 + study % 2)
        kind = study % 6
        if kind == 1:
            place = np.concatenate([place, place])  # two passes, told apart by time
        if kind == 2:
            place[2, 2] += 0.5
        place = place[:1] if kind == 3 else place
        name = f"1.2.3.{study % 5}"
        count = len(place)
        one = rows(
            place, series_uid=name, study_uid=None if kind == 4 else f"1.{study}", patient_id=f"P{study // 2}",
            acquisition_time=[f"1000{number:02d}" for number in range(count)], kernel=generator.choice(["A", "B"]),
            sop_instance_uid=[f"{study}.{max(number, 1) if kind == 5 else number}" for number in range(count)],
            code="truncated" if study == 11 else None,
        )  # fmt: skip
        found.append(one)
    table = pl.concat(found)
    return table.with_columns(item=pl.Series([f"{name:04d}" for name in generator.permutation(len(table))])).sort("item")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("choose", ["all", "largest"])
def test_studies_that_are_judged_in_parts_give_what_all_together_give(seed: int, choose: str) -> None:
    generator = np.random.default_rng(seed)
    instances = many_studies(generator)
    rules = SeriesRules.of({"choose": choose})
    whole = group_instances(instances, rules)
    assert (
        whole.series["code"].n_unique() > 1
        and whole.series["part"].drop_nulls().len()
        and whole.cases["stack"].str.contains(" (2)", literal=True).any()
    )
    part = (pl.coalesce("study_uid", "patient_id").hash(seed) % 5).alias("part")
    parts = instances.with_row_index("row").with_columns(part).partition_by("part", include_key=False)
    parted = put_together([judge_studies(some, rules) for some in parts], rules, len(instances))
    assert len(parts) > 2 and parted.series.equals(whole.series)
    items = [instances["item"].gather(files).to_list() for files in parted.cases["files"]]
    assert parted.cases.with_columns(items=pl.Series(items)).select(CASE_SCHEMA.names()).equals(whole.cases)
    refused = parted.refused.with_columns(item=instances["item"].gather(parted.refused["row"]))
    assert refused.select(STACK_REFUSED_SCHEMA.names()).equals(whole.refused)


def test_messages_hold_no_name_of_the_file(tmp_path: Path) -> None:
    place = positions(5)
    place[2, 2] += 1
    secret = rows(place, patient_id="DOE^JANE", series_description="DOE^JANE", study_uid="9.9.9", series_uid="8.8.8", kernel="DOE")
    for rules in ({}, {"include": ["x"]}, {"kernel": "x"}, {"modalities": ["MR"]}, {"thickness_mm": [5, None]}):
        text = " ".join(grouped(secret, **rules).refused["message"])
        assert text and not any(name in text for name in ("DOE", "9.9.9", "8.8.8"))
