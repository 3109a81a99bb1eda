import io
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread, dcmwrite

from medai.cohort.key import Keys
from medai.core.error import MedaiError, Refusal
from medai.dicom.deidentify.burned_in import BurnedIn
from medai.dicom.deidentify.clean import deidentify_dataset
from medai.dicom.deidentify.file import deidentify_file
from medai.dicom.deidentify.profile import Profile
from medai.dicom.parse import parse
from medai.dicom.write import Encoding, encode_image
from medai.source.deidentify import deidentify

KEYS = Keys(b"s" * 32)
POLICY = BurnedIn.of([{"allow": True}, {"allow": True, "burned_in": "YES"}])


def image(syntax: str = "explicit", modality: str = "CT", **attributes: Any) -> bytes:
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64) % 4096
    return encode_image(pixels, modality, Encoding(bits_stored=12, transfer_syntax=syntax, attributes=attributes))


def changed(data: bytes, **attributes: Any) -> bytes:
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def result(data: bytes, **options: Any) -> Dataset:
    return dcmread(io.BytesIO(deidentify_file(data, KEYS, **options).data))


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg-ls", "jpeg-2000"])
def test_pixels_pass_as_they_are_encoded(syntax: str) -> None:
    data = image(syntax)
    one, other = dcmread(io.BytesIO(data)), result(data)
    assert one.PixelData == other.PixelData and one.file_meta.TransferSyntaxUID == other.file_meta.TransferSyntaxUID


def test_the_file_meta_information_is_new_and_the_preamble_empty() -> None:
    data = deidentify_file(b"SECRET".ljust(128, b"x") + image()[128:], KEYS).data
    dataset = dcmread(io.BytesIO(data))
    assert data[:128] == b"\0" * 128
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert "SourceApplicationEntityTitle" not in dataset.file_meta


def test_the_age_stays_where_only_the_birth_date_told_it() -> None:
    dataset = result(changed(image(), PatientBirthDate="19200101", StudyDate="20200101"))
    assert dataset.PatientAge == "090Y" and dataset.PatientBirthDate == ""


def test_names_are_those_of_a_cohort() -> None:
    file = deidentify_file(changed(image(), PatientID="MRN-1"), KEYS)
    assert file.path.split("/")[0] == KEYS.name("patient", "MRN-1") == dcmread(io.BytesIO(file.data)).PatientID


def test_an_identifier_of_the_file_does_not_stay_in_the_name_of_a_device() -> None:
    dataset = result(changed(image(), PatientName="Okonkwo^Ada", StationName="OKONKWO CT", ManufacturerModelName="Spirit 4"))
    assert dataset.StationName == "CT" and dataset.ManufacturerModelName == "Spirit 4"


def test_local_codes_are_keyed_and_public_ones_get_the_meaning_of_the_standard() -> None:
    items = []
    for value, scheme, meaning in (("39607008", "SCT", "lung of Mr. Okonkwo"), ("OKO-7", "99CLINIC", "Okonkwo protocol chest")):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        items.append(item)
    public, local = result(changed(image(), AnatomicRegionSequence=items)).AnatomicRegionSequence
    assert (public.CodeValue, public.CodeMeaning.lower()[:4]) == ("39607008", "lung")
    assert local.CodingSchemeDesignator == "99REMOVED" and "OKO" not in local.CodeValue and local.CodeMeaning == "protocol chest"


def test_safe_private_numbers_stay_and_texts_in_their_place_do_not() -> None:
    dataset = dcmread(io.BytesIO(image()))
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "800")
    block.add_new(0x0E, "LO", "Okonkwo")
    stream = io.BytesIO()
    dcmwrite(stream, dataset)
    private = [element for element in result(stream.getvalue()) if element.tag.is_private]
    assert [str(element.value) for element in private] == ["SIEMENS MR HEADER", "800"]


