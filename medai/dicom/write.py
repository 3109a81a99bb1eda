"""Arrays to valid single-frame DICOM files: the inverse of `read_dicom`. For phantoms and test vectors, never for patients."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from medai.core.error import MedaiError
from medai.dicom.element import element, join_elements, long_element

TRANSFER_SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}
SOP_CLASSES = {
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "OT": "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
}
_ENCODING_PLUGINS = {"rle": "pylibjpeg", "jpeg-ls": "pyjpegls", "jpeg-2000": "pylibjpeg"}  # named, so that equal input gives equal bytes
_IMPLEMENTATION_UID = "2.25.231180529327318843204404366094331412147"  # of medai, made once at random (PS3.5 B.2)


@dataclass(frozen=True)
class Encoding:
    """How modality values are stored in the file.

    Attributes:
        bits_stored: 8 to 16; up to 8 are stored in a byte, more in two.
        photometric: ``MONOCHROME1``, ``MONOCHROME2`` or ``RGB``.
        slope: Modality value of one stored step (PS3.3 C.11.1.1.2).
        intercept: Modality value of stored 0.
        transfer_syntax: A key of `TRANSFER_SYNTAXES`.
        spacing_mm: (row, column) distance of pixel centres: Pixel Spacing in CT, Imager Pixel Spacing in DX.
        window: (centre, width), or None for none.
        attributes: More header values by keyword; they win over the defaults.
    """

    bits_stored: int = 12
    photometric: str = "MONOCHROME2"
    slope: float = 1.0
    intercept: float = 0.0
    transfer_syntax: str = "explicit"
    spacing_mm: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 8 <= self.bits_stored <= 16:
            raise MedaiError(f"bits_stored is {self.bits_stored}; expected 8 to 16")
        if self.photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
            raise MedaiError(f"photometric is {self.photometric!r}; expected MONOCHROME1, MONOCHROME2 or RGB")
        if self.transfer_syntax not in TRANSFER_SYNTAXES:
            raise MedaiError(f"transfer_syntax is {self.transfer_syntax!r}; expected one of {', '.join(TRANSFER_SYNTAXES)}")
        if self.photometric == "RGB" and (self.bits_stored, self.slope, self.intercept) != (8, 1.0, 0.0):
            raise MedaiError("RGB needs bits_stored 8, slope 1 and intercept 0")


def uid_of(text: str) -> str:
    """A UID that depends on `text` alone: ``2.25.`` and a UUID of version 5's form (PS3.5 B.2, RFC 4122)."""
    digest = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def write_image(path: Path, pixels: Shaped[np.ndarray, "C H W"], modality: str = "DX", encoding: Encoding | None = None) -> None:
    """Write one DICOM file that `read_dicom` reads back as exactly `pixels`.

    The file is renamed into place, but not fsynced: who writes thousands syncs once at the end.

    Args:
        path: The file.
        pixels: Grey (1, H, W): modality values in MONOCHROME2 polarity; or RGB (3, H, W) uint8.
        modality: ``DX``, ``CT`` or ``OT`` (secondary capture).
        encoding: See `Encoding`.

    Raises:
        MedaiError: the values are not (whole steps * slope + intercept) within the bits stored, or the shape is wrong.
    """
    encoding = encoding or Encoding()
    data = encode_image(pixels, modality, encoding)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_image(pixels: Shaped[np.ndarray, "C H W"], modality: str, encoding: Encoding) -> bytes:
    """The bytes of the file that `write_image` writes (PS3.10 7.1)."""
    if modality not in SOP_CLASSES:
        raise MedaiError(f"modality is {modality!r}; expected one of {', '.join(SOP_CLASSES)}")
    stored = _stored_values(pixels, encoding)
    values = _header(stored, modality, encoding) | dict(encoding.attributes)
    meta = {
        "FileMetaInformationVersion": b"\0\1",
        "MediaStorageSOPClassUID": values["SOPClassUID"],
        "MediaStorageSOPInstanceUID": values["SOPInstanceUID"],
        "TransferSyntaxUID": TRANSFER_SYNTAXES[encoding.transfer_syntax],
        "ImplementationClassUID": _IMPLEMENTATION_UID,
    }
    group = join_elements(meta)
    length = element("FileMetaInformationGroupLength", len(group))[1]
    return b"\0" * 128 + b"DICM" + length + group + join_elements(values) + _pixel_data(stored, encoding)


def _stored_values(pixels: Shaped[np.ndarray, "C H W"], encoding: Encoding) -> Integer[np.ndarray, "H W *C"]:
    channels = 3 if encoding.photometric == "RGB" else 1
    if pixels.ndim != 3 or pixels.shape[0] != channels:
        raise MedaiError(f"pixels have shape {pixels.shape}; {encoding.photometric} needs ({channels}, H, W)")
    dtype, highest = (np.uint8 if encoding.bits_stored <= 8 else np.uint16), 2**encoding.bits_stored - 1
    if channels == 3:
        if pixels.dtype != np.uint8:
            raise MedaiError(f"RGB pixels have dtype {pixels.dtype}; expected uint8")
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    if pixels.dtype == dtype and encoding.slope == 1 and encoding.intercept == 0:
        stored, steps = pixels[0], pixels[0]
    else:
        steps = (pixels[0].astype(np.float64) - encoding.intercept) / encoding.slope
        stored = np.rint(steps)
    if stored.min() < 0 or stored.max() > highest or np.abs(stored - steps).max() > 1e-3:
        span = f"{encoding.intercept:g} to {encoding.intercept + highest * encoding.slope:g} in steps of {encoding.slope:g}"
        raise MedaiError(f"pixels from {pixels.min():g} to {pixels.max():g} do not fit {encoding.bits_stored} bits, which hold {span}")
    stored = stored.astype(dtype)
    return np.ascontiguousarray(dtype(highest) - stored if encoding.photometric == "MONOCHROME1" else stored)


