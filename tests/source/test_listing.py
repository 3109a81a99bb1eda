from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.source.listing import list_files


def test_every_file_is_listed_in_one_order_with_any_name(tmp_path: Path) -> None:
    names = ["b.png", "a/x (1)=2,3.dcm", "a/胸部 X光/图.dcm", ".hidden", "A.txt", "a b/'q\".png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    listing = list_files(str(tmp_path))
    assert listing["item"].to_list() == sorted(names)
    assert listing["size"].to_list() == [2] * 6 and (listing["mtime_ns"] > 0).all()


def test_the_label_table_is_no_item(tmp_path: Path) -> None:
    for name in ("labels.csv", "a/labels.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(str(tmp_path), leave_out=tmp_path / "labels.csv")["item"].to_list() == ["a/labels.csv"]


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").touch()
    (tmp_path / "a/up").symlink_to(tmp_path)
    assert list_files(str(tmp_path))["item"].to_list() == ["a/1.png"]


def test_a_name_that_is_not_utf_8_is_listed(tmp_path: Path) -> None:
    with open(str(tmp_path).encode() + b"/\xff.png", "wb"):
        pass
    assert list_files(str(tmp_path))["item"].to_list() == ["\ufffd.png"]


def test_wrong_paths_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for path, message in (
        (None, r"dataset.path is not set; give dataset.path=…"),
        (str(tmp_path / "nowhere"), "nowhere does not exist"),
        (str(tmp_path / "file"), "is a file; give the folder"),
        (str(tmp_path / "empty"), "holds no files"),
    ):
        with pytest.raises(MedaiError, match=message):
            list_files(path)
