"""The header values that leave the reader: an allowlist, so that a name or a comment of a patient never slips through."""

import math
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from medai.dicom.deidentify.clean import identifiers_of
from medai.dicom.deidentify.profile import Profile
from medai.dicom.deidentify.text import clean_code_string, clean_text

if TYPE_CHECKING:
    from pydicom import Dataset

_CODES = frozenset({"Modality", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality"})
_DEVICE = ("Manufacturer", "ManufacturerModelName")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


def read_attributes(dataset: "Dataset") -> dict[str, Any]:
    """The allowlisted attributes of a data set as plain Python values, under their DICOM keywords.

    An attribute that is absent, empty or not readable in its value representation is left out. (0010,1010) 'Patient's Age'
    becomes ``PatientAgeYears`` (from birth and study date where it is missing). Of a multi-valued window the first is taken.
    Code strings hold words of the standard or of the vocabulary, or are left out; maker and model lose names and numbers that the
    data set holds elsewhere (as `medai.dicom.deidentify` has it: people type into both).

    Example:
        >>> read_attributes(dataset)["PixelSpacing"]
        [0.14, 0.14]
    """
    attributes: dict[str, Any] = {}
    for keyword, convert in _ALLOWED.items():
        value = _value(dataset, keyword, convert)
        if value is not None:
            attributes[keyword] = value
    age = _value(dataset, "PatientAge", _age_years)
    if age is None:
        age = _age_between(_value(dataset, "PatientBirthDate", _text), attributes.get("StudyDate"))
    if age is not None:
        attributes["PatientAgeYears"] = age
    return _cleaned(attributes, dataset)


def _cleaned(attributes: dict[str, Any], dataset: "Dataset") -> dict[str, Any]:
    """Without what a person typed into an attribute that is to hold none of it."""
    profile = _profile()
    for keyword in _CODES & attributes.keys():
        attributes[keyword] = clean_code_string(attributes[keyword], profile.terms)
    typed = [keyword for keyword in _DEVICE if keyword in attributes]
    if typed:
        identifiers = identifiers_of(dataset, nested=False)  # a walk through the sequences takes four times as long
        for keyword in typed:
            if identifiers.mentioned(attributes[keyword]):
                attributes[keyword] = clean_text(attributes[keyword], profile.vocabulary, identifiers)
    return {keyword: value for keyword, value in attributes.items() if value not in (None, "")}


@lru_cache(maxsize=1)
def _profile() -> Profile:
    return Profile()


def _value(dataset: "Dataset", keyword: str, convert: Callable[[Any], Any]) -> Any:
    try:
        value = dataset.get(keyword)
        return None if value is None else convert(value)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None


def _text(value: Any) -> str | None:
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = "\\".join(str(part) for part in value)
    return str(value).strip().strip("\0") or None


def _number(value: Any) -> float | None:
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    number = float(value)
    return number if math.isfinite(number) else None


def _spacing(value: Any) -> list[float] | None:
    numbers = [float(part) for part in value]
    return numbers if len(numbers) == 2 and all(math.isfinite(number) and number > 0 for number in numbers) else None


def _age_years(value: Any) -> float | None:
    """PS3.5 6.2, AS: three digits and D, W, M or Y."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", str(value).strip().upper())
    return round(int(match[1]) * _DAYS[match[2]] / _DAYS["Y"], 3) if match else None


def _age_between(birth: str | None, study: str | None) -> float | None:
    try:
        days = (date.fromisoformat(study or "") - date.fromisoformat(birth or "")).days
    except ValueError:
        return None
    return float(math.floor(days / _DAYS["Y"])) if 0 <= days < 150 * _DAYS["Y"] else None


_ALLOWED: dict[str, Callable[[Any], Any]] = {
    "PatientID": _text,
    "PatientSex": _text,
    "StudyInstanceUID": _text,
    "SeriesInstanceUID": _text,
    "SOPInstanceUID": _text,
    "SOPClassUID": _text,
    "StudyDate": _text,
    "Modality": _text,
    "Manufacturer": _text,
    "ManufacturerModelName": _text,
    "InstitutionName": _text,
    "BodyPartExamined": _text,
    "Laterality": _text,
    "ImageLaterality": _text,
    "ViewPosition": _text,
    "PixelSpacing": _spacing,
    "ImagerPixelSpacing": _spacing,
    "WindowCenter": _number,
    "WindowWidth": _number,
    "PhotometricInterpretation": _text,
    "BurnedInAnnotation": _text,
}
