import io
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, pixel_array

import medai.dicom.parse
import medai.dicom.pixel
from medai.core.error import Refusal
from medai.dicom.modality import padding_range, rescale_of, window_of
from medai.dicom.read import read_dicom, read_frames
from tests.dicom.mutate import BIG, EXPLICIT, JPEG, RLE, data_set, modality_lut, palette, per_frame, to_bytes, wave


def refusal_of(data: bytes, frames: list[int] | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_frames(data, frames)
    assert "\n" not in caught.value.message
    return caught.value


def test_each_frame_has_its_own_rescale_and_all_have_one_number_type() -> None:
    stored = wave(12, frames=3)
    data = to_bytes(data_set(stored, 12, RescaleSlope="9", RescaleIntercept="9", **per_frame([("1", "0"), ("2", "-1024"), ("1", "5")])))
    pixels, _ = read_frames(data)
    assert pixels.dtype == np.int16
    expected = np.stack([stored[0].astype(int), stored[1].astype(int) * 2 - 1024, stored[2].astype(int) + 5])
    np.testing.assert_array_equal(pixels[:, 0], expected)
    np.testing.assert_array_equal(read_frames(data, [1])[0][0, 0], expected[1])


def test_a_fractional_rescale_of_one_frame_makes_all_of_them_float32() -> None:
    stored = wave(12, frames=2)
    pixels, _ = read_frames(to_bytes(data_set(stored, 12, **per_frame([("1", "0"), ("0.5", "0.25")]))))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[:, 0], np.stack([stored[0], stored[1] * 0.5 + 0.25]).astype(np.float32))


def test_the_shared_rescale_holds_where_a_frame_has_none() -> None:
    stored = wave(12, frames=2)
    dataset = data_set(stored, 12)
    dataset.SharedFunctionalGroupsSequence = per_frame([("2", "-5")])["PerFrameFunctionalGroupsSequence"]
    np.testing.assert_array_equal(read_frames(to_bytes(dataset))[0][:, 0], stored.astype(int) * 2 - 5)


def test_frames_of_monochrome1_turn_round_each_by_its_own_rescale() -> None:
    stored = wave(12, frames=2)
    dataset = data_set(stored, 12, PhotometricInterpretation="MONOCHROME1", **per_frame([("1", "0"), ("2", "10")]))
    expected = np.stack([4095 - stored[0].astype(int), (0 * 2 + 10) + (4095 * 2 + 10) - (stored[1].astype(int) * 2 + 10)])
    np.testing.assert_array_equal(read_frames(to_bytes(dataset))[0][:, 0], expected)


def test_a_modality_lut_holds_for_all_frames() -> None:
    stored = wave(8, frames=2)
    table = np.arange(256, dtype="<u2") ** 2
    pixels, _ = read_frames(to_bytes(data_set(stored, ModalityLUTSequence=modality_lut(256, 0, 16, table.tobytes()))))
    np.testing.assert_array_equal(pixels[:, 0], stored.astype(int) ** 2)


@pytest.mark.parametrize("data", [b"", b"\0", b"\1\2\3"])
def test_a_modality_lut_without_its_data_is_refused(data: bytes) -> None:
    assert refusal_of(to_bytes(data_set(wave(8), ModalityLUTSequence=modality_lut(256, 0, 16, data)))).code == "bad-header"


def test_a_modality_lut_of_an_odd_number_of_bytes_is_read() -> None:
    pixels, _ = read_frames(to_bytes(data_set(wave(8), ModalityLUTSequence=modality_lut(256, 0, 8, bytes(range(256)) + b"\0\0"))))
    np.testing.assert_array_equal(pixels[0], wave(8))


def test_windows_are_told_and_change_nothing() -> None:
    dataset = data_set(wave(12, frames=2), 12, WindowCenter=[40, 600], WindowWidth=[400, 2000])
    assert window_of(dataset) == (40, 400)
    plain = read_frames(to_bytes(data_set(wave(12, frames=2), 12)))[0]
    np.testing.assert_array_equal(read_frames(to_bytes(dataset))[0], plain)
    groups = data_set(wave(12, frames=2), 12, **per_frame([("1", "0"), ("3", "1")], window=(7.5, 9)))
    assert window_of(groups, 1) == (7.5, 9.0) and rescale_of(groups, 1) == (3.0, 1.0)
    assert window_of(data_set(wave(8))) is None


