import os
from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.source.archive import scan_item
from medai.source.listing import file_name, list_files


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


def test_names_that_are_not_utf_8_are_told_apart_and_can_be_opened(tmp_path: Path) -> None:
    for name in (b"M\xfcller.png", b"M\xe4ller.png"):
        with open(str(tmp_path).encode() + b"/" + name, "wb") as stream:
            stream.write(name)
    items = list_files(str(tmp_path))["item"].to_list()
    assert len(set(items)) == 2 and all(item.encode() for item in items)
    assert {(tmp_path / file_name(item)).read_bytes() for item in items} == {b"M\xfcller.png", b"M\xe4ller.png"}


def test_a_link_that_leads_nowhere_or_to_itself_is_listed_for_the_reader_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "self").symlink_to("self")
    assert list_files(str(tmp_path)).rows() == [("nowhere", 0, 0), ("self", 0, 0)]
    assert [scan_item(str(tmp_path), item)[0] for item in ("nowhere", "self")] == ["missing-file", "unreadable-file"]


def test_pipes_and_links_to_them_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "1.png").touch()
    assert list_files(str(tmp_path))["item"].to_list() == ["1.png"]


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
