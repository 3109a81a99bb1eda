import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import medai.ingest.ingest
import medai.ingest.unit
import medai.source.dicom
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.dicom.read import read_dicom
from medai.dicom.write import Encoding, write_image
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.preprocessing.plan import ResizePlan
from medai.source.dicom import DicomSource
from medai.source.images import ImagesSource
from medai.source.npz import NpzSource
from medai.store.shard import NativePixels
from medai.store.volume import VolumePixels
from tests.dicom.mutate import mutation

Reader = Callable[[Path], dict[str, bytes]]


def _hospital(folder: Path, **settings: Any) -> DicomSource:
    more = {
        "labels": str(folder / "labels.csv"),
        "targets": ["sick"],
        "key": "patient",
        "site_pattern": "(.+)",
        "site_attribute": "InstitutionName",
    }
    return DicomSource("hospital", str(folder / "files"), **(more | settings))


def _listed(folder: Path) -> DicomSource:
    """The same with a table that names every file."""
    names = sorted(path.name for path in (folder / "files").iterdir())
    (folder / "files.csv").write_text("file,sick\n" + "\n".join(f"{name},{place % 2}" for place, name in enumerate(names)) + "\n")
    return _hospital(folder, labels=str(folder / "files.csv"), key="file", burned_in=[{"allow": True}])


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.ingest.unit, "CASES_PER_UNIT", 7)
    monkeypatch.setattr(medai.ingest.ingest, "FEW_BYTES", 0)


