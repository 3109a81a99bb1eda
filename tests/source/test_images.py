from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medai.core.error import MedaiError
from medai.source.base import RefusedItem
from medai.source.images import ImagesSource


def _pictures(folder: Path, *names: str) -> str:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8), index * 10, dtype=np.uint8)).save(folder / name)
    return str(folder)


def _labels(scan: Any, name: str) -> dict[str, Any]:
    return dict(scan.annotations.select("key", f"label.{name}").iter_rows())


def test_a_folder_is_a_class_normal_first(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "PNEUMONIA/person12_virus_1.png", "PNEUMONIA/deep/person12_2.png", "NORMAL/IM-1.png")
    scan = ImagesSource("cxr", path, patient_pattern=r"(person\d+)_").scan()
    (label,) = scan.labels
    assert (label.name, label.kind, label.classes) == ("label", "binary", ("NORMAL", "PNEUMONIA"))
    assert _labels(scan, "label") == {"NORMAL/IM-1.png": 0, "PNEUMONIA/deep/person12_2.png": 1, "PNEUMONIA/person12_virus_1.png": 1}
    assert scan.annotations["patient"].to_list() == [None, "person12", "person12"]


def test_folders_of_splits_are_splits(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/b/4.png")
    scan = ImagesSource("x", path).scan()
    assert dict(scan.annotations.select("key", "split").iter_rows()) == {
        "train/a/1.png": "train", "train/b/2.png": "train", "val/a/3.png": "validation", "test/b/4.png": "test",
    }  # fmt: skip


def test_a_target_names_the_classes_of_folders(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "PNEUMONIA/1.png", "NORMAL/2.png")
    target = {"name": "pneumonia", "classes": ["no", "yes"], "values": {"NORMAL": "no", "PNEUMONIA": "yes"}, "meaning": "Pneumonia."}
    scan = ImagesSource("cxr", path, targets=[target]).scan()
    assert scan.labels[0].classes == ("no", "yes") and _labels(scan, "pneumonia") == {"NORMAL/2.png": 0, "PNEUMONIA/1.png": 1}
    _pictures(tmp_path, "OTHER/3.png")
    with pytest.raises(MedaiError, match="'class folder' is 'OTHER'; allowed for the label 'pneumonia': NORMAL, PNEUMONIA"):
        ImagesSource("cxr", path, targets=[target]).scan()


def test_what_is_no_picture_or_in_no_folder_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "a/1.png", "b/2.png", "loose.png")
    (tmp_path / "a/Thumbs.db").touch()
    scan = ImagesSource("x", path).scan()
    assert dict(scan.refused.select("item", "code").iter_rows()) == {"a/Thumbs.db": "not-a-picture", "loose.png": "no-class-folder"}
    assert scan.items["item"].to_list() == ["a/1.png", "b/2.png"]


def test_one_class_folder_or_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "a/1.png")
    with pytest.raises(MedaiError, match=r"has the class folder 'a' alone; put the images of each class in a folder of its own"):
        ImagesSource("x", path).scan()
    (tmp_path / "a/1.png").rename(tmp_path / "1.png")
    with pytest.raises(MedaiError, match=r"has no class folders; .* or give dataset.labels=…"):
        ImagesSource("x", path).scan()


def test_a_table_names_files_patients_sites_and_labels(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "x/1.png", "x/2.png", "3.png")
    (tmp_path / "t.csv").write_text("image,mrn,hospital,sick,grade\n1.png,P1,A,yes,2\nx/2.png,P2,B,,0\n9.png,P3,B,no,1\n")
    columns = {"file": "image", "patient": "mrn", "site": "hospital"}
    source = ImagesSource("x", path, "t.csv", ["sick", {"name": "grade", "kind": "ordinal", "classes": ["0", "1", "2"]}], columns)
    scan = source.scan()
    assert scan.annotations.select("key", "patient", "site", "label.sick", "label.grade").sort("key").rows() == [
        ("x/1.png", "P1", "A", 1, 2), ("x/2.png", "P2", "B", None, 0),
    ]  # fmt: skip
    assert dict(scan.refused.select("item", "code").iter_rows()) == {"9.png": "missing-file", "3.png": "no-label-row"}


def test_without_targets_a_file_needs_no_row(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "1.png", "2_P9.png")
    (tmp_path / "t.csv").write_text("file,site\n1.png,A\n")
    scan = ImagesSource("x", path, str(tmp_path / "t.csv"), patient_pattern="_(P9)").scan()
    assert len(scan.items) == 2 and scan.refused.is_empty() and scan.labels == ()
    assert scan.annotations.select("key", "patient", "site").rows() == [("1.png", None, "A"), ("2_P9.png", "P9", None)]


@pytest.mark.parametrize(
    ("pattern", "message"), [("person(", "is not a regular expression"), (r"person\d+", "has no group; put parentheses")]
)
def test_a_pattern_that_cannot_name_a_patient_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    path = _pictures(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(MedaiError, match=message):
        ImagesSource("x", path, patient_pattern=pattern).scan()


def test_a_truncated_picture_is_refused_without_its_path(tmp_path: Path) -> None:
    path = _pictures(tmp_path, "a/1.png", "b/2.png")
    data = (tmp_path / "a/1.png").read_bytes()
    (tmp_path / "a/1.png").write_bytes(data[: len(data) // 2])
    source = ImagesSource("x", path)
    first, second = source.read(source.scan().items)
    assert isinstance(first, RefusedItem) and first.code == "unreadable-picture" and str(tmp_path) not in first.message
    assert second.item == "b/2.png"
