"""No identifier of thirty studies is anywhere in what was written: in no byte, in no name, in no encoding."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from medai.cohort.key import Keys
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.profile import Profile
from medai.source.deidentify import deidentify
from tests.dicom.deidentify.planted import WORD, Study

Written = tuple[list[Study], Path, tuple[int, int, dict[str, int]]]
STUDIES = 30
ENCODINGS = ("utf-8", "latin-1", "gb18030", "utf-16-le", "utf-16-be", "euc-kr", "iso2022_jp_2", "shift_jis")


def written_forms(identifier: str) -> Iterator[bytes]:
    for encoding in ENCODINGS:
        try:
            raw = identifier.encode(encoding)
        except UnicodeEncodeError:
            continue
        yield raw
        yield raw.lower()
        if len(raw) > 5:
            yield base64.b64encode(raw).rstrip(b"=")[:-1]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    studies = [Study(number) for number in range(STUDIES)]
    for study in studies:
        study.write(source)
    return studies, target, deidentify(source, target, Keys(b"s" * 32), Profile(), BurnedIn(), 0)


def test_every_study_is_written(written: Written) -> None:
    assert written[2] == (STUDIES, STUDIES, {})


def everything(target: Path) -> bytes:
    """Bytes and names of all that was written."""
    return b"\n".join(path.read_bytes() + b"\n" + str(path.relative_to(target)).encode() for path in sorted(target.rglob("*.dcm")))


def test_no_identifier_is_left_in_any_byte_or_name(written: Written) -> None:
    studies, target, _ = written
    identifiers = {identifier.encode() for study in studies for identifier in study.identifiers}
    assert len(identifiers) > 10_000
    found = everything(target).upper()
    left = {word for word in re.findall(rb"(?=(" + WORD + rb"))", found) if word in identifiers}
    left |= {uid for uid in identifiers if uid.startswith(b"1.2.826") and b"1.2.826" in found and uid in found}
    assert not left, f"{len(left)}, e.g. {sorted(left)[:5]}"


def test_no_name_is_left_in_any_encoding(written: Written) -> None:
    studies, target, _ = written
    found = everything(target)
    names = {name for study in studies for name in [*study.names, study.mentioned]}
    names |= {identifier for study in studies for identifier in study.identifiers[::200]}
    assert not {name for name in names for form in written_forms(name) if len(form) > 2 and form in found}


def test_what_identifies_nobody_is_left(written: Written) -> None:
    dataset = dcmread(next(written[1].rglob("*.dcm")))
    assert dataset.StudyDescription == "CHEST and"
    assert dataset.PixelData == bytes(32)
    assert dataset.PatientIdentityRemoved == "YES" and dataset.LongitudinalTemporalInformationModified == "MODIFIED"
    assert {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence} == {
        "113100",
        "113105",
        "113107",
        "113108",
        "113109",
        "113111",
    }


def test_a_second_run_writes_the_same_bytes(written: Written, tmp_path: Path) -> None:
    source = tmp_path / "source"
    Study(3).write(source)
    first, second = tmp_path / "first", tmp_path / "second"
    for target in (first, second):
        deidentify(source, target, Keys(b"s" * 32), Profile(), BurnedIn(), 0)
    one, other = (next(target.rglob("*.dcm")) for target in (first, second))
    assert one.read_bytes() == other.read_bytes() and one.relative_to(first) == other.relative_to(second)
