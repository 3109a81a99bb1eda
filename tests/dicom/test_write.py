import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medai.core.error import MedaiError
from medai.dicom.read import read_dicom
from medai.dicom.write import TRANSFER_SYNTAXES, Encoding, encode_image, uid_of, write_image


def ramp(bits: int) -> np.ndarray:
    """Smooth pixels (1, 33, 47) that use all of `bits`: odd sizes, so that padding shows."""
    y, x = np.mgrid[:33, :47]
    wave = (np.sin(x / 9) + np.cos(y / 7) + 2) / 4
    stored = np.rint(wave * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    stored[0, 0], stored[-1, -1] = 0, 2**bits - 1
    return stored[None]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_the_round_trip_is_exact(syntax: str, bits: int, photometric: str) -> None:
    pixels = ramp(bits)
    image = read_dicom(encode_image(pixels, "DX", Encoding(bits, photometric, transfer_syntax=syntax)))
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (2.0, 5.0), (0.5, -3.0)])
def test_the_rescale_is_undone(slope: float, intercept: float, photometric: str) -> None:
    pixels = ramp(12) * slope + intercept
    image = read_dicom(encode_image(pixels, "CT", Encoding(12, photometric, slope, intercept)))
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_colour_is_kept(syntax: str) -> None:
    pixels = np.concatenate([ramp(8), ramp(8)[:, ::-1], ramp(8)[:, :, ::-1]])
    image = read_dicom(encode_image(pixels, "OT", Encoding(8, "RGB", transfer_syntax=syntax)))
    np.testing.assert_array_equal(image.pixels, pixels)


def test_equal_input_gives_equal_bytes_and_other_pixels_other_uids() -> None:
    first, other = ramp(12), ramp(12)
    other[0, 3, 3] += 1
    assert encode_image(first, "DX", Encoding()) == encode_image(first, "DX", Encoding())
    uids = [read_dicom(encode_image(pixels, "DX", Encoding())).attributes["SOPInstanceUID"] for pixels in (first, other)]
    assert uids[0] != uids[1]
    assert all(pydicom.uid.UID(uid).is_valid for uid in [*uids, uid_of("x")])


def test_pydicom_reads_the_file_as_a_well_formed_one() -> None:
    encoding = Encoding(
        12, "MONOCHROME1", transfer_syntax="rle", spacing_mm=(0.14, 0.15), window=(2000, 3000), attributes={"PatientID": "PHANTOM-7"}
    )
    data = encode_image(ramp(12), "DX", encoding)
    dataset = pydicom.dcmread(io.BytesIO(data))
    tags = [element.tag for element in dataset]
    assert tags == sorted(tags)
    end_of_meta = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    assert data[end_of_meta : end_of_meta + 2] == b"\x08\0"
    assert dataset.PresentationLUTShape == "INVERSE"
    assert dataset.PatientID == "PHANTOM-7"
    assert list(dataset.ImagerPixelSpacing) == [0.14, 0.15]
    again = io.BytesIO()
    dataset.save_as(again, enforce_file_format=True)
    np.testing.assert_array_equal(read_dicom(again.getvalue()).pixels, ramp(12))


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="pixels from 0 to 4095 do not fit 10 bits, which hold 0 to 1023 in steps of 1"):
        write_image(tmp_path / "a.dcm", ramp(12), "DX", Encoding(10))
    with pytest.raises(MedaiError, match="do not fit"):
        write_image(tmp_path / "a.dcm", ramp(12) + 0.5, "DX", Encoding(12))
    with pytest.raises(MedaiError, match=r"pixels have shape \(33, 47\)"):
        write_image(tmp_path / "a.dcm", ramp(12)[0], "DX", Encoding(12))
    with pytest.raises(MedaiError, match="transfer_syntax is 'zip'"):
        Encoding(transfer_syntax="zip")
    assert not list(tmp_path.iterdir())