def _header(stored: Integer[np.ndarray, "H W *C"], modality: str, encoding: Encoding) -> dict[str, Any]:
    """The attributes of type 1 and 2 that the three IODs ask for, with synthetic defaults."""
    values = _COMMON | _OF_MODALITY[modality] | {"SOPClassUID": SOP_CLASSES[modality], "Modality": modality}
    levels = {"SOPInstanceUID": f"instance/{modality}", "StudyInstanceUID": "study", "SeriesInstanceUID": "series"}
    levels |= {"FrameOfReferenceUID": "frame"} if modality == "CT" else {}
    if not levels.keys() <= encoding.attributes.keys():
        content = hashlib.sha256(stored.tobytes()).hexdigest()
        values |= {keyword: uid_of(f"{level}/{content}") for keyword, level in levels.items()}
    if modality == "DX":
        values["PresentationLUTShape"] = "INVERSE" if encoding.photometric == "MONOCHROME1" else "IDENTITY"
    if encoding.spacing_mm:
        values["PixelSpacing" if modality == "CT" else "ImagerPixelSpacing"] = tuple(_decimal(value) for value in encoding.spacing_mm)
    if encoding.window:
        values["WindowCenter"], values["WindowWidth"] = (_decimal(value) for value in encoding.window)
    values |= {  # Image Pixel module, PS3.3 C.7.6.3
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 3 if stored.ndim == 3 else 1,
        "PhotometricInterpretation": encoding.photometric,
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": encoding.bits_stored,
        "HighBit": encoding.bits_stored - 1,
        "PixelRepresentation": 0,
    }
    if stored.ndim == 3:
        return values | {"PlanarConfiguration": 0}
    return values | {"RescaleSlope": _decimal(encoding.slope), "RescaleIntercept": _decimal(encoding.intercept)}


_COMMON: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "ImageType": ("DERIVED", "PRIMARY"),
    "StudyDate": "20200101",
    "StudyTime": "120000",
    "ContentDate": "20200101",
    "ContentTime": "120000",
    "AccessionNumber": "",
    "StudyID": "1",
    "Manufacturer": "medai phantom",
    "ReferringPhysicianName": "",
    "PatientName": "PHANTOM^NOBODY",
    "PatientID": "PHANTOM",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "SeriesNumber": 1,
    "InstanceNumber": 1,
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
}
_OF_MODALITY: dict[str, dict[str, Any]] = {
    "DX": {
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": 1,
        "DetectorType": "DIRECT",
        "ImageLaterality": "U",
        "PatientOrientation": ("L", "F"),
        "PositionerType": "NONE",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
        "AcquisitionContextSequence": (),
        "RescaleType": "US",
    },
    "CT": {
        "ImageOrientationPatient": (1, 0, 0, 0, 1, 0),
        "ImagePositionPatient": (0, 0, 0),
        "SliceThickness": 1,
        "KVP": 120,
        "RescaleType": "HU",
        "PositionReferenceIndicator": "",
    },
    "OT": {"ConversionType": "SYN", "PatientOrientation": ""},
}


def _pixel_data(stored: Integer[np.ndarray, "H W *C"], encoding: Encoding) -> bytes:
    """(7FE0,0010) 'Pixel Data', native or as one fragment after an empty offset table (PS3.5 A.4)."""
    if encoding.transfer_syntax == "explicit":
        return long_element(0x7FE00010, b"OB" if stored.itemsize == 1 else b"OW", stored.tobytes())
    from pydicom.encaps import encapsulate

    return long_element(0x7FE00010, b"OB", encapsulate([_compress(stored, encoding)]), undefined_length=True)


def _compress(stored: Integer[np.ndarray, "H W *C"], encoding: Encoding) -> bytes:
    from pydicom.pixels import get_encoder

    options = {
        "rows": stored.shape[0],
        "columns": stored.shape[1],
        "samples_per_pixel": 3 if stored.ndim == 3 else 1,
        "number_of_frames": 1,
        "pixel_representation": 0,
        "bits_allocated": 8 * stored.itemsize,
        "bits_stored": encoding.bits_stored,
        "photometric_interpretation": encoding.photometric,
        "planar_configuration": 0,
    }
    encoder = get_encoder(TRANSFER_SYNTAXES[encoding.transfer_syntax])
    return bytes(encoder.encode(stored, encoding_plugin=_ENCODING_PLUGINS[encoding.transfer_syntax], **options))


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, DS)."""
    return f"{value:.10g}"