def test_counts_reconcile_and_every_refusal_has_its_reason(hospital: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = ingest(_hospital(hospital), tmp_path / "cohorts")
    counts = cohort.counts
    assert counts["cases"] + counts["quarantined"] == counts["found"] == 62  # 61 files and a label row without any
    assert counts["quarantine"] == {"missing-file": 1, "not-dicom": 1, "truncated": 1}
    assert counts["patients"] == 20 and counts["patients_unknown"] == 0 and counts["sites"] == 2
    assert len(cohort.quarantine()) == 3
    told = capsys.readouterr().err
    assert "59 cases + 3 quarantined = 62 found" in told and re.search(r"1\s+truncated", told)
    cohort.check()


def test_pixels_come_back_as_they_were_with_their_labels(hospital: Path, tmp_path: Path) -> None:
    cohort = ingest(_hospital(hospital, public=True), tmp_path / "cohorts")
    store = NativePixels(cohort.path)
    cases = pl.concat([cohort.select("development"), cohort.select("test")])
    assert len(cases) == 59
    for case in cases.iter_rows(named=True):
        image = read_dicom(hospital / "files" / case["source_key"])
        pixels = store.read(case["shard"], case["offset"], case["length"])
        assert (pixels == image.pixels).all() and pixels.dtype == image.pixels.dtype
        assert case["case_id"] == image.attributes["SOPInstanceUID"]
        assert case["sick"] == int(case["patient_id"].removeprefix("MRN")) % 2
        assert case["shape"] == list(pixels.shape) and case["pixel_max"] == pixels.max()


def test_a_hospital_s_cohort_holds_no_original_identifier(hospital: Path, tmp_path: Path, tree: Reader) -> None:
    cohort = ingest(_hospital(hospital), tmp_path / "cohorts")
    secrets = [b"MRN", b"Secretname", b"Anna", b"1.2.826", b"Confidential", b"20210315", b"2021-03-15", str(tmp_path).encode(), b".dcm"]
    for name, data in tree(cohort.path).items():
        assert not [secret for secret in secrets if secret in data or secret in name.encode()], name
    for path in cohort.path.rglob("*.parquet"):
        text = str(pl.read_parquet(path).rows())
        assert not [secret for secret in secrets if secret.decode() in text], path
    cases = cohort.cases()
    assert cases["age_years"].unique().to_list() == [90.0]
    dates = cases.group_by("patient_id").agg(pl.col("study_date").n_unique().alias("n"), pl.col("study_date").first())
    assert dates["n"].max() == 1 and dates["study_date"].n_unique() > 15
    assert cases["case_id"].str.len_chars().unique().to_list() == [32]


@pytest.mark.parametrize("where", ["while reading", "at the end"])
def test_the_unfinished_cohort_holds_no_original_identifier_either(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def stop(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    if where == "at the end":
        monkeypatch.setattr(medai.ingest.ingest, "finish", stop)
    else:
        monkeypatch.setattr(medai.source.dicom, "read_frames", stop)
    with pytest.raises(KeyboardInterrupt):
        ingest(_hospital(hospital), tmp_path / "cohorts")
    (unfinished,) = (tmp_path / "cohorts").glob("*.ingesting")
    files = [path for path in (tmp_path / "cohorts").rglob("*") if path.is_file()]
    assert any(path.suffix == (".reading" if where == "while reading" else ".parquet") for path in files)
    told = re.compile(rb"MRN|Secretname|1\.2\.826\.7|Confidential|20210315")
    assert not [path for path in files if told.search(path.read_bytes()) or told.search(str(path.relative_to(tmp_path)).encode())]
    for path in unfinished.rglob("*.parquet"):
        text = str(pl.read_parquet(path).rows())
        assert not re.search("MRN|Secretname|1\\.2\\.826\\.7|Confidential|datetime.date\\(2021, 3, 15", text), path


def test_any_number_of_workers_gives_the_same_bytes(hospital: Path, tmp_path: Path, tree: Reader, small_units: None) -> None:
    one = ingest(_hospital(hospital), tmp_path / "one", workers=0)
    two = ingest(_hospital(hospital), tmp_path / "two", workers=2)
    assert one.path.name == two.path.name
    assert len(list((two.path / "pixels").iterdir())) == 9
    assert tree(one.path) == tree(two.path)


def test_a_second_ingest_opens_what_the_first_made(hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ingest(_hospital(hospital), tmp_path / "cohorts")
    monkeypatch.setattr(medai.ingest.ingest, "_fill", None)
    assert ingest(_hospital(hospital), tmp_path / "cohorts").hash == first.hash


def test_changed_data_or_settings_make_another_cohort(hospital: Path, tmp_path: Path) -> None:
    first = ingest(_hospital(hospital), tmp_path / "cohorts")
    other = ingest(_hospital(hospital, split={"seed": 1}), tmp_path / "cohorts")
    (hospital / "labels.csv").write_text((hospital / "labels.csv").read_text().replace("MRN00003,1", "MRN00003,0"))
    third = ingest(_hospital(hospital), tmp_path / "cohorts")
    assert len({first.path, other.path, third.path}) == 3
    assert third.select("development").join(first.select("development"), on="case_id")["sick"].len() > 0


def test_the_same_cohort_elsewhere_has_the_same_hash(hospital: Path, tmp_path: Path) -> None:
    first = ingest(_hospital(hospital), tmp_path / "a")
    shutil.copytree(hospital, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        path.touch()
    assert ingest(_hospital(tmp_path / "copy"), tmp_path / "b").hash == first.hash


def test_a_site_is_held_out(hospital: Path, tmp_path: Path) -> None:
    cohort = ingest(_hospital(hospital, split={"hold_out": {"site": ["Site-B"]}}), tmp_path / "cohorts")
    assert cohort.select("test")["site"].unique().to_list() == ["Site-B"]
    assert cohort.select("development")["site"].unique().to_list() == ["Site-A"]
    assert cohort.meta["split"]["hold_out"] == {"site": ["Site-B"]}


def test_a_foreign_folder_can_be_all_test(hospital: Path, tmp_path: Path) -> None:
    cohort = ingest(_hospital(hospital, split={"test": 1.0, "validation": 0}), tmp_path / "cohorts")
    assert len(cohort.select("test")) == 59 and cohort.select("development").is_empty()


def test_no_patient_is_in_two_splits(hospital: Path, tmp_path: Path) -> None:
    cohort = ingest(_hospital(hospital, split={"test": 0.3, "validation": 0.3}), tmp_path / "cohorts")
    owners = [set(cohort.select(split)["patient_id"]) for split in ("train", "validation", "test")]
    assert all(owners) and not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])


def test_the_same_instance_twice_is_one_case(hospital: Path, tmp_path: Path) -> None:
    shutil.copy(hospital / "files/Secretname5_15.dcm", hospital / "files/copy.dcm")
    counts = ingest(_hospital(hospital), tmp_path / "cohorts").counts
    assert counts["cases"] == 59 and counts["quarantine"]["duplicate-instance"] == 1


def test_one_instance_with_two_contents_is_no_case_at_all(hospital: Path, tmp_path: Path) -> None:
    attributes = {"PatientID": "MRN00005", "SOPInstanceUID": "1.2.826.79.15"}
    write_image(hospital / "files/other.dcm", np.zeros((1, 9, 9), dtype=np.uint16), encoding=Encoding(attributes=attributes))
    counts = ingest(_hospital(hospital), tmp_path / "cohorts").counts
    assert counts["cases"] == 58 and counts["quarantine"]["contradicting-instance"] == 2


def test_a_patient_without_a_label_row_is_quarantined_and_leaves_no_pixels(hospital: Path, tmp_path: Path) -> None:
    whole = ingest(_hospital(hospital), tmp_path / "a")
    rows = (hospital / "labels.csv").read_text().replace("MRN00007,1\n", "")
    (hospital / "labels.csv").write_text(rows)
    cohort = ingest(_hospital(hospital), tmp_path / "b")
    assert cohort.counts["quarantine"]["no-label-row"] == 3
    size = [sum(path.stat().st_size for path in (found.path / "pixels").iterdir()) for found in (whole, cohort)]
    assert size[1] < size[0]


def test_an_unknown_label_stays_a_case(hospital: Path, tmp_path: Path) -> None:
    (hospital / "labels.csv").write_text((hospital / "labels.csv").read_text().replace("MRN00007,1\n", "MRN00007,\n"))
    cohort = ingest(_hospital(hospital), tmp_path / "cohorts")
    labels = pl.concat([cohort.select("development"), cohort.select("test")])["sick"]
    assert labels.null_count() == 3 and len(labels) == 59


def test_no_case_at_all_is_told_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.txt").write_text("x")
    (tmp_path / "d/b.txt").write_text("y")
    with pytest.raises(MedaiError, match=r"x: no case could be read from .* \(2 not-dicom\); check dataset.path and dataset.labels"):
        ingest(DicomSource("x", str(tmp_path / "d")), tmp_path / "cohorts")


def test_all_items_refused_by_the_scan_is_no_case_either(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "a/1.png")
    (tmp_path / "t.csv").write_text("file,sick\n9.png,1\n")
    with pytest.raises(MedaiError, match="1 missing-file, 1 no-label-row"):
        ingest(ImagesSource("x", str(tmp_path / "a"), str(tmp_path / "t.csv"), ["sick"]), tmp_path / "cohorts")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a b"])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedaiError, match="dataset.name is"):
        ingest(DicomSource(name, str(tmp_path)), tmp_path / "cohorts")


def test_paths_with_special_characters_simply_work(tmp_path: Path) -> None:
    folder = tmp_path / "数据 (copy) a=b, [1]" / "胸部"
    for name, value in (("normal/x=1 (2).png", 10), ("sick/图 像.png", 20), ("sick/'q\".png", 30)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 5), value, dtype=np.uint8)).save(folder / name)
    cohort = ingest(ImagesSource("集合", str(folder), public=True, split={"test": 0, "validation": 0}), tmp_path / "co horts=")
    assert cohort.cases()["case_id"].to_list() == ["normal/x=1 (2).png", "sick/'q\".png", "sick/图 像.png"]
    assert cohort.select("train")["label"].to_list() == [0, 1, 1]


def test_truncated_and_broken_pictures_are_quarantined(tmp_path: Path) -> None:
    for index in range(6):
        path = tmp_path / f"p/{'ab'[index % 2]}/{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (20, 20), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:100])
    np.save(tmp_path / "p/a/nan.npy", np.full((4, 4), np.nan, dtype=np.float32))
    np.save(tmp_path / "p/a/float.npy", np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4))
    cohort = ingest(ImagesSource("p", str(tmp_path / "p"), public=True), tmp_path / "cohorts")
    assert cohort.counts["quarantine"] == {"non-finite-pixels": 1, "unreadable-picture": 1}
    assert cohort.counts["cases"] == 6
    case = cohort.cases().filter(pl.col("case_id") == "a/float.npy").row(0, named=True)
    pixels = NativePixels(cohort.path).read(case["shard"], case["offset"], case["length"])
    assert pixels.dtype == np.float32 and (pixels == np.load(tmp_path / "p/a/float.npy")).all()
    assert str(tmp_path) not in str(cohort.quarantine().rows())


