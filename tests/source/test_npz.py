from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.base import CaseRecord
from medai.source.npz import NpzSource

BINARY = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}


def _file(folder: Path, colour: bool = False, columns: int = 1, **more: Any) -> str:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 6), ("val", 3), ("test", 4)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 5, 7, 3) if colour else (count, 5, 7), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count * columns, dtype=np.uint8) % 2).reshape(count, columns)
    np.savez_compressed(folder / "set.npz", **(arrays | more))
    return str(folder / "set.npz")


def _read(source: NpzSource, scratch: Path, rows: pl.DataFrame) -> list[CaseRecord]:
    records = list(source.prepare(scratch).read(rows))
    assert all(isinstance(record, CaseRecord) for record in records)
    return records  # type: ignore[return-value]


@pytest.mark.parametrize("colour", [False, True])
def test_images_labels_and_splits_are_those_of_the_file(tmp_path: Path, colour: bool) -> None:
    path = _file(tmp_path, colour)
    source = NpzSource("set", path, [BINARY])
    scan = source.scan()
    assert scan.items["item"].to_list()[5:7] == ["train-000005", "val-000000"]
    assert scan.annotations["split"].to_list() == ["train"] * 6 + ["validation"] * 3 + ["test"] * 4
    assert scan.annotations["label.sick"].to_list() == [0, 1] * 3 + [0, 1, 0] + [0, 1] * 2
    records = _read(source, tmp_path, scan.items[4:8])
    images = np.load(path)
    expected = np.concatenate([images["train_images"][4:], images["val_images"][:2]])
    assert records[0].pixels.shape == ((3 if colour else 1), 5, 7)
    got = np.stack([record.pixels for record in records])
    assert (got == (np.moveaxis(expected, -1, 1) if colour else expected[:, None])).all()


def test_several_columns_are_several_labels(tmp_path: Path) -> None:
    scan = NpzSource("set", _file(tmp_path, columns=2), [BINARY, BINARY | {"name": "other"}]).scan()
    assert [label.name for label in scan.labels] == ["sick", "other"]
    assert scan.annotations["label.other"].to_list()[:3] == [1, 1, 1]


def test_a_wrong_number_of_targets_is_told(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"train_labels has shape \(6, 2\), but there are 6 images and 1 targets"):
        NpzSource("set", _file(tmp_path, columns=2), [BINARY]).scan()


def test_a_class_index_outside_the_definition_names_its_row(tmp_path: Path) -> None:
    path = _file(tmp_path, val_labels=np.array([[0], [7], [1]]))
    with pytest.raises(MedaiError, match="row 8: 'sick' is '7'; allowed for the label 'sick': no, yes"):
        NpzSource("set", path, [BINARY]).scan()


def test_missing_labels_are_unknown(tmp_path: Path) -> None:
    path = _file(tmp_path, val_labels=np.array([[0], [np.nan], [1]]))
    assert NpzSource("set", path, [BINARY]).scan().annotations["label.sick"].to_list()[6:9] == [0, None, 1]


def test_volumes_and_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"train_images has shape \(6, 5, 5, 5\).* volumes are not read yet"):
        NpzSource("set", _file(tmp_path, train_images=np.zeros((6, 5, 5, 5))), [BINARY]).scan()
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(MedaiError, match="not in MedMNIST's layout: it has no train_images; its arrays: x"):
        NpzSource("set", str(tmp_path / "other.npz")).scan()
    (tmp_path / "no.npz").write_bytes(b"PK nonsense")
    with pytest.raises(MedaiError, match="is not a readable npz file"):
        NpzSource("set", str(tmp_path / "no.npz")).scan()
    with pytest.raises(MedaiError, match="dataset.path is not set; give dataset.path=…"):
        NpzSource("set").scan()


def test_a_pickled_array_is_not_unpickled(tmp_path: Path) -> None:
    path = _file(tmp_path, train_images=np.array([{"a": 1}] * 6, dtype=object))
    with pytest.raises(MedaiError, match="dtype object; expected numbers"):
        NpzSource("set", path, [BINARY]).scan()


def test_the_digest_follows_the_definition_and_the_file_but_not_the_place(tmp_path: Path) -> None:
    source = NpzSource("set", _file(tmp_path), [BINARY])
    first = source.scan().digest
    assert source.scan().digest == first
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "set.npz").rename(tmp_path / "moved/set.npz")
    assert NpzSource("set", str(moved), [BINARY]).scan().digest == first
    assert NpzSource("set", str(moved), [BINARY | {"meaning": "x"}]).scan().digest != first
    moved.touch()
    assert NpzSource("set", str(moved), [BINARY]).scan().digest != first
