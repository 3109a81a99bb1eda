"""Each decoder of the table against the pixels that were encoded, and against pydicom's own result."""

import io
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder, pixel_array

from medai.core.error import Refusal
from medai.dicom import gdcm_codec
from medai.dicom.decoder import DECODERS, NATIVE, Layout, decode, decode_with, decoders_of, native
from medai.dicom.parse import parse
from medai.dicom.pixel import read_layout
from medai.dicom.read import read_frames
from tests.dicom.mutate import (
    BIG,
    BY_GDCM,
    DEFLATED_FRAMES,
    ENCAPSULATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    LOSSLESS,
    RLE,
    SYNTAXES,
    data_set,
    to_bytes,
    wave,
)

FORMS: dict[str, tuple[np.ndarray, int]] = {
    "8 bits": (wave(8), 8),
    "12 in 16 bits": (wave(12), 12),
    "16 bits": (wave(16), 16),
    "signed 12 in 16 bits": (wave(12, signed=True), 12),
    "signed 16 bits": (wave(16, signed=True), 16),
    "colour": (wave(8, colours=3), 8),
}


def first_frame(data: bytes) -> tuple[bytes, Layout]:
    dataset = parse(data)
    return get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames", 1))), read_layout(dataset)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("syntax", [syntax for syntax in LOSSLESS if syntax in DECODERS])
def test_every_decoder_of_the_table_gives_exactly_what_was_encoded(syntax: str, form: str) -> None:
    stored, bits = FORMS[form]
    frame, layout = first_frame(to_bytes(data_set(stored, bits), syntax))
    names = decoders_of(syntax, fast=True)
    assert names
    for name in names:
        if name == "pillow" and bits == 16:
            continue  # of JPEG 2000 Pillow takes 8 bits in colour alone, and no sign; it is the last of the table
        try:
            decoded, photometric = decode_with(name, frame, layout)
        except RuntimeError:
            if name != "pillow":
                raise
            continue
        assert photometric in ("RGB", "MONOCHROME2")
        np.testing.assert_array_equal(decoded, stored[0], err_msg=name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("syntax", [JPEG + "81", JPEG + "91", JPEG + "50"])
def test_the_decoders_of_a_lossy_syntax_agree_with_pydicom_bit_for_bit(syntax: str, form: str) -> None:
    stored, bits = FORMS[form]
    if syntax == JPEG + "50" and bits > 8:
        pytest.skip("JPEG Baseline has 8 bits")
    data = to_bytes(data_set(stored, bits), syntax)
    frame, layout = first_frame(data)
    dataset = pydicom.dcmread(io.BytesIO(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in {decoders_of(syntax)[0], decoders_of(syntax, fast=True)[0]}:
            expected = pixel_array(dataset, raw=True, decoding_plugin=decoders_of(syntax)[0], index=0)
            np.testing.assert_array_equal(decode_with(name, frame, layout)[0], expected, err_msg=name)


def test_gdcm_is_asked_first_only_where_nothing_else_reads_the_syntax() -> None:
    for syntax in DECODERS:
        names = decoders_of(syntax)
        assert names[0] != "gdcm" or names == ["gdcm"], syntax
    assert decoders_of(JPEG + "80") == ["pyjpegls", "gdcm"]
    assert decoders_of(JPEG + "70") == ["gdcm"]
    assert decoders_of("1.2.3") == [] and decoders_of(JPEG + "100") == []


def test_the_safe_order_puts_last_what_may_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DECODERS, JPEG + "80", ("gdcm", "pyjpegls"))
    assert decoders_of(JPEG + "80") == ["pyjpegls", "gdcm"]
    assert decoders_of(JPEG + "80", fast=True) == ["gdcm", "pyjpegls"]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "colour"])
@pytest.mark.parametrize("syntax", [JPEG + "57", JPEG + "70"])
def test_the_direct_way_into_gdcm_gives_what_pydicom_makes_of_gdcm(syntax: str, form: str) -> None:
    stored, bits = FORMS[form]
    data = to_bytes(data_set(stored, bits), syntax)
    frame, layout = first_frame(data)
    assert gdcm_codec.takes(frame, layout)
    expected = pixel_array(pydicom.dcmread(io.BytesIO(data)), decoding_plugin="gdcm")
    decoded, _ = decode_with("gdcm", frame, layout)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == expected.dtype


