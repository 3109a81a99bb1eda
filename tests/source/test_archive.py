import io
import os
import zipfile
from pathlib import Path

import pytest

from medai.core.error import MedaiError, Refusal
from medai.dicom.scan import FIELDS
from medai.source import archive
from medai.source.archive import LISTING_SCHEMA, item_folder, list_items, open_item, scan_item


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)


def code(folder: Path, item: str) -> str | None:
    return dict(zip(FIELDS, scan_item(str(folder), item), strict=True))["code"]


def test_members_of_an_archive_of_any_name_are_items(tmp_path: Path, dicom: bytes) -> None:
    (tmp_path / "plain").write_bytes(dicom)
    (tmp_path / "a").mkdir()
    packed(tmp_path / "a" / "export.dat", {"st/1.dcm": dicom, "2": dicom + b"\0\0", "folder/": b""})
    (tmp_path / "looks.zip").write_bytes(b"no archive at all, and longer than the end record")
    listing = list_items(str(tmp_path))
    assert listing.schema == LISTING_SCHEMA
    assert listing["item"].to_list() == ["a/export.dat!/2", "a/export.dat!/st/1.dcm", "looks.zip", "plain"]
    assert listing["code"].to_list() == [None] * 4
    assert listing["size"].to_list()[:2] == [len(dicom) + 2, len(dicom)]
    assert open_item(tmp_path, "a/export.dat!/st/1.dcm") == dicom == open_item(tmp_path, "plain")
    assert [code(tmp_path, item) for item in listing["item"]] == [None, None, "not-dicom", None]
    assert scan_item(str(tmp_path), "a/export.dat!/st/1.dcm") == scan_item(str(tmp_path), "plain")


def test_one_archive_can_be_the_data_set(tmp_path: Path, dicom: bytes) -> None:
    packed(tmp_path / "all.zip", {"x": dicom}, zipfile.ZIP_STORED)
    listing = list_items(str(tmp_path / "all.zip"))
    assert listing["item"].to_list() == ["all.zip!/x"]
    assert open_item(item_folder(str(tmp_path / "all.zip")), "all.zip!/x") == dicom


def test_names_that_point_elsewhere_are_only_names(tmp_path: Path, dicom: bytes) -> None:
    (tmp_path / "d").mkdir()
    packed(tmp_path / "d" / "x.zip", {"../../evil": dicom, "/etc/passwd": dicom, "a!/b": dicom})
    items = list_items(str(tmp_path / "d"))["item"].to_list()
    assert items == ["x.zip!/../../evil", "x.zip!//etc/passwd", "x.zip!/a!/b"]
    assert [open_item(tmp_path / "d", item) for item in items] == [dicom] * 3
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "x.zip"]


def test_a_plain_file_may_have_the_mark_in_its_name(tmp_path: Path, dicom: bytes) -> None:
    (tmp_path / "odd!").mkdir()
    (tmp_path / "odd!" / "x").write_bytes(dicom)
    assert list_items(str(tmp_path))["item"].to_list() == ["odd!/x"]
    assert open_item(tmp_path, "odd!/x") == dicom and code(tmp_path, "odd!/x") is None


def test_what_cannot_be_read_of_an_archive_has_a_reason(tmp_path: Path, dicom: bytes) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("x", dicom)
    packed(tmp_path / "nested.zip", {"inner.zip": inner.getvalue()})
    packed(tmp_path / "bomb.zip", {"zeros": bytes(2**26 + 1)})
    packed(tmp_path / "lzma.zip", {"x": dicom}, zipfile.ZIP_LZMA)
    packed(tmp_path / "empty.zip", {"folder/": b""})
    packed(tmp_path / "whole.zip", {"x": dicom})
    whole = (tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    damaged = bytearray(whole)
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    locked = bytearray(whole)
    locked[6] |= 1
    locked[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    listing = {item: (reason, text) for item, reason, text in list_items(str(tmp_path)).select("item", "code", "message").iter_rows()}
    codes = {item: reason for item, (reason, _) in listing.items()}
    assert codes == {
        "nested.zip!/inner.zip": None,
        "bomb.zip!/zeros": "too-large",
        "lzma.zip!/x": "bad-archive",
        "empty.zip": "bad-archive",
        "whole.zip!/x": None,
        "cut.zip": "bad-archive",
        "damaged.zip!/x": None,
        "locked.zip!/x": "encrypted-member",
    }
    assert code(tmp_path, "nested.zip!/inner.zip") == "nested-archive"
    assert code(tmp_path, "damaged.zip!/x") == "bad-archive"
    assert code(tmp_path, "bomb.zip!/zeros") == "too-large"
    with pytest.raises(Refusal, match="damaged"):
        open_item(tmp_path, "damaged.zip!/x")
    with pytest.raises(Refusal, match="no such member"):
        open_item(tmp_path, "whole.zip!/y")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_members_of_one_name_the_last_is_the_item_and_none_is_lost(tmp_path: Path, dicom: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a", b"old")
        file.writestr("a", dicom)
    listing = list_items(str(tmp_path))
    assert dict(listing.select("item", "code").iter_rows()) == {"x.zip!/a": None, "x.zip!/a (older 1)": "duplicate-member"}
    assert open_item(tmp_path, "x.zip!/a") == dicom


def test_an_index_without_bounds_is_refused(tmp_path: Path, dicom: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(tmp_path / "x.zip", {f"{number}": b"" for number in range(100)})
    monkeypatch.setattr(archive, "LARGEST_INDEX", 1000)
    archive._opened.cache_clear()
    assert list_items(str(tmp_path)).select("item", "code").rows() == [("x.zip", "too-large")]


def test_a_changed_archive_is_opened_again(tmp_path: Path, dicom: bytes) -> None:
    packed(tmp_path / "x.zip", {"a": b"first"})
    assert open_item(tmp_path, "x.zip!/a") == b"first"
    packed(tmp_path / "x.zip", {"a": b"second"})
    os.utime(tmp_path / "x.zip", ns=(1, 1))
    assert open_item(tmp_path, "x.zip!/a") == b"second"


def test_a_dicomdir_is_a_listing_of_its_own(shared_data: Path) -> None:
    folder = next((shared_data / "pydicom-test_files").rglob("dicomdirtests"))
    listing = list_items(str(folder / "DICOMDIR"))
    found, missing = listing.filter(listing["code"].is_null()), listing.filter(listing["code"].is_not_null())
    assert found.height == 31 and (found["size"] > 0).all()
    assert set(missing["code"]) <= {"missing-file"}
    assert {code(item_folder(str(folder / "DICOMDIR")), item) for item in found["item"]} == {None}


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(MedaiError, match="give the folder that holds the images, a zip archive or a DICOMDIR"):
        list_items(str(tmp_path / "x.png"))


@pytest.fixture(scope="module")
def dicom() -> bytes:
    import numpy as np

    from medai.dicom.write import Encoding, encode_image

    return encode_image(np.arange(4096, dtype=np.uint16).reshape(1, 64, 64), "CT", Encoding())
