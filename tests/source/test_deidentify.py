"""A folder is de-identified in parallel, and each instance is written once."""

from pathlib import Path

import numpy as np
import pytest

from medai.cli import main
from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.profile import Profile
from medai.dicom.write import Encoding, write_image
from medai.source.deidentify import deidentify

KEYS = Keys(b"k" * 32)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export" / "DOE^JANE"
    folder.mkdir(parents=True)
    for number in range(6):
        attributes = {"PatientID": "MRN77", "PatientName": "DOE^JANE", "SOPInstanceUID": f"1.2.{number % 5}"}
        attributes |= {"StudyInstanceUID": "1.2.7", "SeriesInstanceUID": "1.2.8"}
        write_image(folder / f"{number}.dcm", np.full((1, 6, 8), number, dtype=np.uint16), encoding=Encoding(attributes=attributes))
    (folder / "notes.txt").write_text("DOE JANE")
    return folder.parent


def test_every_instance_is_written_once_and_nothing_names_the_patient(export: Path, tmp_path: Path) -> None:
    found = deidentify(export, tmp_path / "out", KEYS, Profile(), BurnedIn(), 0)
    assert found == (7, 5, {"not-dicom": 1, "duplicate-instance": 1})
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert not any(
        word in path.read_bytes() or word.decode() in str(path.relative_to(tmp_path)) for path in files for word in (b"DOE", b"MRN77")
    )


def test_the_target_lies_outside(export: Path) -> None:
    with pytest.raises(MedaiError, match="outside"):
        deidentify(export, export / "out", KEYS, Profile(), BurnedIn(), 0)


def test_the_command_says_what_was_written_and_why_the_rest_was_not(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path / "site.key"))
    assert main(["deidentify", str(export), str(tmp_path / "out")]) == 0
    assert "5 of 7 files written" in capsys.readouterr().out
    (tmp_path / "policy.yaml").write_text("burned: []")
    assert main(["deidentify", str(export), str(tmp_path / "o"), "--policy", str(tmp_path / "policy.yaml")]) == 2
    assert "has 'burned'; allowed: burned_in, clean_descriptors" in capsys.readouterr().err
