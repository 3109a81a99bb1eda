from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.source.base import CaseRecord
from medai.source.phantom_source import PhantomSource


def test_the_phantom_is_written_once_and_read_like_any_dicom_folder(tmp_path: Path) -> None:
    source = PhantomSource(path=str(tmp_path / "phantom"), count=6, size=64, workers=1)
    scan = source.scan()
    assert [label.name for label in scan.labels] == ["nodule", "effusion", "cardiomegaly", "pneumothorax"]
    assert len(scan.items) == 6 and scan.refused.is_empty() and len(scan.annotations) == 6
    records = list(source.read(scan.items))
    assert all(isinstance(record, CaseRecord) and record.pixels.shape == (1, 64, 64) and record.patient for record in records)
    assert source.scan().digest == scan.digest


def test_where_the_phantom_goes_has_to_be_said() -> None:
    with pytest.raises(MedaiError, match=r"dataset.path is not set; give dataset.path=… \(the folder where"):
        PhantomSource().scan()