def _npz(folder: Path, leak: bool) -> NpzSource:
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("val", 5), ("test", 6)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
    if leak:
        arrays["train_images"][2] = arrays["test_images"][4]
    np.savez(folder / "set.npz", **arrays)
    return NpzSource("set", str(folder / "set.npz"), ["sick"])


def test_test_pixels_in_development_stop_the_ingest_until_they_are_allowed(tmp_path: Path) -> None:
    source = _npz(tmp_path, leak=True)
    for _ in range(2):  # the second call goes on from the first one's parts
        with pytest.raises(MedaiError, match=r"1 development images have the pixels of a test image \(train-000002\)"):
            ingest(source, tmp_path / "cohorts")
    cohort = ingest(source, tmp_path / "cohorts", allow=["test-pixels-in-development"])
    assert cohort.meta["allow"] == ["test-pixels-in-development"] and "train-000002" not in cohort.select("train")["case_id"]
    assert "A hard stop was overridden: test-pixels-in-development." in cohort.meta["notes"]


def test_an_override_of_one_call_does_not_open_the_cohort_for_another(tmp_path: Path) -> None:
    source = _npz(tmp_path, leak=True)
    ingest(source, tmp_path / "cohorts", allow=["test-pixels-in-development"])
    with pytest.raises(MedaiError, match=r"was made with allow=\[test-pixels-in-development\]: the hard stop still stands"):
        ingest(source, tmp_path / "cohorts")