@pytest.mark.parametrize(
    ("attributes", "signed", "expected"),
    [
        ({}, True, None),
        ({"PixelPaddingValue": -2000}, True, (-2000, -2000)),
        ({"PixelPaddingValue": -2000, "RescaleSlope": "2", "RescaleIntercept": "-24"}, True, (-4024, -4024)),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 5}, False, (0, 5)),
        ({"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 0, "PhotometricInterpretation": "MONOCHROME1"}, False, (4090, 4095)),
    ],
)
def test_padding_is_told_in_modality_values(attributes: dict[str, Any], signed: bool, expected: Any) -> None:
    assert padding_range(data_set(wave(12, signed), 12, **attributes)) == expected


def test_a_negative_padding_value_that_was_stored_without_sign_is_understood() -> None:
    dataset = data_set(wave(12, signed=True), 12)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert padding_range(dataset) == (-2000, -2000)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_float_pixels(keyword: str, photometric: str) -> None:
    stored = np.random.default_rng(0).normal(size=(2, 5, 7)).astype("<f4" if keyword == "FloatPixelData" else "<f8")
    dataset = data_set(
        wave(8, rows=5, columns=7, frames=2), PixelData=None, PhotometricInterpretation=photometric, **{keyword: stored.tobytes()}
    )
    pixels, _ = read_frames(to_bytes(dataset))
    assert pixels.dtype == np.float32
    expected = stored if photometric == "MONOCHROME2" else np.stack([frame.min() + frame.max() - frame for frame in stored])
    np.testing.assert_allclose(pixels[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_pixels_that_are_not_finite_are_refused() -> None:
    stored = np.full((1, 5, 7), np.nan, "<f4")
    dataset = data_set(wave(8, rows=5, columns=7), PixelData=None, FloatPixelData=stored.tobytes())
    assert refusal_of(to_bytes(dataset)).code == "unsupported-pixels"


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.parametrize("entries", [200, 256])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("segmented", [False, True])
def test_palettes_agree_with_pydicom(segmented: bool, bits: int, entries: int, first: int) -> None:
    data = to_bytes(data_set(wave(8, frames=2), **palette(bits, segmented, entries, first)))
    dataset = pydicom.dcmread(io.BytesIO(data))
    expected = apply_color_lut(pixel_array(dataset).astype(np.int32), dataset)
    pixels, _ = read_frames(data)
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(pixels, np.moveaxis(expected, -1, 1))


def test_indirect_segments_repeat_earlier_ones() -> None:
    """PS3.3 C.7.9.2.3: the offset counts bytes."""
    attributes = palette(16, segmented=True, entries=9)
    words = [0, 2, 100, 200, 1, 2, 400, 0, 1, 5, 2, 2, 8, 0]  # 100 200, 300 400, 5, and again what starts at byte 8: line, 5
    for colour in ("Red", "Green", "Blue"):
        attributes[f"Segmented{colour}PaletteColorLookupTableData"] = np.asarray(words, "<u2").tobytes()
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [8, 0, 16]
    pixels, _ = read_frames(to_bytes(data_set(np.arange(8, dtype=np.uint8).reshape(1, 2, 4), **attributes)))
    np.testing.assert_array_equal(pixels[0, 0].reshape(-1), [100, 200, 300, 400, 5, 202, 400, 5])


def test_segments_never_expand_beyond_the_table() -> None:
    attributes = palette(16, segmented=True)
    for colour in ("Red", "Green", "Blue"):
        attributes[f"Segmented{colour}PaletteColorLookupTableData"] = np.asarray([0, 1, 7] + [1, 65535, 9] * 100_000, "<u2").tobytes()
    pixels, _ = read_frames(to_bytes(data_set(wave(8), **attributes)))
    assert pixels.shape == (1, 3, 37, 50)


def test_a_palette_that_does_not_fit_is_refused() -> None:
    short = palette(8) | {"GreenPaletteColorLookupTableData": b"\0\0"}
    assert refusal_of(to_bytes(data_set(wave(8), **short))).code == "bad-header"
    missing = palette(8)
    del missing["BluePaletteColorLookupTableData"]
    assert refusal_of(to_bytes(data_set(wave(8), **missing))).code == "bad-header"


@pytest.mark.parametrize(
    ("attributes", "syntax", "code"),
    [
        ({"NumberOfFrames": 10**9}, EXPLICIT, "too-large"),
        ({"NumberOfFrames": 10**9}, RLE, "too-large"),
        ({"NumberOfFrames": 10**5, "Rows": 1, "Columns": 1}, RLE, "decode-failed"),
        ({"NumberOfFrames": 3}, EXPLICIT, "truncated"),
        ({"NumberOfFrames": 3}, JPEG + "80", "decode-failed"),
        ({"Rows": 65535, "Columns": 65535}, EXPLICIT, "too-large"),
        ({"Rows": 65535, "Columns": 65535}, RLE, "too-large"),
        ({"Rows": 8192, "Columns": 8192}, EXPLICIT, "truncated"),
        ({"BitsStored": 13}, EXPLICIT, "bad-header"),
        ({"BitsStored": 0}, EXPLICIT, "bad-header"),
        ({"SamplesPerPixel": 3}, EXPLICIT, "unsupported-pixels"),
        ({"PhotometricInterpretation": "RGB"}, EXPLICIT, "unsupported-pixels"),
    ],
)
def test_claims_are_refused_before_anything_is_allocated(attributes: dict[str, Any], syntax: str, code: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(to_bytes(data_set(wave(8)), syntax)))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal_of(buffer.getvalue()).code == code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_frames_that_do_not_exist_are_refused() -> None:
    data = to_bytes(data_set(wave(8, frames=2)))
    for frames in ([2], [-1], []):
        assert refusal_of(data, frames).code == "bad-header"
    with pytest.raises(Refusal, match="expected a single frame"):
        read_dicom(data)


def test_ycbr_of_16_bits_is_refused() -> None:
    dataset = data_set(wave(16, colours=3), PhotometricInterpretation="YBR_FULL")
    assert refusal_of(to_bytes(dataset)).code == "unsupported-pixels"


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, RLE, JPEG + "80"])
def test_a_large_file_leaves_its_pixels_on_the_disk(syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = wave(12, frames=4)
    path = tmp_path / "large.dcm"
    path.write_bytes(to_bytes(data_set(stored, 12), syntax))
    monkeypatch.setattr(medai.dicom.parse, "IN_MEMORY", 100)
    monkeypatch.setattr(medai.dicom.parse, "DEFERRED", 100)
    np.testing.assert_array_equal(read_frames(path, [2, 1])[0][:, 0], stored[[2, 1]])
    np.testing.assert_array_equal(read_frames(path)[0][:, 0], stored)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(Refusal) as caught:
        read_frames(path)
    assert caught.value.code in ("truncated", "decode-failed")


def test_memory_is_bounded_by_the_frames_that_are_asked_for(tmp_path: Path) -> None:
    dataset = data_set(np.zeros((1, 512, 512), np.uint16), 16, NumberOfFrames=800)
    head = to_bytes(dataset)
    start = head.index(b"\xe0\x7f\x10\0OW\0\0")
    path = tmp_path / "large.dcm"
    with open(path, "wb") as stream:  # 400 MB of zeros that take no room
        stream.write(head[: start + 8] + (800 * 2**19).to_bytes(4, "little"))
        stream.truncate(start + 12 + 800 * 2**19)
    code = (  # not getrusage, whose peak a process inherits from the one that started it
        "import sys; from pathlib import Path; from medai.dicom.read import read_frames;"
        "print(read_frames(Path(sys.argv[1]), [0, 799])[0].shape);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert told.startswith("(2, 1, 512, 512)")
    assert int(told.split()[-1]) < 150_000


def test_a_header_of_very_many_elements_is_refused_in_time() -> None:
    data = to_bytes(data_set(wave(8)))
    start = data.index(b"\x08\0\x16\0UI")
    tags = np.arange(medai.dicom.parse.MAXIMUM_READS + 5, dtype=np.uint32)
    crowd = np.stack([9 + 2 * (tags >> 15), tags & 0x7FFF, np.full_like(tags, int.from_bytes(b"LO", "little")), tags * 0], 1).astype("<u2")
    refusal = refusal_of(data[:start] + crowd.tobytes() + data[start:])
    assert refusal.code == "too-large" and "elements" in refusal.message


def test_nested_sequences_are_refused_at_any_depth() -> None:
    data = to_bytes(data_set(wave(8)))
    start = data.index(b"\x08\0\x16\0UI")
    opening = b"\x40\x00\x30\xa7SQ\0\0" + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0" + b"\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    for depth in (2, 10):
        assert read_frames(data[:start] + opening * depth + closing * depth + data[start:])[0].shape == (1, 1, 37, 50)
    for depth in (5000, 10_000):
        assert refusal_of(data[:start] + opening * depth + closing * depth + data[start:]).code in ("not-dicom", "truncated")
