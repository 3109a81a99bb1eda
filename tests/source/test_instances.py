import os
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cohort.key import Keys
from medai.dicom.instance import INSTANCE_SCHEMA
from medai.dicom.write import Encoding, encode_image
from medai.source import instances
from medai.source.archive import list_items
from medai.source.instances import open_instances, scan_instances
from medai.source.packed import Packed

PRIVATE, PUBLIC = Keys(bytes(range(32))), Keys(None)


def image(number: int) -> bytes:
    attributes = {"PatientID": f"MRN-{number:04d}", "AccessionNumber": f"ACC-{number:04d}", "InstanceNumber": number}
    return encode_image(np.full((1, 8, 8), number, np.uint16), "CT", Encoding(attributes=attributes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "DOE_JANE"
    found.mkdir()
    for number in range(30):
        (found / f"{number:02d}").write_bytes(image(number))
    with zipfile.ZipFile(found / "more.zip", "w") as file:
        file.writestr("JANE/30", image(30))
    (found / "notes.txt").write_text("no image")
    return found


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The items that were opened."""
    seen: list[str] = []
    scan = instances.scan_item
    monkeypatch.setattr(instances, "scan_item", lambda folder, item: seen.append(item) or scan(folder, item))
    return seen


def test_every_item_has_a_row_in_the_order_of_the_listing(folder: Path) -> None:
    items = list_items(str(folder))
    frame = scan_instances(items, folder, None, PUBLIC)
    assert frame.schema == INSTANCE_SCHEMA and frame["item"].to_list() == items["item"].to_list()
    assert frame["patient_id"].to_list() == [f"MRN-{number:04d}" for number in range(31)] + [None]
    assert frame.filter(pl.col("code").is_not_null()).select("item", "code").rows() == [("notes.txt", "not-dicom")]


@pytest.mark.parametrize("keys", [PRIVATE, PUBLIC], ids=["hospital", "public"])
def test_a_rerun_reads_only_what_is_new_or_has_changed(folder: Path, tmp_path: Path, keys: Keys, scanned: list[str]) -> None:
    first = scan_instances(list_items(str(folder)), folder, tmp_path / "cache", keys)
    assert len(scanned) == 32
    scanned.clear()
    assert scan_instances(list_items(str(folder)), folder, tmp_path / "cache", keys).equals(first)
    assert not scanned
    (folder / "05").write_bytes(image(77))
    os.utime(folder / "06", ns=(1, 1))
    (folder / "99").write_bytes(image(99))
    (folder / "07").unlink()
    again = scan_instances(list_items(str(folder)), folder, tmp_path / "cache", keys)
    assert sorted(scanned) == ["05", "06", "99"]
    assert again.equals(scan_instances(list_items(str(folder)), folder, None, keys))


def test_nothing_in_the_cache_names_anybody(folder: Path, tmp_path: Path) -> None:
    scan_instances(list_items(str(folder)), folder, tmp_path / "cache", PRIVATE)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes() + str(path.relative_to(tmp_path)).encode()
        for name in (b"MRN-", b"ACC-", b"JANE", b"2.25.", b"PHANTOM", b"PAR1", b"medai phantom"):
            assert name not in data
    sealed = {path.name: path.read_bytes() for path in files}
    assert len({data[:12] for data in sealed.values()}) == len(sealed)  # a nonce is used once


@pytest.mark.parametrize("keys", [PRIVATE, PUBLIC], ids=["hospital", "public"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_part_is_made_again(folder: Path, tmp_path: Path, keys: Keys, damage: str, scanned: list[str]) -> None:
    items = list_items(str(folder))
    first = scan_instances(items, folder, tmp_path / "cache", keys)
    (part,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes({"flip": bytes(data), "cut": bytes(data[:100]), "empty": b""}[damage])
    scanned.clear()
    assert scan_instances(items, folder, tmp_path / "cache", keys).equals(first) and len(scanned) == 32
    scanned.clear()
    assert scan_instances(items, folder, tmp_path / "cache", keys).equals(first) and not scanned


def test_another_key_sees_nothing_and_destroys_nothing(folder: Path, tmp_path: Path, scanned: list[str]) -> None:
    items, cache = list_items(str(folder)), tmp_path / "cache"
    first = scan_instances(items, folder, cache, PRIVATE)
    scan_instances(items, folder, cache, Keys(bytes(32)))
    scan_instances(items, folder, cache, PUBLIC)
    assert len(scanned) == 96
    assert scan_instances(items, folder, cache, PRIVATE).equals(first) and len(scanned) == 96


def test_what_a_killed_run_left_is_used_and_its_unfinished_part_is_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "FILES_A_TASK", 8)
    items, cache = list_items(str(folder)), tmp_path / "cache"
    whole = scan_instances(items, folder, None, PRIVATE)
    seen: list[str] = []
    scan = instances.scan_item

    def dying(where: str, item: str) -> tuple[object, ...]:
        seen.append(item)
        if item == "20":
            raise KeyboardInterrupt
        return scan(where, item)

    monkeypatch.setattr(instances, "scan_item", dying)
    with pytest.raises(KeyboardInterrupt):
        scan_instances(items, folder, cache, PRIVATE)
    parts = [path for path in cache.rglob("*") if path.is_file()]
    assert len(parts) == 2
    (parts[0].parent / f".{parts[0].name}.0123abcd.part").write_bytes(b"half")
    seen.clear()
    monkeypatch.setattr(instances, "scan_item", lambda where, item: seen.append(item) or scan(where, item))
    assert scan_instances(items, folder, cache, PRIVATE).equals(whole) and len(seen) == 16


def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "FILES_A_TASK", 8)
    monkeypatch.setattr(instances, "WORTH_PROCESSES", 1)
    items = list_items(str(folder))
    alone = scan_instances(items, folder, None, PRIVATE)
    assert scan_instances(items, folder, tmp_path / "cache", PRIVATE, workers=2).equals(alone)
    assert scan_instances(items, folder, tmp_path / "cache", PRIVATE, workers=2).equals(alone)


def test_a_file_that_could_not_be_opened_is_tried_again(folder: Path, tmp_path: Path, scanned: list[str]) -> None:
    items = list_items(str(folder))
    (folder / "03").rename(tmp_path / "away")
    first = scan_instances(items, folder, tmp_path / "cache", PRIVATE)
    assert first.filter(pl.col("item") == "03")["code"].item() == "missing-file"
    (tmp_path / "away").rename(folder / "03")
    scanned.clear()
    again = scan_instances(items, folder, tmp_path / "cache", PRIVATE)
    assert scanned == ["03"] and again.filter(pl.col("item") == "03")["code"].item() is None


def test_items_that_are_refused_by_the_listing_stay_refused(folder: Path) -> None:
    items = list_items(str(folder)).with_columns(
        code=pl.when(pl.col("item") == "04").then(pl.lit("too-large")), message=pl.when(pl.col("item") == "04").then(pl.lit("why"))
    )
    frame = scan_instances(items, folder, None, PUBLIC)
    assert frame.filter(pl.col("item") == "04").select("code", "message", "patient_id").rows() == [("too-large", "why", None)]


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Six studies of five files each, which lie among each other, and a file of none."""
    found = tmp_path / "studies"
    found.mkdir()
    for number in range(30):
        attributes = {"PatientID": "P", "StudyInstanceUID": f"2.25.{number % 6}", "SOPInstanceUID": f"2.25.9.{number}"}
        (found / f"{number:02d}").write_bytes(encode_image(np.full((1, 8, 8), number, np.uint16), "CT", Encoding(attributes=attributes)))
    (found / "notes.txt").write_text("no image")
    return found


@pytest.mark.parametrize("cached", [True, False])
def test_studies_come_whole_and_some_at_a_time(studies: Path, tmp_path: Path, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "FILES_A_TASK", 4)
    monkeypatch.setattr(instances, "FEWEST_ROWS", 10)
    monkeypatch.setattr(instances, "MOST_ROWS", 10)
    items = list_items(str(studies))
    found = open_instances(Packed.of(items), studies, tmp_path / "cache" if cached else None, PRIVATE)
    parts = list(found.studies())
    assert len(parts) == 4 and max(map(len, parts)) <= 10
    of_study = pl.concat(part.with_columns(part=pl.lit(number)) for number, part in enumerate(parts))
    assert of_study.drop_nulls("study_uid").group_by("study_uid").agg(pl.col("part").n_unique(), pl.len()).select(
        "part", "len"
    ).unique().rows() == [(1, 5)]
    assert all(part["row"].is_sorted() for part in parts)
    whole = scan_instances(items, studies, None, PRIVATE)
    assert of_study.sort("row").select(whole.columns).equals(whole)
    assert pl.concat(some for _, some in found.pieces(["item", "rows"], 7)).equals(whole.select("item", "rows"))


def test_more_is_held_where_studies_lie_so_scattered_that_parts_are_read_often(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FILES_A_TASK", 4), ("FEWEST_ROWS", 5), ("MOST_ROWS", 20), ("READINGS", 1)):
        monkeypatch.setattr(instances, name, value)
    found = open_instances(Packed.of(list_items(str(studies))), studies, tmp_path / "cache", PRIVATE)
    assert [len(part) for part in found.studies()] == [20, 11]
    monkeypatch.setattr(instances, "READINGS", 8)
    assert [len(part) for part in found.studies()] == [5, 5, 5, 5, 5, 5, 1]


def test_a_part_that_is_lost_after_the_scan_is_read_from_the_files(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "FILES_A_TASK", 8)
    items = list_items(str(studies))
    found = open_instances(Packed.of(items), studies, tmp_path / "cache", PRIVATE)
    first, second, *_ = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    assert found.take(np.arange(len(items))).equals(scan_instances(items, studies, None, PRIVATE))
