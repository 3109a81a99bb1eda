import csv
import hashlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.dicom.read import read_dicom
from medai.source.phantom.detector import present, quantise
from medai.source.phantom.finding import CARDIOMEGALY_RATIO
from medai.source.phantom.population import IMAGES_A_BLOCK, SITES, STUDIES_OF_BLOCK, visit_of
from medai.source.phantom.simulate import FINDINGS, PhantomSettings, simulate
from medai.source.phantom.vector import phantom_dicom, phantom_pixels
from medai.source.phantom.write import COLUMNS, write_chunk, write_phantom

SMALL = PhantomSettings(count=30, size=48, seed=5)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    write_phantom(folder, SMALL, workers=1)
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "labels.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_an_image_depends_on_seed_and_index_alone() -> None:
    first, again = simulate(1, 77, SMALL), simulate(1, 77, SMALL)
    np.testing.assert_array_equal(first.radiance, again.radiance)
    assert first.labels == again.labels
    assert not np.array_equal(first.radiance, simulate(2, 77, SMALL).radiance)


def test_the_folder_holds_the_files_of_its_table(folder: Path) -> None:
    rows = rows_of(folder)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == SMALL.count
    assert {path.name for path in folder.iterdir()} == {"images", "labels.csv", "phantom.json"}
    assert sorted(row["file"] for row in rows) == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.dcm"))
    for row in rows:
        image = read_dicom(folder / row["file"])
        assert image.pixels.shape == (1, 48, 48)
        assert image.attributes["PatientID"] == row["patient"]
        assert image.attributes["PatientSex"] == row["sex"]
        assert image.attributes["PatientAgeYears"] == float(row["age"])
        assert image.attributes["InstitutionName"] == f"Phantom Hospital {row['site']}"


def test_the_files_hold_the_simulated_pixels(folder: Path) -> None:
    for index, row in enumerate(rows_of(folder)[:12]):
        case = simulate(SMALL.seed, index, SMALL)
        stored = quantise(present(case.radiance, case.visit.site, case.brightness), case.visit.site.bits_stored)
        np.testing.assert_array_equal(read_dicom(folder / row["file"]).pixels[0], stored)
        assert [row[name] for name in FINDINGS] == [str(case.labels[name]) for name in FINDINGS]