def test_an_override_that_is_not_needed_is_not_recorded(tmp_path: Path) -> None:
    source = _npz(tmp_path, leak=False)
    assert ingest(source, tmp_path / "cohorts", allow=["patient-overlap"]).meta["allow"] == []
    ingest(source, tmp_path / "cohorts")


def test_a_patient_in_two_splits_of_the_table_is_a_hard_stop(tmp_path: Path) -> None:
    rows = ["file,patient,split,sick"]
    for index in range(8):
        Image.fromarray(np.full((5, 5), index * 9, dtype=np.uint8)).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,p{index // 2},{'train' if index < 5 else 'test'},{index % 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    source = ImagesSource("x", str(tmp_path), str(tmp_path / "t.csv"), ["sick"], public=True)
    with pytest.raises(MedaiError, match=r"1 patients are in development and in test \(p2\)"):
        ingest(source, tmp_path / "cohorts")
    cohort = ingest(source, tmp_path / "cohorts", allow=["patient-overlap"])
    assert cohort.counts["excluded"] == 1 and len(cohort.select("development")) == 4 and len(cohort.select("test")) == 3


def test_a_row_without_a_split_is_quarantined(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(np.full((5, 5), index * 9, dtype=np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "t.csv").write_text("file,split,sick\n0.png,train,0\n1.png,,1\n2.png,test,1\n")
    cohort = ingest(ImagesSource("x", str(tmp_path), str(tmp_path / "t.csv"), ["sick"]), tmp_path / "cohorts")
    assert cohort.counts["quarantine"] == {"no-split": 1} and cohort.counts["cases"] == 2


def test_instances_are_listed_for_dicom_alone(hospital: Path, tmp_path: Path) -> None:
    cohort = ingest(_hospital(hospital), tmp_path / "cohorts")
    instances = pl.read_parquet(cohort.path / "instances.parquet")
    used = instances.filter(pl.col("case_id").is_not_null())
    assert len(used) == 59 and used["sop_class_uid"].unique().to_list() == ["1.2.840.10008.5.1.4.1.1.1.1"]
    assert sorted(instances["code"].drop_nulls()) == ["not-dicom", "truncated"]
    assert cohort.counts["files"] == {"found": 61, "in_cases": 59, "in_no_case": 2}
    assert not (ingest(_npz(tmp_path, leak=False), tmp_path / "cohorts").path / "instances.parquet").exists()


def test_what_a_site_typed_into_codes_and_uids_stays_out_of_the_list_of_files(hospital: Path, tmp_path: Path) -> None:
    import pydicom

    file = min(path for path in hospital.rglob("*") if path.is_file() and pydicom.misc.is_dicom(path))
    dataset = pydicom.dcmread(file)
    dataset.Modality, dataset.SOPClassUID, dataset.BurnedInAnnotation = "KARLMUELLER", "1.2.276.19500102.47", "NO"
    dataset.save_as(file)
    instances = pl.read_parquet(ingest(_hospital(hospital), tmp_path / "cohorts").path / "instances.parquet")
    assert instances["modality"].unique().sort().to_list() == [None, "DX"]
    assert set(instances["sop_class_uid"]) == {None, "1.2.840.10008.5.1.4.1.1.1.1"}
    assert "NO" in instances["burned_in_annotation"].to_list()


def test_the_three_real_data_sets_are_ingested(shared_data: Path, tmp_path: Path) -> None:
    target = {"name": "pneumonia", "kind": "binary", "classes": ["normal", "pneumonia"]}
    npz = ingest(NpzSource("pneumoniamnist", str(shared_data / "medmnist/pneumoniamnist_rebuilt.npz"), [target]), tmp_path, workers=0)
    assert [npz.counts[split] for split in ("train", "validation", "test")] == [4708, 524, 624]
    assert npz.meta["exclusions"] == {"equal-pixels-in-validation": 10} and npz.counts["patients_unknown"] == 5856  # 8 images, 10 copies
    assert len(npz.select("train")) == 4698
    cxr = ingest(
        ImagesSource("cxr", str(shared_data / "kermany-cxr-small/dataset/train"), patient_pattern=r"(person\d+)_", public=True),
        tmp_path,
        workers=0,
    )
    assert cxr.counts["cases"] == 500 and cxr.counts["patients_unknown"] == 129 and cxr.labels[0].classes == ("NORMAL", "PNEUMONIA")
    contrast = {"name": "contrast", "column": "Contrast", "kind": "binary", "classes": ["no", "yes"]}
    split = {"hold_out": {"site": ["50"]}, "validation": 0.25}
    ct: Cohort = ingest(
        DicomSource(
            "ct", str(shared_data / "siim-ct-dicom/dicom_dir"), str(shared_data / "siim-ct-dicom/overview_dev.csv"), [contrast],
            columns={"file": "dicom_name"}, site_pattern=r"^TCGA-(\w+)-", public=True, split=split,
        ), tmp_path, workers=0,
    )  # fmt: skip
    assert ct.counts["cases"] + ct.counts["quarantined"] == 74 and ct.counts["quarantine"] == {"duplicate-instance": 5}
    assert ct.select("test")["site"].unique().to_list() == ["50"] and sorted(ct.select("development")["site"].unique()) == ["17", "34"]


def test_uncertain_labels_are_null_and_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    values = ["1.0", "0.0", "-1.0", "", "1.0", "-1.0"]
    for index in range(6):
        Image.fromarray(np.full((4, 4), 40 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    rows = [f"{index}.png,{value},{index % 2},p{index},{'train' if index < 5 else 'test'}" for index, value in enumerate(values)]
    (folder / "t.csv").write_text("\n".join(["file,edema,mass,patient,split", *rows]) + "\n")
    cohort = ingest(ImagesSource("chest", str(folder), "t.csv", ["edema", "mass"]), tmp_path / "cohorts")
    assert cohort.labels[0].classes == ("negative", "positive")
    development = cohort.select("development", uncertain=True)
    assert development["edema"].to_list() == [1, 0, None, None, 1]
    assert development["edema.uncertain"].to_list() == [False, False, True, False, False]
    assert not development["mass.uncertain"].any()
    assert cohort.select("test", uncertain=True)["edema.uncertain"].to_list() == [True]
    assert "edema.uncertain" not in cohort.select("development").columns
    counts = {"negative": 1, "positive": 2, "unknown": 1, "uncertain": 1}
    assert cohort.counts["development_labels"]["edema"] == counts
    assert "edema (binary): negative negative 1, positive positive 2, uncertain 1, unknown 1" in capsys.readouterr().err
    cohort.check()


def test_two_files_of_an_instance_that_differ_in_certainty_contradict_each_other(hospital: Path, tmp_path: Path) -> None:
    shutil.copy(hospital / "files/Secretname0_00.dcm", hospital / "files/copy.dcm")
    names = sorted(path.name for path in (hospital / "files").iterdir())
    values = {name: str(index % 2) for index, name in enumerate(names)} | {"copy.dcm": "-1", "Secretname0_00.dcm": ""}
    (hospital / "labels.csv").write_text("\n".join(["file,sick", *(f"{name},{value}" for name, value in values.items())]) + "\n")
    cohort = ingest(_hospital(hospital, key="file", public=True), tmp_path / "cohorts")
    assert cohort.counts["quarantine"]["contradicting-instance"] == 2


def test_new_studies_leave_every_old_patient_in_its_split(hospital: Path, tmp_path: Path) -> None:
    first = ingest(_hospital(hospital), tmp_path / "cohorts")
    random = np.random.default_rng(9)
    with open(hospital / "labels.csv", "a") as table:
        for patient in range(40, 80):
            attributes = {"PatientID": f"MRN{patient:05d}", "SOPInstanceUID": f"1.2.826.99.{patient}", "InstitutionName": "Site-B"}
            pixels = random.integers(0, 4096, (1, 12, 10), dtype=np.uint16)
            write_image(hospital / "files" / f"new{patient}.dcm", pixels, encoding=Encoding(attributes=attributes))
            table.write(f"MRN{patient:05d},{patient % 2}\n")
    second = ingest(_hospital(hospital), tmp_path / "cohorts")
    assert second.path != first.path and second.counts["cases"] == first.counts["cases"] + 40
    old, new = (dict(cohort.splits().select("case_id", "split").iter_rows()) for cohort in (first, second))
    assert {name: new[name] for name in old} == old
    assert second.meta["split"]["kept"]["cohort"] == first.hash
    assert len({new[name] for name in set(new) - set(old)}) == 3, "new patients go to every split"
    assert ingest(_hospital(hospital), tmp_path / "cohorts").path == second.path
    free = ingest(_hospital(hospital), tmp_path / "free", keep=None)
    assert "kept" not in free.meta["split"]


def test_several_readers_make_one_label_and_their_agreement_is_of_development_alone(hospital: Path, tmp_path: Path) -> None:
    rows = [f"MRN{patient:05d},{reader},{int(patient % 2 or reader == 'c')}" for patient in range(20) for reader in "abc"]
    (hospital / "labels.csv").write_text("patient,reader,sick\n" + "\n".join(rows) + "\n")
    cohort = ingest(_hospital(hospital), tmp_path / "cohorts")
    found = cohort.meta["agreement"]["sick"]
    development = cohort.cases().filter(pl.col("partition") == "development")
    assert found["cases"] == development["patient_id"].n_unique() < 20 and 0 < found["kappa"] < 1
    assert cohort.counts["development_labels"]["sick"]["positive"] > 0


def test_a_period_is_held_out_by_the_true_dates_with_all_cases_of_its_patients(hospital: Path, tmp_path: Path) -> None:
    late = hospital / "files" / "late.dcm"
    attributes = {"PatientID": "MRN00003", "SOPInstanceUID": "1.2.826.99.1", "StudyInstanceUID": "1.2.9", "StudyDate": "20230601"}
    write_image(late, np.full((1, 9, 9), 5, dtype=np.uint16), encoding=Encoding(attributes=attributes))
    source = replace(_hospital(hospital), split={"hold_out": {"study_date": {"from": "2023-01-01"}}})
    cohort = ingest(source, tmp_path / "cohorts")
    test = cohort.select("test")
    assert len(test) == 4 and test["patient_id"].n_unique() == 1
    assert cohort.meta["split"]["hold_out"] == {"study_date": "a period"}, "its dates would tell the shift of the others"


def test_volumes_go_into_the_cohort_and_a_view_refuses_them(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for study in range(8):
        for number in range(5):
            attributes = {
                "PatientID": f"P{study}", "StudyInstanceUID": f"1.2.{study}", "SeriesInstanceUID": f"1.2.{study}.1",
                "SOPInstanceUID": f"1.2.{study}.1.{number}", "Modality": "CT", "PixelSpacing": [1.0, 1.0],
                "ImagePositionPatient": [0.0, 0.0, 3.0 * number], "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            }  # fmt: skip
            pixels = np.full((1, 7, 9), 10 * study + number, dtype=np.uint16)
            write_image(files / f"{study}-{4 - number}", pixels, encoding=Encoding(attributes=attributes))
    (tmp_path / "t.csv").write_text("patient,sick\n" + "\n".join(f"P{study},{study % 2}" for study in range(8)))
    cohort = ingest(DicomSource("v", str(files), str(tmp_path / "t.csv"), ["sick"], key="patient"), tmp_path / "cohorts")
    assert (
        cohort.unit == "volume" and cohort.counts["cases"] == 8 and cohort.counts["files"] == {"found": 40, "in_cases": 40, "in_no_case": 0}
    )
    case = cohort.cases().row(0, named=True)
    pixels = VolumePixels(cohort.path).read(case["volume"])
    assert pixels.shape == (1, 5, 7, 9) and np.diff(pixels[0, :, 0, 0].astype(int)).tolist() == [1] * 4
    assert case["shape"] == [1, 5, 7, 9] and case["spacing_mm"] == [3.0, 1.0, 1.0] and case["files"] == 5
    stacks = pl.read_parquet(cohort.path / "stacks.parquet")
    assert len(stacks) == 8 and stacks["spacing_deviation"].max() < 0.01 and stacks["code"].is_null().all()
    cohort.check()
    with pytest.raises(MedaiError, match="holds 8 volumes"):
        ensure_view(cohort, ResizePlan(8, 8, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_ends_its_decoder_is_refused_whatever_the_number_of_workers(
    hospital: Path, tmp_path: Path, small_units: None, workers: int
) -> None:
    (hospital / "files" / "hostile").write_bytes(mutation(755, 20261124)[1])
    cohort = ingest(_listed(hospital), tmp_path / "c", workers=workers)
    assert cohort.counts["quarantine"]["decode-failed"] == 1 and cohort.counts["cases"] == 59


def test_a_source_without_labels_is_told_before_a_pixel_is_read(hospital: Path, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="data set hospital has no labels; name the table"):
        ingest(_hospital(hospital, labels=None, targets=[]), tmp_path / "cohorts")
    assert not list((tmp_path / "cohorts").glob("hospital-*"))


def test_a_number_of_channels_that_no_image_has_is_told(hospital: Path, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="dataset.channels is 2; allowed: 1, 3, or null"):
        ingest(_hospital(hospital, channels=2), tmp_path / "cohorts")


def test_patients_are_not_drawn_anew_in_silence(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ingest(_hospital(hospital), tmp_path / "cohorts")
    capsys.readouterr()
    ingest(_hospital(hospital, split={"seed": 5}), tmp_path / "cohorts")
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"patients of {first.path} are drawn anew, since dataset.split is another (keep={first.path} keeps theirs)" in said
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "another.key"))
    ingest(_hospital(hospital), tmp_path / "cohorts")
    assert "was made with another site's key: its patients are not recognised, and are drawn anew" in capsys.readouterr().err