def test_a_number_attribute_written_as_text_goes() -> None:
    dataset = dcmread(io.BytesIO(image()))
    dataset[0x00180060] = DataElement(0x00180060, "LO", "Okonkwo")
    dataset[0x00189345] = DataElement(0x00189345, "LO", "Okonkwo")
    stream = io.BytesIO()
    dcmwrite(stream, dataset)
    assert b"Okonkwo" not in deidentify_file(stream.getvalue(), KEYS).data


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_a_hidden_region_is_black_and_said_so(syntax: str) -> None:
    data = image(syntax, BurnedInAnnotation="YES")
    policy = BurnedIn.of([{"burned_in": "YES", "rows": 64, "columns": 64, "hide": [[0, 0, 8, 64]]}])
    one, other = dcmread(io.BytesIO(data)).pixel_array, result(data, burned_in=policy)
    assert (other.pixel_array[:8] == 0).all() and (other.pixel_array[8:] == one[8:]).all()
    assert other.BurnedInAnnotation == "NO" and "113101" in {item.CodeValue for item in other.DeidentificationMethodCodeSequence}


def test_an_overlay_in_unused_bits_is_cleared() -> None:
    dataset = dcmread(io.BytesIO(image()))
    plain = dataset.pixel_array.copy()
    dataset.PixelData = (plain | 0xF000).astype("<u2").tobytes()
    dataset[0x60000102] = DataElement(0x60000102, "US", 12)
    stream = io.BytesIO()
    dcmwrite(stream, dataset)
    cleaned = result(stream.getvalue())
    assert (np.frombuffer(cleaned.PixelData, "<u2").reshape(64, 64) == plain).all() and 0x60000102 not in cleaned


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "unsafe-object"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11"}, "unsafe-object"),
        ({"SOPClassUID": "1.2.3.4"}, "unsafe-object"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-text"),
    ],
)
def test_what_cannot_be_made_safe_is_refused(attributes: dict[str, str], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        deidentify_file(changed(image(), **attributes), KEYS)
    assert caught.value.code == code


def test_without_a_key_nothing_is_de_identified() -> None:
    with pytest.raises(MedaiError, match="needs the site's key"):
        deidentify_dataset(parse(image()), Keys(None))


def test_source_and_target_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for source, target in ((tmp_path, tmp_path / "out"), (tmp_path / "in", tmp_path), (tmp_path, tmp_path)):
        with pytest.raises(MedaiError, match="one in the other"):
            deidentify(source, target, KEYS, Profile(), BurnedIn(), 0)


def test_a_folder_reconciles(tmp_path: Path) -> None:
    source = tmp_path / "Okonkwo Ada"
    source.mkdir()
    (source / "a.dcm").write_bytes(image())
    (source / "copy.dcm").write_bytes(image())
    (source / "notes.txt").write_text("not DICOM")
    summary = deidentify(source, tmp_path / "out", KEYS, Profile(), BurnedIn(), 0)
    assert summary == (3, 1, {"duplicate-instance": 1, "not-dicom": 1})
    assert "notes" not in str(summary)


def errors(path: Path) -> Counter[str]:
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
    lines = (run.stderr + run.stdout).decode(errors="replace").splitlines()
    return Counter(re.sub(r"<[0-9.]+>", "<>", line) for line in lines if line.startswith("Error"))


@pytest.mark.proof
def test_real_files_are_as_valid_as_their_originals(shared_data: Path, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy; install the Debian package dicom3tools")
    folders = [shared_data / name for name in ("pydicom-test_files", "siim-ct-dicom", "dcm_qa_ts", "dicom2nifti-data")]
    compared, better, worse = 0, 0, {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 20e6):
        data = path.read_bytes()
        if b"1.2.840.10008.1.2.1.99" in data[:1000]:
            continue  # dciodvfy does not inflate
        try:
            written = deidentify_file(data, KEYS, burned_in=POLICY)
        except Refusal:
            continue
        (tmp_path / "file.dcm").write_bytes(written.data)
        before, after = errors(path), errors(tmp_path / "file.dcm")
        compared, better = compared + 1, better + (before - after).total()
        if after - before:
            worse[path.name] = after - before
    print(f"{compared} files compared, {better} errors fewer, {len(worse)} files with new errors")
    assert compared >= 150 and not worse, worse
