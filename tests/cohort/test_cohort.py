import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cohort.cohort import Cohort
from medai.cohort.schema import SCHEMA_VERSION
from medai.core.error import MedaiError
from medai.ingest.ingest import ingest
from medai.source.npz import NpzSource


def _cohort(folder: Path, public: bool = True) -> Cohort:
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("val", 5), ("test", 6)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    arrays["val_images"][1] = arrays["train_images"][3]
    np.savez(folder / "set.npz", **arrays)
    target = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}
    return ingest(NpzSource("set", str(folder / "set.npz"), [target], public=public), folder / "cohorts", workers=0)


def test_a_split_joins_its_labels_in_the_order_of_the_cohort(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    train = cohort.select("train")
    assert train["ordinal"].to_list() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]  # 3 has the pixels of a validation image
    assert train["sick"].to_list() == [ordinal % 2 for ordinal in train["ordinal"]]
    assert len(cohort.select("validation")) == 5 and len(cohort.select("development")) == 16
    assert cohort.select("test")["split"].unique().to_list() == ["test"]
    assert cohort.counts["excluded"] == 1 and cohort.meta["exclusions"] == {"equal-pixels-in-validation": 1}


def test_cases_carry_no_labels(tmp_path: Path) -> None:
    assert not {"sick", "split"} & set(_cohort(tmp_path).cases().columns)


def test_development_does_not_open_the_test_labels(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    (cohort.path / "labels/test.parquet").unlink()
    cohort.select("train"), cohort.select("validation"), cohort.select("development")
    with pytest.raises(MedaiError, match=r"labels/test.parquet cannot be read"):
        cohort.select("test")


def test_the_record_counts_no_test_labels(tmp_path: Path) -> None:
    counts = _cohort(tmp_path).counts
    assert counts["development_labels"] == {"sick": {"no": 9, "yes": 8, "unknown": 0}}


def test_unknown_patients_are_said_with_their_count(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    assert not cohort.patients_known and cohort.counts["patients_unknown"] == 23
    assert cohort.meta["notes"][0].startswith("Patients unknown for 23 of 23 cases")


@pytest.mark.parametrize("public", [True, False])
def test_a_sound_cohort_passes_the_check(tmp_path: Path, public: bool) -> None:
    _cohort(tmp_path, public).check()


@pytest.mark.parametrize(
    "part", ["cases.parquet", "labels/test.parquet", "splits/default.parquet", "quarantine.parquet", "pixels/00000.shard"]
)
def test_one_changed_byte_in_any_part_is_found(tmp_path: Path, part: str) -> None:
    cohort = _cohort(tmp_path)
    data = bytearray((cohort.path / part).read_bytes())
    data[len(data) // 2] ^= 1
    (cohort.path / part).write_bytes(data)
    with pytest.raises(MedaiError, match=f"{part} was changed after the ingest"):
        cohort.check()


def test_a_missing_and_a_foreign_part_are_found_and_views_are_no_parts(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    (cohort.path / "views/x").mkdir(parents=True)
    (cohort.path / "views/x/pixels.raw").write_bytes(b"1")
    cohort.check()
    (cohort.path / "pixels/00009.shard").write_bytes(b"1")
    with pytest.raises(MedaiError, match=r"00009.shard does not belong to the cohort"):
        cohort.check()
    (cohort.path / "pixels/00009.shard").rename(tmp_path / "elsewhere")
    (cohort.path / "cases.parquet").unlink()
    with pytest.raises(MedaiError, match=r"cases.parquet is missing"):
        cohort.check()


def test_a_changed_label_meaning_is_found(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    record = json.loads((cohort.path / "cohort.json").read_text())
    record["labels"][0]["classes"] = ["yes", "no"]
    (cohort.path / "cohort.json").write_text(json.dumps(record))
    with pytest.raises(MedaiError, match=r"cohort.json was changed"):
        Cohort.open(cohort.path).check()


def test_another_site_s_key_cannot_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medai.cohort.key import site_key

    cohort = _cohort(tmp_path, public=False)
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "other.key"))
    site_key()
    with pytest.raises(MedaiError, match="made with another site's key"):
        cohort.check()


def test_what_is_no_cohort_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="does not exist; make it with: medai ingest"):
        Cohort.open(tmp_path / "nowhere")
    with pytest.raises(MedaiError, match=r"is not a cohort: it has no cohort.json"):
        Cohort.open(tmp_path)
    (tmp_path / "x-1.ingesting").mkdir()
    with pytest.raises(MedaiError, match="its ingest was interrupted, run it again"):
        Cohort.open(tmp_path / "x-1.ingesting")
    for text, message in (("{", "is not valid JSON"), ("[]", "does not hold a cohort's record"), ("{}", "has no schema version")):
        (tmp_path / "cohort.json").write_text(text)
        with pytest.raises(MedaiError, match=message):
            Cohort.open(tmp_path)


def test_a_newer_major_schema_is_refused_by_name_and_a_newer_minor_is_read(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    path = cohort.path / "cohort.json"
    text = path.read_text()
    path.write_text(text.replace(f'"schema_version": "{SCHEMA_VERSION}"', '"schema_version": "1.7"'))
    assert Cohort.open(cohort.path).name == "set"
    path.write_text(text.replace(f'"schema_version": "{SCHEMA_VERSION}"', '"schema_version": "2.0"'))
    with pytest.raises(MedaiError, match=rf"is a cohort of schema 2.0; this medai reads up to {SCHEMA_VERSION}: update medai"):
        Cohort.open(cohort.path)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="split is 'val'; allowed: train, validation, development, test"):
        _cohort(tmp_path).select("val")


def test_the_label_table_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    labels = pl.read_parquet(cohort.path / "labels/development.parquet")
    assert dict(labels.schema) == {"case_id": pl.String, "sick": pl.Int8, "sick.uncertain": pl.Boolean, "label_source": pl.String}
