import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import medai.source.dicom
from medai.core.error import MedaiError
from medai.dicom.write import Encoding, write_image
from medai.source import instances, packed
from medai.source.base import CaseRecord, RefusedItem
from medai.source.dicom import DicomSource

# Free text where a code belongs is the point.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
ATTRIBUTES = {
    "PatientID": "TCGA-17-Z013",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "PatientSex": "F",
    "PatientAge": "093Y",
    "StudyDate": "20200131",
    "Manufacturer": "Maker Y",
    "ManufacturerModelName": "Model X",
    "InstitutionName": "St. Elsewhere",
    "BodyPartExamined": "Chest of J. Doe",
}


def _dicom(path: Path, value: int = 7, **attributes: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = Encoding(window=(40, 400), spacing_mm=(0.5, 0.25), attributes=ATTRIBUTES | attributes)
    write_image(path, np.full((1, 6, 8), value, dtype=np.uint16), encoding=encoding)


def test_attributes_become_columns_and_free_text_stays_behind(tmp_path: Path) -> None:
    _dicom(tmp_path / "no extension")
    source = DicomSource("x", str(tmp_path), site_pattern=r"^TCGA-(\w+)-")
    (record,) = source.read(source.scan().items)
    assert isinstance(record, CaseRecord)
    assert (record.item, record.case, record.patient, record.study, record.series) == (
        "no extension",
        "1.2.3.4.5",
        "TCGA-17-Z013",
        "1.2.3",
        "1.2.3.4",
    )
    assert record.study_date == date(2020, 1, 31)
    assert record.acquisition == {
        "site": "17", "manufacturer": "Maker Y", "model": "Model X", "modality": "DX", "body_part": None,
        "laterality": "U", "view": "PA", "spacing_mm": [0.5, 0.25], "window": [40.0, 400.0], "age_years": 90.0, "sex": "F",
    }  # fmt: skip
    assert "Elsewhere" not in str(record)


def test_the_site_can_come_from_another_attribute(tmp_path: Path) -> None:
    _dicom(tmp_path / "1")
    source = DicomSource("x", str(tmp_path), site_pattern="(.+)", site_attribute="InstitutionName")
    (record,) = source.read(source.scan().items)
    assert isinstance(record, CaseRecord) and record.acquisition["site"] == "St. Elsewhere"


def test_the_table_is_joined_by_file_in_the_scan(tmp_path: Path) -> None:
    _dicom(tmp_path / "a/1.dcm")
    _dicom(tmp_path / "a/2.dcm")
    (tmp_path / "t.csv").write_text("dicom_name,Contrast,patient\n1.dcm,True,ignored\n3.dcm,False,ignored\n")
    scan = DicomSource("x", str(tmp_path), "t.csv", [{"name": "contrast", "column": "Contrast"}], columns={"file": "dicom_name"}).scan()
    assert scan.annotations.select("key", "label.contrast", "patient").rows() == [("a/1.dcm", 1, None)]
    assert dict(scan.refused.select("item", "code").iter_rows()) == {"3.dcm": "missing-file", "a/2.dcm": "no-label-row"}


def test_the_table_is_joined_by_patient(tmp_path: Path) -> None:
    _dicom(tmp_path / "1.dcm")
    (tmp_path / "t.csv").write_text("patient,sick\nTCGA-17-Z013,1\nother,0\n")
    scan = DicomSource("x", str(tmp_path), "t.csv", ["sick"], key="patient").scan()
    assert scan.annotations.select("key", "label.sick").rows() == [("1.dcm", 1)]
    assert scan.refused.select("item", "code").rows() == [("other", "missing-file")]


def test_bad_files_are_refused_one_by_one(tmp_path: Path) -> None:
    _dicom(tmp_path / "good")
    data = (tmp_path / "good").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-30])
    (tmp_path / "note.txt").write_text("hello")
    source = DicomSource("x", str(tmp_path))
    scan = source.scan()
    codes = dict(scan.refused.select("item", "code").iter_rows())
    for outcome in source.read(scan.items):
        codes[outcome.item] = outcome.code if isinstance(outcome, RefusedItem) else "case"
    assert codes == {"good": "case", "cut": "truncated", "note.txt": "not-dicom"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": "name"}, "dataset.key is 'name'; allowed: file, patient, study, accession, series, instance"),
        ({"targets": ["x"]}, "there is no table of them; give dataset.labels=…"),
        ({"labels": "t.csv", "targets": ["x"]}, r"t.csv has no column 'file' \(dataset.columns.file\); its columns: name, x"),
        (
            {"labels": "t.csv", "targets": ["y"], "columns": {"file": "name"}},
            r"t.csv has no column 'y' \(target 'y'\); its columns: name, x",
        ),
        ({"site_pattern": "TCGA"}, "site_pattern 'TCGA' has no group"),
    ],
)
def test_a_wrong_definition_is_told_in_one_line(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    _dicom(tmp_path / "1.dcm")
    (tmp_path / "t.csv").write_text("name,x\n1.dcm,1\n")
    with pytest.raises(MedaiError, match=message):
        DicomSource("x", str(tmp_path), **settings).scan()


def test_slices_become_a_volume_with_its_affine_and_one_label(tmp_path: Path) -> None:
    for number in range(6):
        place = {
            "ImagePositionPatient": [-10.0, -20.0, 2.5 * number],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "PixelSpacing": [0.5, 0.25],
        }
        _dicom(tmp_path / f"s/{number}", number, Modality="CT", SOPInstanceUID=f"1.2.{number}", **place)
    (tmp_path / "t.csv").write_text("series,sick\n1.2.3.4,1\n")
    source = DicomSource("x", str(tmp_path), "t.csv", ["sick"], key="series")
    scan = source.scan()
    (record,) = source.read(scan.items)
    assert (
        isinstance(record, CaseRecord) and record.pixels.shape == (1, 6, 6, 8) and record.pixels[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    )
    assert (
        record.affine is not None
        and record.affine[:3, 3].tolist() == [-10, -20, 0]
        and record.acquisition["spacing_mm"] == [2.5, 0.5, 0.25]
    )
    assert scan.annotations.select("key", "label.sick").rows() == [(record.item, 1)]
    assert scan.instances is not None
    assert pl.concat(scan.instances.pieces())["case_item"].to_list() == [record.item] * 6


def test_contradicting_labels_of_one_volume_are_told(tmp_path: Path) -> None:
    for number in range(4):
        place = {
            "ImagePositionPatient": [0.0, 0.0, 1.0 * number],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "PixelSpacing": [0.5, 0.25],
        }
        _dicom(tmp_path / f"{number}.dcm", Modality="CT", SOPInstanceUID=f"1.2.{number}", **place)
    (tmp_path / "t.csv").write_text("file,sick\n0.dcm,1\n1.dcm,0\n")
    with pytest.raises(MedaiError, match="different things of the files of one volume"):
        DicomSource("x", str(tmp_path), "t.csv", ["sick"]).scan()


def test_an_image_that_may_show_text_is_refused_unless_a_rule_says_what_to_hide(tmp_path: Path) -> None:
    _dicom(tmp_path / "us", Modality="US")
    assert DicomSource("x", str(tmp_path)).scan().refused.select("item", "code").rows() == [("us", "burned-in-text")]
    assert DicomSource("x", str(tmp_path), public=True).scan().refused.is_empty()
    rule = {"modality": "US", "rows": 6, "columns": 8, "hide": [[0, 0, 2, 8]]}
    _dicom(tmp_path / "us", 9, Modality="US")
    source = DicomSource("x", str(tmp_path), burned_in=[rule])
    (record,) = source.read(source.scan().items)
    assert isinstance(record, CaseRecord) and record.pixels.shape == (1, 6, 8)


def test_archives_and_files_are_read_alike(tmp_path: Path) -> None:
    _dicom(tmp_path / "plain/1")
    with zipfile.ZipFile(tmp_path / "export.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "plain/1", "deep/1")
    source = DicomSource("x", str(tmp_path / "export.bin"))
    (record,) = source.read(source.scan().items)
    assert isinstance(record, CaseRecord) and record.case == "1.2.3.4.5" and (record.pixels == 7).all()


@pytest.mark.parametrize("key", ["file", "patient", "series", "instance"])
def test_a_scan_in_small_parts_finds_what_one_in_one_part_finds(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, keys = tmp_path / "files", {"file": "{0}/{1}.dcm", "patient": "P{0}", "series": "1.2.{0}", "instance": "1.2.{0}.{1}"}
    for study in range(6):
        for number in range(5):
            place = {
                "ImagePositionPatient": [0.0, 0.0, 2.0 * number + (number == 3) * (study == 2)],
                "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
                "PixelSpacing": [0.5, 0.25],
            }
            names = {"PatientID": f"P{study}", "StudyInstanceUID": f"1.{study}", "SeriesInstanceUID": f"1.2.{study}"}
            _dicom(
                folder / f"{study}/{number}.dcm", Modality="CT" if study else "DX", SOPInstanceUID=f"1.2.{study}.{number}", **names, **place
            )
    (folder / "note.txt").write_text("hello")
    named = dict.fromkeys(keys[key].format(study, number) for study in range(5) for number in range(1 if key == "file" and study else 5))
    (tmp_path / "t.csv").write_text(f"{key},sick\n" + "".join(f"{name},1\n" for name in [*named, "absent"]))
    source = DicomSource("x", str(folder), str(tmp_path / "t.csv"), ["sick"], key=key)
    whole = source.scan()
    held: list[int] = []
    judge = medai.source.dicom.judge_studies
    monkeypatch.setattr(medai.source.dicom, "judge_studies", lambda some, *rest: held.append(len(some)) or judge(some, *rest))
    for module, name, value in (
        (instances, "FEWEST_ROWS", 6),
        (instances, "MOST_ROWS", 6),
        (packed, "PIECE", 4),
        (medai.source.dicom, "CASES_AT_ONCE", 2),
    ):
        monkeypatch.setattr(module, name, value)
    parted = source.scan()
    assert len(held) > 3 and max(held) < 12
    for name in ("items", "annotations", "refused", "stacks"):
        assert getattr(parted, name).equals(getattr(whole, name)), name
    assert parted.digest == whole.digest and len(whole.items) and "missing-file" in whole.refused["code"]
    assert parted.instances is not None and whole.instances is not None
    assert pl.concat(parted.instances.pieces()).equals(pl.concat(whole.instances.pieces()))
