from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medai.dicom.write import Encoding, write_image

Tree = dict[str, bytes]


@pytest.fixture
def tree() -> Callable[[Path], Tree]:
    """Every file below a folder with its bytes."""

    def read(folder: Path) -> Tree:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    return read


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Sixty DICOM files of twenty patients at two sites, one of them cut off, a stray text file, and a label table by patient."""
    folder = tmp_path / "export"
    (folder / "files").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(60):
        patient = index // 3
        attributes = {
            "PatientID": f"MRN{patient:05d}",
            "PatientName": f"Secretname{patient}^Anna",
            "PatientAge": "093Y",
            "StudyInstanceUID": f"1.2.826.77.{patient}",
            "SeriesInstanceUID": f"1.2.826.78.{index}",
            "SOPInstanceUID": f"1.2.826.79.{index}",
            "StudyDate": "20210315",
            "StudyDescription": "call Dr. Confidential",
            "InstitutionName": "Site-A" if patient < 10 else "Site-B",
        }
        pixels = random.integers(0, 4096, (1, 12, 10 + index % 3), dtype=np.uint16)
        write_image(folder / "files" / f"Secretname{patient}_{index:02d}.dcm", pixels, encoding=Encoding(attributes=attributes))
    cut = folder / "files" / "Secretname1_04.dcm"
    cut.write_bytes(cut.read_bytes()[:-50])
    (folder / "files" / "Secretname0 note.txt").write_text("not an image")
    rows = [f"MRN{patient:05d},{patient % 2}" for patient in range(20)]
    (folder / "labels.csv").write_text("patient,sick\n" + "\n".join([*rows, "MRN99999,1"]) + "\n")
    return folder