def test_the_table_names_decoders_that_pydicom_has() -> None:
    for syntax, names in DECODERS.items():
        assert set(names) <= set(get_decoder(syntax).available_plugins), syntax


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_syntax_reads_back_exactly(syntax: str, form: str, frames: int, fast: bool) -> None:
    one, bits = FORMS[form]
    if frames > 1 and "signed" in form and syntax in BY_GDCM:
        pytest.skip("GDCM writes no signed multi-frame secondary capture")
    stored = np.concatenate([np.roll(one, 5 * index, 1) for index in range(frames)])
    pixels, header = read_frames(to_bytes(data_set(stored, bits), syntax), fast=fast)
    np.testing.assert_array_equal(pixels, np.moveaxis(stored, -1, 1) if stored.ndim == 4 else stored[:, None])
    assert pixels.dtype == stored.dtype
    assert header.Rows == one.shape[1] and "PixelData" not in header


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_number_of_a_frame_gives_that_frame(syntax: str) -> None:
    data = to_bytes(data_set(wave(8, frames=4), 8), syntax)
    every, _ = read_frames(data)
    some, _ = read_frames(data, [3, 0, 3])
    np.testing.assert_array_equal(some, every[[3, 0, 3]])


@pytest.mark.parametrize("bits", [1, 2, 7, 12, 20, 24, 31, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_packed_samples_of_any_width(bits: int, signed: bool) -> None:
    if signed and bits == 1:
        pytest.skip("a bit has no sign")
    stored = wave(bits, signed, frames=3).astype(np.int64)
    flat = np.unpackbits((stored.reshape(-1, 1) % 2**bits).astype("<u8").view(np.uint8), axis=1, bitorder="little")[:, :bits]
    data = np.packbits(flat.reshape(-1), bitorder="little").tobytes()
    dataset = data_set(wave(8), BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed), NumberOfFrames=3)
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    pixels, _ = read_frames(to_bytes(dataset))
    np.testing.assert_array_equal(pixels[:, 0], stored.astype(pixels.dtype))
    np.testing.assert_array_equal(read_frames(to_bytes(dataset), [1])[0][0, 0], pixels[1, 0])


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("signed", [False, True])
def test_overlays_in_unused_bits_are_dropped_and_a_high_bit_above_is_honoured(syntax: str, signed: bool) -> None:
    stored = wave(12, signed)
    plain = stored.view(np.uint16) & 0x0FFF
    overlay = data_set(plain | 0x5000, 12, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(read_frames(to_bytes(overlay, syntax))[0][0], stored)
    high = data_set((plain << 4) | 0x000A, 12, HighBit=15, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(read_frames(to_bytes(high, syntax))[0][0], stored)


@pytest.mark.parametrize("colours", [0, 3])
@pytest.mark.parametrize("frames", [1, 3])
def test_big_endian_words_of_bytes_are_swapped(frames: int, colours: int) -> None:
    stored = wave(8, rows=3, columns=3, colours=colours, frames=frames)
    dataset = data_set(stored)
    pairs = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    dataset.PixelData = pairs
    dataset["PixelData"].VR = "OW"
    expected = np.moveaxis(stored, -1, 1) if colours else stored[:, None]
    np.testing.assert_array_equal(read_frames(to_bytes(dataset, BIG))[0], expected)


def test_the_syntax_of_ge_has_pixels_in_big_endian() -> None:
    stored = wave(12)
    dataset = data_set(stored, 12)
    dataset.PixelData = stored.astype(">u2").tobytes()
    data = to_bytes(dataset, IMPLICIT).replace(b"1.2.840.10008.1.2\0", b"1.2.840.113619.5.2", 1)
    np.testing.assert_array_equal(read_frames(data)[0][0], stored)


def test_planes_and_shared_chrominance() -> None:
    stored = wave(8, colours=3)
    planes = data_set(stored, PlanarConfiguration=1)
    planes.PixelData = np.moveaxis(stored, -1, 1).tobytes()
    np.testing.assert_array_equal(read_frames(to_bytes(planes))[0], np.moveaxis(stored, -1, 1))
    shared = data_set(
        wave(8, rows=36), Rows=36, Columns=25, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0
    )
    data = to_bytes(shared)
    np.testing.assert_array_equal(read_frames(data)[0][0], np.moveaxis(pixel_array(pydicom.dcmread(io.BytesIO(data))), -1, 0))


def test_a_deflated_frame_is_inflated_no_further_than_its_size() -> None:
    layout = first_frame(to_bytes(data_set(wave(8)), DEFLATED_FRAMES))[1]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = compressor.compress(b"\1" * 50_000_000) + compressor.flush()
    decoded, _ = decode(bomb, layout)
    assert decoded.shape == (37, 50) and (decoded == 1).all()
    with pytest.raises(Refusal, match="bytes") as caught:
        decode(b"\1\2", layout)
    assert caught.value.code == "decode-failed"


@pytest.mark.parametrize("fragments", ["basic", "extended", "wrong table", "none"])
def test_frames_are_found_by_their_table_or_by_counting(fragments: str) -> None:
    stored = wave(8, frames=3)
    frames = [frame.tobytes() for frame in stored]
    dataset = data_set(stored)
    data = encapsulate(frames, fragments_per_frame=1, has_bot=fragments == "basic")
    if fragments == "basic":
        data = encapsulate(frames, fragments_per_frame=3)
    if fragments == "extended":
        lengths = [len(frame) + len(frame) % 2 for frame in frames]
        offsets = [0, lengths[0] + 8, lengths[0] + lengths[1] + 16]
        dataset.ExtendedOffsetTable = np.asarray(offsets, "<u8").tobytes()
        dataset.ExtendedOffsetTableLengths = np.asarray(lengths, "<u8").tobytes()
    if fragments == "wrong table":
        data = b"\xfe\xff\x00\xe0" + (12).to_bytes(4, "little") + b"\0" * 12 + data[8:]
    dataset.PixelData = data
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = ENCAPSULATED
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    np.testing.assert_array_equal(read_frames(buffer.getvalue())[0][:, 0], stored)


def test_frames_of_several_fragments_without_table_end_at_their_markers() -> None:
    data = to_bytes(data_set(wave(8, frames=3)), JPEG + "80")
    dataset = pydicom.dcmread(io.BytesIO(data))
    whole = read_frames(data)[0]
    frames = [get_frame(dataset.PixelData, index, number_of_frames=3) for index in range(3)]
    dataset.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    np.testing.assert_array_equal(read_frames(buffer.getvalue())[0], whole)


@pytest.mark.parametrize("syntax", [JPEG + "57", JPEG + "80", JPEG + "90"])
def test_a_codestream_of_another_size_or_more_samples_is_refused_before_it_is_decoded(syntax: str) -> None:
    frame, layout = first_frame(to_bytes(data_set(wave(8)), syntax))
    other: dict[str, Any] = {"rows": 38, "samples": 3}
    for key, value in other.items():
        with pytest.raises(Refusal, match="the compressed frame") as caught:
            decode(frame, Layout(**{**layout.__dict__, key: value}))
        assert caught.value.code == "decode-failed"


def test_native_gives_an_array_of_its_own() -> None:
    layout = read_layout(data_set(wave(8)))
    assert layout.syntax in NATIVE
    decoded, _ = native(wave(8).tobytes(), layout)
    decoded[0, 0] = 1  # a view of the file would be read-only


def test_twelve_bit_jpeg_is_read_as_its_two_files_show(shared_data: Path) -> None:
    for name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):
        path = next((shared_data / "pydicom-test_files").rglob(name))
        pixels, _ = read_frames(path)
        assert pixels.shape == (1, 1, 1024, 256) and pixels.dtype == np.uint16
        assert (pixels.min(), pixels.max(), pixels[0, 0, 420, 140]) == (0, 264, 244)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("form", ["8 bits", "12 in 16 bits", "16 bits", "colour"])
def test_run_lengths_of_sound_and_of_damaged_frames_are_those_of_pydicom(form: str, signed: bool) -> None:
    stored, bits = FORMS[form]
    frame, layout = first_frame(to_bytes(data_set(stored, bits), RLE))
    layout = replace(layout, bits_stored=bits - 2, high_bit=bits - 3, signed=signed)  # two bits of what is no pixel
    draw, refused = np.random.default_rng(len(form)), 0
    for damage in range(60):
        damaged = bytearray(frame)
        for _ in range(damage):
            damaged[draw.integers(len(damaged) if damage % 2 else 64)] = draw.integers(256)
        damaged = damaged[: draw.integers(64, len(damaged))] if damage % 5 == 4 else damaged
        expected, found = _by_pydicom(bytes(damaged), layout), _by_us(bytes(damaged), layout)
        assert (expected is None) == (found is None)
        if expected is not None and found is not None:
            assert expected.dtype == found.dtype and np.array_equal(expected, found)
        refused += found is None
    assert 10 < refused < 60


def _by_us(frame: bytes, layout: Layout) -> np.ndarray | None:
    try:
        return decode(frame, layout)[0]
    except Refusal:
        return None


def _by_pydicom(frame: bytes, layout: Layout) -> np.ndarray | None:
    form: dict[str, Any] = {"rows": layout.rows, "columns": layout.columns, "samples_per_pixel": layout.samples, "number_of_frames": 1}
    form |= {"bits_allocated": layout.bits_allocated, "bits_stored": layout.bits_stored, "pixel_representation": int(layout.signed)}
    form |= {"as_rgb": False, "planar_configuration": 0, "pixel_keyword": "PixelData", "photometric_interpretation": layout.photometric}
    data = encapsulate([frame], has_bot=False)
    try:
        return get_decoder(RLE).as_array(data, index=0, decoding_plugin="pylibjpeg", **form)[0]
    except BaseException:  # pyo3's panic is no Exception
        return None
