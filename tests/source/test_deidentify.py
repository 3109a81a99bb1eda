"""A folder is de-identified in parallel, and each instance is written once."""

import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.profile import Profile
from medai.dicom.write import Encoding, write_image
from medai.source.deidentify import deidentify, deidentify_files

KEYS = Keys(b"k" * 32)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export" / "DOE^JANE"
    folder.mkdir(parents=True)
    for number in range(6):
        attributes = {"PatientID": "MRN77", "PatientName": "DOE^JANE", "SOPInstanceUID": f"1.2.{number % 5}"}
        attributes |= {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.8"}
        write_image(folder / f"{number}.dcm", np.full((1, 6, 8), number, dtype=np.uint16), encoding=Encoding(attributes=attributes))
    (folder / "copy.dcm").write_bytes((folder / "1.dcm").read_bytes())
    (folder / "notes.txt").write_text("DOE JANE")
    return folder.parent


def test_every_instance_is_written_once_and_nothing_names_the_patient(export: Path, tmp_path: Path) -> None:
    found = deidentify(export, tmp_path / "out", KEYS, Profile(), BurnedIn(), 0)
    assert found == (8, 4, {"contradicting-instance": 2, "duplicate-instance": 1, "not-dicom": 1})
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 4
    assert not any(
        word in path.read_bytes() or word.decode() in str(path.relative_to(tmp_path)) for path in files for word in (b"DOE", b"MRN77")
    )


def test_the_same_pixels_under_another_header_are_a_duplicate(export: Path, tmp_path: Path) -> None:
    attributes = {"PatientID": "MRN77", "SOPInstanceUID": "1.2.2", "StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.8"}
    pixels = np.full((1, 6, 8), 2, dtype=np.uint16)
    write_image(export / "DOE^JANE" / "again.dcm", pixels, encoding=Encoding(attributes=attributes | {"SeriesDescription": "again"}))
    codes = deidentify_files(export, tmp_path / "out", KEYS, Profile(), BurnedIn(), 0)
    assert dict(codes.drop_nulls().iter_rows())["DOE^JANE/again.dcm"] == "duplicate-instance"


def test_the_command_names_what_was_refused(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    file = tmp_path / "refused.csv"
    assert main(["deidentify", str(export), str(tmp_path / "out"), "--refused", str(file)]) == 0
    table = pl.read_csv(file)
    assert table.columns == ["path", "code", "reason"] and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert dict(table.select("path", "code").iter_rows()) == {
        "DOE^JANE/0.dcm": "contradicting-instance", "DOE^JANE/5.dcm": "contradicting-instance",
        "DOE^JANE/copy.dcm": "duplicate-instance", "DOE^JANE/notes.txt": "not-dicom",
    }  # fmt: skip


def test_the_names_of_files_do_not_leave_with_the_copies(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    assert main(["deidentify", str(export), str(tmp_path / "out"), "--refused", str(tmp_path / "out" / "refused.csv")]) == 2
    assert "name a place outside" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_source_is_told_by_the_arguments_name(export: Path, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"^source .*notes\.txt is a file"):
        deidentify(export / "DOE^JANE" / "notes.txt", tmp_path / "out", KEYS, Profile(), BurnedIn(), 0)


def test_the_target_lies_outside(export: Path) -> None:
    with pytest.raises(MedaiError, match="outside"):
        deidentify(export, export / "out", KEYS, Profile(), BurnedIn(), 0)


def test_the_command_says_what_was_written_and_why_the_rest_was_not(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    assert main(["deidentify", str(export), str(tmp_path / "out")]) == 0
    assert "4 of 8 files written" in capsys.readouterr().out
    (tmp_path / "policy.yaml").write_text("burned: []")
    assert main(["deidentify", str(export), str(tmp_path / "o"), "--policy", str(tmp_path / "policy.yaml")]) == 2
    assert "has 'burned'; allowed: burned_in, clean_descriptors" in capsys.readouterr().err