def test_workers_and_executors_change_no_byte(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hashes(folder)
    monkeypatch.setattr("medai.source.phantom.write._CHUNK", 8)
    with ThreadPoolExecutor(3) as pool:
        write_phantom(tmp_path / "threads", SMALL, executor=pool)
    assert hashes(tmp_path / "threads") == expected


def test_processes_change_no_byte(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    with ProcessPoolExecutor(1) as pool:
        pool.submit(write_chunk, tmp_path, 0, SMALL).result()
    expected = {name: digest for name, digest in hashes(folder).items() if name.endswith(".dcm")}
    assert {name: digest for name, digest in hashes(tmp_path).items() if name.endswith(".dcm")} == expected


def test_a_longer_set_begins_with_the_images_of_a_shorter_one(folder: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "short", PhantomSettings(count=4, size=48, seed=5), workers=0)
    short, long = hashes(tmp_path / "short"), hashes(folder)
    names = [name for name in short if name.endswith(".dcm")]
    assert len(names) == 4
    assert all(short[name] == long[name] for name in names)


def test_a_half_made_folder_is_gone_on_with(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medai.source.phantom.write._CHUNK", 10)
    made: list[int] = []

    def stop_in_the_second_chunk(where: Path, start: int, settings: PhantomSettings) -> None:
        made.append(start)
        if len(made) == 2:
            raise KeyboardInterrupt
        write_chunk(where, start, settings)

    monkeypatch.setattr("medai.source.phantom.write.write_chunk", stop_in_the_second_chunk)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "set", SMALL, workers=1)
    assert not (tmp_path / "set" / "phantom.json").exists()
    with pytest.raises(MedaiError, match="choose another folder"):
        write_phantom(tmp_path / "set", PhantomSettings(count=31, size=48, seed=5), workers=1)
    write_phantom(tmp_path / "set", SMALL, workers=1)
    assert made == [0, 10, 10, 20]  # the finished chunk is not made again
    assert hashes(tmp_path / "set") == hashes(folder)


def test_a_complete_folder_is_left_alone_and_other_settings_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medai.source.phantom.write.write_chunk", lambda *_: pytest.fail("made again"))
    write_phantom(folder, SMALL)
    assert read_json(folder / "phantom.json")["seed"] == 5
    with pytest.raises(MedaiError, match='holds the phantom .*"seed": 5.*, not .*"seed": 6'):
        write_phantom(folder, PhantomSettings(count=30, size=48, seed=6))


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(MedaiError, match="is not empty and holds no phantom"):
        write_phantom(tmp_path, SMALL)


def test_patients_have_one_to_four_studies_at_one_site() -> None:
    visits = [visit_of(3, index) for index in range(10 * IMAGES_A_BLOCK)]
    studies: dict[int, list[int]] = {}
    for visit in visits:
        studies.setdefault(visit.patient, []).append(visit.study)
    assert len(studies) == 10 * len(STUDIES_OF_BLOCK)
    assert all(numbers == list(range(len(numbers))) for numbers in studies.values())
    assert {len(numbers) for numbers in studies.values()} == {1, 2, 3, 4}
    persons = {(visit.patient, visit.site.name, visit.sex) for visit in visits}
    assert len(persons) == len(studies)
    assert all(18 <= visit.age_years <= 99 for visit in visits)
    assert visit_of(3, 10**9).patient > 6 * 10**8  # any index, without counting


def test_sites_differ_as_hospitals_do() -> None:
    assert sum(site.share for site in SITES) == pytest.approx(1)
    for attribute in ("manufacturer", "photometric", "transfer_syntax", "bits_stored", "field_mm", "photons"):
        assert len({getattr(site, attribute) for site in SITES}) > 1
    assert {site.bits_stored for site in SITES} == {10, 12, 14}


def test_every_finding_is_neither_rare_nor_common() -> None:
    cases = [simulate(0, index, PhantomSettings(size=32)) for index in range(600)]
    for name in FINDINGS:
        assert 0.08 < np.mean([case.labels[name] for case in cases]) < 0.32, name
    for case in cases:
        assert case.labels["cardiomegaly"] == (case.heart_ratio > CARDIOMEGALY_RATIO)
        assert all(3 <= nodule.radius <= 15 for nodule in case.findings.nodules)


def test_effusion_and_cardiomegaly_are_learnable_from_thumbnails() -> None:
    cases = [simulate(0, index, PhantomSettings(size=64)) for index in range(720)]
    pixels = np.stack([present(case.radiance, case.visit.site).reshape(32, 2, 32, 2).mean((1, 3)).ravel() for case in cases])
    pixels = pixels - pixels[:480].mean(0)
    kernel = pixels @ pixels[:480].T
    for name in ("effusion", "cardiomegaly"):
        target = np.array([case.labels[name] for case in cases], float)
        weight = np.linalg.solve(kernel[:480] + 3 * np.eye(480), target[:480] - target[:480].mean())
        score, truth = (kernel @ weight)[480:], target[480:] == 1
        area = np.mean(score[truth][:, None] > score[~truth][None])
        assert area > 0.7, f"{name}: {area:.3f}"


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 100, 73), (1, 33, 120), (1, 8, 8)])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1024.0, 3071.0), (0.0, 255.0)])
def test_phantom_pixels_have_the_shape_and_the_range_asked_for(shape: tuple[int, int, int], low: float, high: float) -> None:
    pixels = phantom_pixels(3, shape, low, high)
    assert pixels.shape == shape
    assert pixels.dtype == np.float32
    assert low <= pixels.min() < pixels.max() <= high
    assert (np.rint(pixels) == pixels).all() == (high > 2)
    assert (pixels == pixels[:1]).all()


@pytest.mark.parametrize("monochrome1", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1024.0, 3071.0), (0.0, 65535.0), (1000.0, 1004.0), (-5.0, -1.0)])
def test_a_phantom_dicom_reads_back_exactly(low: float, high: float, monochrome1: bool, tmp_path: Path) -> None:
    pixels = phantom_pixels(4, (1, 41, 30), low, high)
    phantom_dicom(pixels, tmp_path / "one.dcm", monochrome1=monochrome1)
    image = read_dicom(tmp_path / "one.dcm")
    np.testing.assert_array_equal(image.pixels.astype(np.float32), pixels)
    assert image.attributes["PhotometricInterpretation"] == ("MONOCHROME1" if monochrome1 else "MONOCHROME2")
    assert (image.attributes["Modality"], image.attributes["BodyPartExamined"]) == ("DX", "CHEST")


def test_a_phantom_dicom_takes_whole_numbers_of_any_type_and_colour(tmp_path: Path) -> None:
    for pixels in (np.full((1, 9, 9), -7, np.int16), np.arange(81, dtype=np.int64).reshape(1, 9, 9), np.zeros((3, 9, 9), np.float32)):
        phantom_dicom(pixels, tmp_path / "one.dcm", modality="CT" if len(pixels) == 1 else "OT", body_part="HEAD")
        np.testing.assert_array_equal(read_dicom(tmp_path / "one.dcm").pixels, pixels)
    with pytest.raises(MedaiError, match="expected whole numbers from 0 to 65535"):
        phantom_dicom(np.full((1, 9, 9), 0.5), tmp_path / "one.dcm")
    with pytest.raises(MedaiError, match="expected whole numbers from -1 to 65534"):
        phantom_dicom(np.array([[[-1, 70000]]]), tmp_path / "one.dcm")


def test_names_and_identifiers_say_that_they_are_synthetic(folder: Path) -> None:
    dataset = pydicom.dcmread(next(folder.rglob("*.dcm")))
    assert str(dataset.PatientName).startswith("PHANTOM^")
    assert dataset.PatientID.startswith("PHANTOM-5-")
    assert dataset.StudyInstanceUID.is_valid
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
