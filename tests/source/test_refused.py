"""Refused files are named again where the site's key is, and only there."""

import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.core.error import MedaiError
from medai.dicom.write import Encoding, write_image
from medai.ingest.ingest import ingest
from medai.source.dicom import DicomSource
from medai.source.refused import write_refused


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight patients' images, one with text in it, one without a label; a text file; a row of the table without a file."""
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    folder = tmp_path / "export"
    folder.mkdir()
    for number in range(8):
        attributes = {"PatientID": f"MRN{number}", "SOPInstanceUID": f"1.2.{number}", "StudyInstanceUID": f"1.3.{number}"}
        attributes |= {"SeriesInstanceUID": f"1.4.{number}", "BurnedInAnnotation": "YES" if number == 3 else "NO"}
        pixels = np.arange(48, dtype=np.uint16).reshape(1, 6, 8) + number
        write_image(folder / f"DOE{number}.dcm", pixels, encoding=Encoding(attributes=attributes))
    (folder / "notes.txt").write_text("DOE")
    rows = "".join(f"MRN{number},{number % 2}\n" for number in (0, 1, 2, 3, 4, 5, 6, 99))
    (tmp_path / "labels.csv").write_text(f"patient,sick\n{rows}")
    return folder


def _ingest(export: Path) -> Path:
    source = DicomSource("x", str(export), str(export.parent / "labels.csv"), ["sick"], key="patient")
    return ingest(source, export.parent / "cohorts", workers=0).path


def test_the_refused_files_of_a_cohort_are_named(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort, out = _ingest(export), export.parent / "refused.csv"
    before = {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()}
    assert main(["cohort", "refused", str(cohort), str(export), str(out)]) == 0
    table = pl.read_csv(out)
    assert table.select("path", "code").rows() == [
        ("DOE3.dcm", "burned-in-text"), ("DOE7.dcm", "no-label-row"), ("notes.txt", "not-dicom")
    ]  # fmt: skip
    assert all(table["reason"].str.len_chars() > 5) and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "1 refused names are no files" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in cohort.rglob("*") if path.is_file()}


def test_with_another_key_no_file_is_named(export: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cohort, out = _ingest(export), export.parent / "refused.csv"
    monkeypatch.setenv("MEDAI_SITE_KEY", str(export.parent / "other.key"))
    (export.parent / "other.key").write_text("ab" * 32)
    (export.parent / "other.key").chmod(0o600)
    assert main(["cohort", "refused", str(cohort), str(export), str(out)]) == 2
    assert "was made with another site's key" in capsys.readouterr().err and not out.exists()


def test_names_of_files_never_enter_a_cohort(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = _ingest(export)
    assert main(["cohort", "refused", str(cohort), str(export), str(cohort / "pixels" / "refused.csv")]) == 2
    assert "name a place outside" in capsys.readouterr().err


def test_a_table_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "refused.csv"
    out.write_text("older")
    out.chmod(0o644)
    write_refused(pl.DataFrame({"path": ["a"], "code": ["b"]}), out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and out.read_text() == "path,code\na,b\n"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MedaiError, match="cannot be written"):
        write_refused(pl.DataFrame({"path": ["a"]}), tmp_path / "file" / "refused.csv")
