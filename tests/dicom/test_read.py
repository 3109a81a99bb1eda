import io
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medai.core.error import Refusal
from medai.dicom.parse import parse
from medai.dicom.read import DicomImage, is_dicom, read_dicom, read_frames
from medai.dicom.write import Encoding, encode_image

STORED = np.arange(12, dtype=np.uint16).reshape(3, 4) * 100


def make_dataset(stored: np.ndarray = STORED, **attributes: Any) -> pydicom.Dataset:
    """A minimal image of `stored` (H, W) or (H, W, 3); an attribute that is None is left out."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def to_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(stored: np.ndarray = STORED, **attributes: Any) -> DicomImage:
    return read_dicom(to_bytes(make_dataset(stored, **attributes)))


def refusal_of(stored: np.ndarray = STORED, **attributes: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(stored, **attributes)
    assert "\n" not in caught.value.message
    return caught.value


def test_stored_values_without_rescale_stay_as_they_are() -> None:
    pixels = read().pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[0], STORED)


def test_whole_rescale_gives_the_first_integer_type_that_holds_the_values() -> None:
    pixels = read(RescaleSlope="1", RescaleIntercept="-1024").pixels
    assert pixels.dtype == np.int16
    np.testing.assert_array_equal(pixels[0], STORED.astype(int) - 1024)
    assert read(RescaleSlope="100", RescaleIntercept="0").pixels.dtype == np.int32


def test_fractional_rescale_gives_float32() -> None:
    pixels = read(RescaleSlope="0.5", RescaleIntercept="3").pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[0], STORED * 0.5 + 3)


def test_monochrome1_turns_round_about_the_range_of_the_stored_type() -> None:
    pixels = read(PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11).pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[0], 4095 - STORED)


def test_monochrome1_with_rescale_turns_round_in_modality_values() -> None:
    stored = STORED.astype(np.int16) - 600
    pixels = read(stored, PhotometricInterpretation="MONOCHROME1", RescaleSlope="2", RescaleIntercept="10").pixels
    low, high = -32768 * 2 + 10, 32767 * 2 + 10
    np.testing.assert_array_equal(pixels[0], low + high - (stored.astype(int) * 2 + 10))


def lut(entries: int, first: int, bits: int, data: bytes, representation: str = "US") -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", representation, [entries, first, bits])
    item.add_new("LUTData", "OW", data)
    return pydicom.Sequence([item])


def test_modality_lut_maps_and_clips_at_both_ends() -> None:
    table = np.array([7, 500, 65535], "<u2")
    stored = np.array([[99, 100], [101, 105]], np.uint16)
    pixels = read(stored, ModalityLUTSequence=lut(3, 100, 16, table.tobytes())).pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[0], [[7, 7], [500, 65535]])


def test_modality_lut_that_is_shorter_than_promised_is_refused() -> None:
    refusal = refusal_of(ModalityLUTSequence=lut(300, 0, 16, b"\0\0" * 3))
    assert refusal.code == "bad-header"
    assert "(0028,3002)" in refusal.message


def test_palette_becomes_rgb() -> None:
    dataset = make_dataset(np.array([[0, 1], [2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour, values in {"Red": [0, 10, 20, 30], "Green": [1, 11, 21, 31], "Blue": [2, 12, 22, 32]}.items():
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, 8])
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", bytes(values))
    pixels = read_dicom(to_bytes(dataset)).pixels
    assert pixels.shape == (3, 2, 2)
    np.testing.assert_array_equal(pixels[:, 0, 1], [10, 11, 12])
    np.testing.assert_array_equal(pixels[:, 1, 0], [20, 21, 22])


def test_rgb_with_equal_channels_stays_rgb() -> None:
    stored = np.full((2, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(read(stored).pixels, np.moveaxis(stored, -1, 0))


def test_ybr_becomes_rgb() -> None:
    grey_and_red = np.array([[[90, 128, 128], [76, 85, 255]]], np.uint8)
    pixels = read(grey_and_red, PhotometricInterpretation="YBR_FULL").pixels
    np.testing.assert_array_equal(pixels[:, 0, 0], [90, 90, 90])
    assert pixels[0, 0, 1] > 250
    assert pixels[1, 0, 1] < 5


def test_attributes_are_those_of_the_allowlist_as_plain_values() -> None:
    attributes = read(
        PatientID="P1",
        PatientName="Do^Not^Tell",
        PatientAge="018M",
        ImagerPixelSpacing=[0.2, 0.3],
        WindowCenter=[40, 50],
        PatientComments="secret",
    ).attributes
    assert attributes["PatientID"] == "P1"
    assert attributes["PatientAgeYears"] == pytest.approx(1.5)
    assert attributes["ImagerPixelSpacing"] == [0.2, 0.3]
    assert attributes["WindowCenter"] == 40.0
    assert not {"PatientName", "PatientComments", "PatientBirthDate"} & attributes.keys()


def test_age_is_told_by_the_dates_where_it_is_missing() -> None:
    assert read(PatientBirthDate="19600301", StudyDate="20200229").attributes["PatientAgeYears"] == 59.0
    assert "PatientAgeYears" not in read(PatientBirthDate="20300101", StudyDate="20200101").attributes


@pytest.mark.parametrize(
    ("attributes", "code", "tag"),
    [
        ({"PixelData": None}, "no-pixels", "(7FE0,0010)"),
        ({"NumberOfFrames": 2}, "multi-frame", "(0028,0008)"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported-pixels", "(0028,0004)"),
        ({"PhotometricInterpretation": None}, "unsupported-pixels", "(0028,0004)"),
        ({"Rows": 0}, "bad-header", "(0028,0010)"),
        ({"BitsAllocated": None}, "bad-header", "(0028,0100)"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "bad-header", "(0028,1053)"),
        ({"Rows": 4}, "truncated", "(7FE0,0010)"),
        ({"Rows": 65535, "Columns": 65535}, "too-large", "65535 x 65535"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_tag(attributes: dict[str, Any], code: str, tag: str) -> None:
    refusal = refusal_of(**attributes)
    assert refusal.code == code
    assert tag in refusal.message


def test_unknown_transfer_syntax_is_refused() -> None:
    data = to_bytes(make_dataset()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")
    with pytest.raises(Refusal, match=r"\(0002,0010\) 'Transfer Syntax UID' is 1.2.840.10008.1.2.9") as caught:
        read_dicom(data)
    assert caught.value.code == "unsupported-syntax"


def test_a_cut_file_is_refused_wherever_it_is_cut() -> None:
    data = to_bytes(make_dataset())
    codes = set()
    for length in range(0, len(data), 3):
        with pytest.raises(Refusal) as caught:
            read_dicom(data[:length])
        codes.add(caught.value.code)
    assert codes <= {"truncated", "not-dicom", "no-pixels"}
    with pytest.raises(Refusal, match=r"the file is cut off: \(7FE0,0010\) has 20 of 24 bytes"):
        read_dicom(data[:-4])


def test_a_missing_path_and_a_text_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"none\.dcm does not exist") as caught:
        read_dicom(tmp_path / "none.dcm")
    assert caught.value.code == "missing-file"
    text = tmp_path / "text.dcm"
    text.write_text("this is not the image you are looking for " * 10)
    with pytest.raises(Refusal, match="not a DICOM file"):
        read_dicom(text)
    assert not is_dicom(text)
    assert not is_dicom(tmp_path)


def test_a_file_without_preamble_and_meta_information_is_read(tmp_path: Path) -> None:
    data = to_bytes(make_dataset())
    path = tmp_path / "no-suffix"
    path.write_bytes(data[data.index(b"\x08\0\x16\0UI") :])
    assert is_dicom(path)
    np.testing.assert_array_equal(read_dicom(path).pixels[0], STORED)


def deflated(body: bytes) -> bytes:
    dataset = make_dataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = to_bytes(dataset)
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:start] + compressor.compress(body or zlib.decompress(data[start:], -zlib.MAX_WBITS)) + compressor.flush()


def test_a_deflated_file_is_read_under_a_cap() -> None:
    np.testing.assert_array_equal(read_dicom(deflated(b"")).pixels[0], STORED)
    bomb = deflated(b"\x08\0\x16\0UI\x02\x001\0" + b"\0" * 5_000_000)
    assert len(bomb) < 10_000
    with pytest.raises(Refusal, match="inflates to more than the 1,000,000 bytes") as caught:
        parse(bomb, maximum_bytes=1_000_000)
    assert caught.value.code == "too-large"
    with pytest.raises(Refusal, match="no end"):
        read_dicom(deflated(b"")[:-10])


@pytest.mark.parametrize("syntax", ["rle", "jpeg-ls", "jpeg-2000"])
def test_a_damaged_compressed_stream_is_refused_or_read_but_never_breaks_out(syntax: str) -> None:
    data = encode_image(STORED.repeat(20, 0).repeat(20, 1)[None], "OT", Encoding(12, transfer_syntax=syntax))
    start, draw, codes = data.index(b"\xe0\x7f\x10\0"), np.random.default_rng(0), set()
    for _ in range(20):
        damaged = bytearray(data[: draw.integers(start + 8, len(data))] if draw.random() < 0.5 else data)
        for place in draw.integers(start, len(damaged), 4):
            damaged[place] = draw.integers(256)
        try:
            read_dicom(bytes(damaged))
        except Refusal as refusal:
            codes.add(refusal.code)
    assert codes <= {"truncated", "no-pixels", "decode-failed", "unsupported-pixels", "not-dicom"}
    assert codes


@pytest.mark.parametrize("syntax", ["jpeg-ls", "jpeg-2000"])
def test_a_compressed_frame_that_claims_another_size_is_refused_before_it_is_decoded(syntax: str) -> None:
    data = bytearray(encode_image(STORED.repeat(20, 0).repeat(20, 1)[None], "OT", Encoding(12, transfer_syntax=syntax)))
    place = data.index(b"\xff\xf7") + 5 if syntax == "jpeg-ls" else data.index(b"\xff\x4f\xff\x51") + 8
    data[place : place + 2] = b"\x7f\x7f"
    with pytest.raises(Refusal, match=r"the compressed frame is .* pixels, \(0028,0010\) 'Rows' x \(0028,0011\) 'Columns' 60 x 80"):
        read_dicom(bytes(data))


def test_importing_the_reader_does_not_import_pydicom() -> None:
    code = "import sys, medai.dicom.read, medai.dicom.write; assert not {'pydicom', 'torch', 'scipy', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


REFUSED = {
    "not-dicom": "FileInfo.txt LICENSE README README.txt README.txt crayons.icc no_meta.dcm rtplan.dump rtstruct.dump test1.json "
    "test_PN.json zipMR.gz",
    "no-pixels": "DICOMDIR DICOMDIR DICOMDIR-bigEnd DICOMDIR-empty.dcm DICOMDIR-implicit DICOMDIR-nooffset DICOMDIR-nopatient "
    "DICOMDIR-reordered ExplVR_BigEndNoMeta.dcm ExplVR_LitEndNoMeta.dcm "
    + " ".join(
        f"IM0000{number}"
        for number in [*(f"0{digit}" for digit in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"), *(f"1{digit}" for digit in "0123456789ABCD")]
    )
    + " UN_sequence.dcm chrJapMulti.dcm chrJapMultiExplicitIR6.dcm chrKoreanMulti.dcm chrSQEncoding.dcm chrSQEncoding1.dcm "
    "empty_charset_LEI.dcm no_meta_group_length.dcm priv_SQ.dcm reportsi.dcm reportsi_with_empty_number_tags.dcm rtplan.dcm rtstruct.dcm "
    "test-SR.dcm waveform_ecg.dcm",
    "decode-failed": "JPEG2000-embedded-sequence-delimiter.dcm",
    "truncated": "MR_truncated.dcm rtplan_truncated.dcm",
    "unsupported-pixels": "SC_rgb_rle_32bit.dcm SC_rgb_rle_32bit_2frame.dcm meta_missing_tsyntax.dcm nested_priv_SQ.dcm",
    "bad-header": "badVR.dcm",
}
"""The files of pydicom that are no image, by the code of their refusal."""


@pytest.mark.parametrize("fast", [False, True])
def test_every_file_of_pydicom_gives_its_image_or_its_refusal(fast: bool, shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [path for path in sorted((shared_data / "pydicom-test_files").rglob("*")) if path.is_file()]
    images: dict[str, np.ndarray] = {}
    refused: dict[str, list[str]] = {}
    messages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files:
            try:
                images[path.name] = read_frames(path, fast=fast)[0]
            except Refusal as refusal:
                refused.setdefault(refusal.code, []).append(path.name)
                messages.append(refusal.message)
    assert {code: sorted(names) for code, names in refused.items()} == {code: sorted(names.split()) for code, names in REFUSED.items()}
    assert len(images) == 100 and len(files) == 195
    assert all(pixels.ndim == 4 and pixels.shape[1] in (1, 3) for pixels in images.values())
    assert {pixels.dtype.name for pixels in images.values()} == {"uint8", "uint16", "int16", "int32", "float32"}
    assert {name: len(pixels) for name, pixels in images.items() if len(pixels) > 1} == MULTI_FRAME
    assert not caplog.records and not any("\n" in message for message in messages)


MULTI_FRAME = {
    "SC_rgb_rle_16bit_2frame.dcm": 2,
    "SC_rgb_rle_2frame.dcm": 2,
    "examples_ybr_color.dcm": 30,
    "rtdose.dcm": 15,
    "rtdose_expb.dcm": 15,
    "rtdose_rle.dcm": 15,
}


def test_a_single_frame_is_the_same_by_either_reader_and_in_either_order(shared_data: Path) -> None:
    checked = 0
    for path in sorted((shared_data / "pydicom-test_files").rglob("*")):
        try:
            single = read_dicom(path).pixels
        except Refusal:
            continue
        for fast in (False, True):
            frames = read_frames(path, fast=fast)[0]
            assert frames.dtype == single.dtype
            np.testing.assert_array_equal(frames[0], single, err_msg=path.name)
        checked += 1
    assert checked == 94


def test_all_files_agree_with_pydicom_in_every_frame(shared_data: Path) -> None:
    checked = 0
    for path in sorted((shared_data / "pydicom-test_files").rglob("*")):
        try:
            frames = read_frames(path, fast=True)[0]
        except Refusal:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            if dataset.PhotometricInterpretation == "MONOCHROME1" or path.name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):
                continue  # turned round; or not read by pydicom
            expected = pixel_array(dataset)
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                expected = apply_color_lut(expected, dataset)[..., :3]
            elif dataset.SamplesPerPixel == 1:
                expected = apply_modality_lut(expected, dataset)
        if frames.shape[1] == 3:
            expected = np.moveaxis(expected, -1, -3)
        np.testing.assert_array_equal(frames, expected.reshape(frames.shape), err_msg=path.name)
        checked += 1
    assert checked == 95


@pytest.mark.parametrize("fast", [False, True])
def test_all_transfer_syntaxes_give_the_same_pixels(fast: bool, shared_data: Path) -> None:
    paths = sorted((shared_data / "dcm_qa_ts" / "In").glob("*.dcm"))
    images = [read_frames(path, fast=fast)[0] for path in paths]
    assert len(images) == 9
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])
    np.testing.assert_array_equal(read_dicom(paths[0]).pixels, images[0][0])


def test_ct_slices_are_in_hounsfield_units(shared_data: Path) -> None:
    path = sorted((shared_data / "siim-ct-dicom" / "dicom_dir").glob("*.dcm"))[0]
    image = read_dicom(path)
    assert image.pixels.shape == (1, 512, 512)
    assert image.pixels.min() <= -1000
    assert image.attributes["Modality"] == "CT"
    assert image.attributes["PatientID"].startswith("TCGA")
