"""De-identified DICOM files, each from its bytes."""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.core.error import MedaiError, Refusal
from medai.core.file import atomic_file
from medai.dicom.deidentify.burned_in import BurnedIn, Crop, judge_burned_in
from medai.dicom.deidentify.clean import deidentify_dataset, stamp
from medai.dicom.deidentify.pixel import blacken, clear_embedded_overlay, cut_trailing_bytes
from medai.dicom.deidentify.profile import Profile
from medai.dicom.deidentify.pseudonym import Pseudonyms
from medai.dicom.parse import parse, quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_IMPLEMENTATION_UID = "2.25.231180529327318843204404366094331412147"  # of medai
_NOT_NAMED_IMAGE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
        "1.2.840.10008.5.1.4.1.1.6.2",  # Enhanced US Volume
        "1.2.840.10008.5.1.4.1.1.81.1",  # Ophthalmic Thickness Map
        "1.2.840.10008.5.1.4.1.1.82.1",  # Corneal Topography Map
    }
)


@dataclass(frozen=True)
class DeidentifiedFile:
    """A file that may leave.

    Attributes:
        data: The whole file (PS3.10).
        path: Where it belongs below the target: keyed names of patient, study, series and instance.
    """

    data: bytes
    path: str


def deidentify_file(data: bytes, keys: Pseudonyms, profile: Profile | None = None, burned_in: BurnedIn | None = None) -> DeidentifiedFile:
    """One DICOM file de-identified; its pixels stay as they are encoded, unless a region has to be blackened.

    Args:
        data: The whole file.
        keys: The site's key.
        profile: What is configurable of the profile.
        burned_in: The site's policy on text in the pixels.

    Raises:
        MedaiError: `keys` has no secret.
        Refusal: ``not-dicom``, ``truncated``, ``too-large``, ``bad-header``, ``decode-failed``, ``unsupported-syntax``,
            ``unsafe-object`` (no image: reports, presentation states, encapsulated documents, waveforms, private classes),
            ``burned-in-text``, ``embedded-overlay``, ``unsupported-pixels`` or ``not-writable``.
    """
    original = parse(data)
    try:
        return _deidentify(original, keys, profile or Profile(), burned_in or BurnedIn())
    except MedaiError:
        raise
    except Exception as error:  # a hostile or broken element may raise anything where it is looked at
        raise Refusal("bad-header", f"the header cannot be de-identified ({type(error).__name__}); the file is damaged") from None


def _deidentify(original: "Dataset", keys: Pseudonyms, profile: Profile, burned_in: BurnedIn) -> DeidentifiedFile:
    with quiet():
        _refuse_unsafe(original)
        crop = judge_dataset(original, burned_in)
        result = deidentify_dataset(original, keys, profile)
        _complete(result, original)
        cut_trailing_bytes(result)
        clear_embedded_overlay(result, original)
        if crop is not None:
            _blacken(result, crop, profile)
        return DeidentifiedFile(_encode(result), _path(original, keys))


def judge_dataset(dataset: "Dataset", policy: BurnedIn) -> Crop | None:
    """`judge_burned_in` on the values of a data set.

    Raises:
        Refusal: ``burned-in-text``.
    """
    rows, columns = (_whole(dataset, keyword) for keyword in ("Rows", "Columns"))
    return judge_burned_in(
        _text(dataset, "Modality"),
        _text(dataset, "SOPClassUID"),
        _text(dataset, "BurnedInAnnotation"),
        _text(dataset, "ImageType"),
        policy,
        manufacturer=_text(dataset, "Manufacturer"),
        model=_text(dataset, "ManufacturerModelName"),
        rows=rows,
        columns=columns,
    )


def write_file(target: Path, file: DeidentifiedFile) -> Path:
    """Write a file below the target, atomically."""
    path = Path(target) / file.path
    with atomic_file(path) as temporary:
        temporary.write_bytes(file.data)
    return path


@lru_cache(maxsize=1)
def image_classes() -> frozenset[str]:
    """SOP classes whose instances are images: only these can be made safe without judging text or graphics."""
    from pydicom.uid import UID_dictionary

    named = {uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and "Image Storage" in entry[0]}
    return frozenset(named) | _NOT_NAMED_IMAGE


def _refuse_unsafe(dataset: "Dataset") -> None:
    uid = _text(dataset, "SOPClassUID")
    if uid is None:
        raise Refusal("bad-header", "(0008,0016) 'SOP Class UID' is absent; nobody can tell what the file is")
    if uid not in image_classes():
        raise Refusal("unsafe-object", "(0008,0016) 'SOP Class UID' is no image; only images are de-identified")
    from pydicom.uid import UID_dictionary

    if str(dataset.file_meta.TransferSyntaxUID) not in UID_dictionary:
        raise Refusal("unsupported-syntax", "(0002,0010) 'Transfer Syntax UID' is private; convert the file first")


def _complete(result: "Dataset", original: "Dataset") -> None:
    """New file meta information (PS3.10 7.1): nothing of the old one but the transfer syntax."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    if not result.get("SOPInstanceUID"):
        raise Refusal("bad-header", "(0008,0018) 'SOP Instance UID' is absent; a file cannot be written without")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = UID(str(original.file_meta.TransferSyntaxUID))
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "MEDAI"
    result.file_meta = meta


def _blacken(result: "Dataset", crop: Crop, profile: Profile) -> None:
    from pydicom import DataElement

    blacken(result, crop)
    result[0x00280301] = DataElement(0x00280301, "CS", "NO")
    stamp(result, profile, cleaned_pixels=True)


def _encode(result: "Dataset") -> bytes:
    from pydicom import dcmwrite

    stream = io.BytesIO()
    try:
        dcmwrite(stream, result, enforce_file_format=True)
    except Exception as error:  # a broken element that was allowed may not be writable
        raise Refusal(
            "not-writable", f"the de-identified file cannot be written ({type(error).__name__}); the original is damaged"
        ) from None
    data = stream.getvalue()
    return b"\0" * 128 + data[128:]


def _path(original: "Dataset", keys: Pseudonyms) -> str:
    patient = _text(original, "PatientID") or _text(original, "StudyInstanceUID") or _text(original, "SOPInstanceUID")
    parts = [
        keys.name("patient", patient),
        keys.name("study", _text(original, "StudyInstanceUID") or ""),
        keys.name("series", _text(original, "SeriesInstanceUID") or ""),
        keys.name("instance", _text(original, "SOPInstanceUID")),
    ]
    return "/".join(str(part) for part in parts) + ".dcm"


def _text(dataset: "Dataset", keyword: str) -> str | None:
    value = _value(dataset, keyword)
    if value is None:
        return None
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    return str(value).strip().strip("\0").strip() or None


def _whole(dataset: "Dataset", keyword: str) -> int | None:
    value = _value(dataset, keyword)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def _value(dataset: "Dataset", keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None
