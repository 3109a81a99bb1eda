"""One data set to what may be kept of it: every element at every level goes through the allowlist."""

from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from medai.core.error import MedaiError, Refusal
from medai.dicom.deidentify.code import CODE_TAGS, LOCAL, REMOVED, clean_code, is_coded
from medai.dicom.deidentify.date import age_between, cap_age, is_time, shift_date, shift_datetime
from medai.dicom.deidentify.private import SAFE_PRIVATE
from medai.dicom.deidentify.profile import Profile, Rule
from medai.dicom.deidentify.pseudonym import Pseudonyms, is_registered, new_uid
from medai.dicom.deidentify.text import Identifiers, clean_code_string, clean_text, identifying_words
from medai.dicom.parse import quiet

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

METHOD = ("medai: PS3.15 Annex E, Basic Application Level", "Confidentiality Profile and options, Table E.1-1 of 2024e")

_NUMBERS = frozenset(["US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "IS", "DS", "AT"])
_TEXTS = frozenset(["LO", "SH", "ST", "LT", "UT", "UC", "AE", "CS", "PN", "AS", "UR"])
_DATES = frozenset(["DA", "DT", "TM"])
_PIXELS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
_BINARY = _PIXELS | frozenset(
    {0x7FE00001, 0x7FE00002, 0x00282000, 0x00283006, 0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223}
    | {0x00281224, 0x00281408, 0x00660016, 0x00221627, 0x00221629}
)
"""Attributes whose bytes may stay: pixels, offset tables, lookup tables, ICC profiles, outlines."""

_NEEDED = _PIXELS | frozenset({0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, *range(0x00280100, 0x00280104)})
_NEEDED |= frozenset({0x00281052, 0x00281053, 0x00283000})
_PATIENT_WORDS = ("PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName")
_OTHER_WORDS = (
    "AccessionNumber",
    "AdmissionID",
    "IssuerOfPatientID",
    "PatientTelephoneNumbers",
    "RequestedProcedureID",
    "ServiceEpisodeID",
)
_DUMMIES = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "CS": "UNKNOWN",
    "IS": "0",
    "DS": "0",
    "AS": "000D",
    "UR": "urn:removed",
}
_DEEPEST = 32


def deidentify_dataset(dataset: "Dataset", keys: Pseudonyms, profile: Profile | None = None) -> "Dataset":
    """A new data set that holds only what the profile allows, with keyed UIDs and names and moved dates.

    The pixels are the same bytes. Whether text is burned into them is another question, see `judge_burned_in`.

    Args:
        dataset: As `medai.dicom.parse.parse` gives it; it is not changed.
        keys: The site's key.
        profile: What is configurable.

    Returns:
        The data set, without file meta information.

    Raises:
        MedaiError: `keys` has no secret.
        Refusal: ``bad-header``: no patient, study or instance is named, sequences are nested beyond reason, or an element that
            the pixels depend on cannot be parsed.

    Example:
        >>> deidentify_dataset(parse(data), Keys(site_key())).PatientIdentityRemoved
        'YES'
    """
    if keys.public:
        raise MedaiError("de-identification needs the site's key; a public data set has none")
    profile = profile or Profile()
    with quiet():
        person = person_of(dataset)
        if person is None:
            raise Refusal(
                "bad-header", "(0010,0020) 'Patient ID', (0020,000D) 'Study Instance UID' and (0008,0018) 'SOP Instance UID' are all absent"
            )
        cleaner = _Cleaner(keys, profile, keys.days_back(person), str(keys.name("patient", person)), identifiers_of(dataset))
        result = cleaner.clean(dataset)
        _add_age(dataset, result)
        stamp(result, profile)
    return result


def person_of(dataset: "Dataset") -> str | None:
    """Who the dates are moved for: the patient, or where none is named the study, or the instance."""
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        text = plain_text(dataset, keyword)
        if text:
            return text
    return None


def identifiers_of(dataset: "Dataset", nested: bool = True) -> Identifiers:
    """The identifying words that a data set holds in its names and numbers of persons, and (`nested`) in its sequences."""
    patient: set[str] = set()
    others: set[str] = set()
    for level in _levels(dataset) if nested else (dataset,):
        for keyword in _PATIENT_WORDS:
            patient |= identifying_words(plain_text(level, keyword) or "")
        for keyword in _OTHER_WORDS:
            others |= identifying_words(plain_text(level, keyword) or "")
        for tag in level.keys():  # noqa: SIM118  (iterating a Dataset parses every element)
            if _is_person_name(level, tag):
                others |= identifying_words(_read_text(level, tag) or "")
    return Identifiers(frozenset(patient), frozenset(patient | others))


@dataclass(frozen=True)
class _Cleaner:
    keys: Pseudonyms
    profile: Profile
    days_back: int
    patient: str
    identifiers: Identifiers

    def clean(self, dataset: "Dataset", depth: int = 0) -> "Dataset":
        from pydicom import DataElement, Dataset

        if depth > _DEEPEST:
            raise Refusal("bad-header", f"sequences are nested more than {_DEEPEST} deep; the file is damaged or hostile")
        result = Dataset()
        coded = is_coded(dataset)
        for tag in sorted(dataset.keys()):
            if tag.is_private or tag.group < 0x0008 or (coded and tag in CODE_TAGS):  # commands and meta information have no place here
                continue
            element = self._element(dataset, tag, depth)
            if element is not None:
                result[tag] = element
        if coded:
            for keyword, value in clean_code(partial(plain_text, dataset), self.keys, self._words).items():
                number, representation = _dictionary(keyword)
                result[number] = DataElement(number, representation, value)
        if self.profile.safe_private:
            _keep_safe_private(dataset, result)
        return result

    def _element(self, dataset: "Dataset", tag: Any, depth: int) -> "DataElement | None":
        from pydicom import DataElement

        rule = self.profile.rule(int(tag))
        if rule.action == "remove":
            return None
        try:
            element = dataset[tag]
        except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
            _refuse_needed(tag)
            return None
        representation = _family(element.VR, rule.representation or _representation(int(tag)))
        if representation is None:
            return None
        if representation == "SQ":
            return self._sequence(element, rule, depth)
        if rule.action == "pseudonym":
            return DataElement(tag, element.VR, self.patient)
        if element.is_empty:
            return DataElement(tag, element.VR, None)
        if rule.action in ("empty", "dummy"):
            return _replaced(element, rule.action)
        return self._value(element, rule)

    def _sequence(self, element: "DataElement", rule: Rule, depth: int) -> "DataElement | None":
        from pydicom import DataElement

        if rule.action == "dummy":
            return DataElement(element.tag, "SQ", [_code(REMOVED, REMOVED, LOCAL)])
        items = [] if rule.action == "empty" else [self.clean(item, depth + 1) for item in element.value]
        left = [item for item in items if len(item)]
        if items and not left and rule.otherwise != "empty":
            return None
        return DataElement(element.tag, "SQ", left)

    def _value(self, element: "DataElement", rule: Rule) -> "DataElement | None":
        from pydicom import DataElement

        kind = element.VR
        if kind in _NUMBERS:
            return element
        if kind not in _TEXTS | _DATES | {"UI"}:
            return element if int(element.tag) in _BINARY else None
        cleaned = [self._part(element, part, rule) for part in _parts(element)]
        if kind == "CS" and len(cleaned) > 1 and any(part for part in cleaned):
            cleaned = [part if part is not None else _DUMMIES["CS"] for part in cleaned]
        left = [part for part in cleaned if part is not None]
        if not any(left):
            return _replaced(element, rule.otherwise)
        return DataElement(element.tag, kind, left if len(left) > 1 else left[0])

    def _part(self, element: "DataElement", text: str, rule: Rule) -> str | None:
        """One value; None where nothing of it may stay."""
        kind = element.VR
        if kind == "DA":
            return shift_date(text, self.days_back)
        if kind == "DT":
            return shift_datetime(text, self.days_back)
        if kind == "TM":
            return text if is_time(text) else None
        if kind == "AS":
            return cap_age(text)
        if kind == "UI":
            return text if rule.action != "uid" and is_registered(text) else new_uid(self.keys, text)
        if kind == "CS":
            return clean_code_string(text, self.profile.terms)
        if rule.action == "date":  # (0008,0201) 'Timezone Offset From UTC'
            return text if len(text) == 5 and text[0] in "+-" and text[1:].isdigit() else None
        if rule.action == "keep" and kind != "PN" and not self.identifiers.mentioned(text):
            return text
        return self._words(text) or None

    def _words(self, text: str) -> str:
        return clean_text(text, self.profile.vocabulary, self.identifiers)


def _parts(element: "DataElement") -> list[str]:
    value = element.value
    parts = list(value) if element.VM > 1 and not isinstance(value, str | bytes) else [value]
    return [_strip(str(part)) for part in parts]


def _strip(text: str) -> str:
    return text.strip().strip("\0").strip()


def _replaced(element: "DataElement", action: str) -> "DataElement | None":
    """An element whose value is not used: gone, empty or a dummy."""
    from pydicom import DataElement

    if action == "remove":
        return None
    if action == "empty":
        return DataElement(element.tag, element.VR, None)
    if element.VR in ("OB", "OW", "UN"):
        return DataElement(element.tag, element.VR, b"\0\0")
    if element.VR in _TEXTS or element.VR in _DUMMIES:
        return DataElement(element.tag, element.VR, _DUMMIES.get(element.VR, REMOVED))
    return None


def _refuse_needed(tag: Any) -> None:
    if int(tag) in _NEEDED:
        raise Refusal(
            "bad-header", f"({tag.group:04X},{tag.element:04X}) cannot be parsed, and the pixels depend on it; the file is damaged"
        )


def _family(actual: str, expected: str) -> str | None:
    """The value representation to go by; None where a file writes an attribute as another kind of value than it is."""
    if actual in expected.split(" or "):
        return actual
    for family in (_NUMBERS, _TEXTS, _DATES, frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})):
        if actual in family and any(part in family for part in expected.split(" or ")):
            return actual
    return None


@lru_cache(maxsize=8192)
def _representation(tag: int) -> str:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return str(dictionary_VR(tag)) if dictionary_has_tag(tag) else ""


def _dictionary(keyword: str) -> tuple[int, str]:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag, _representation(tag)


def _keep_safe_private(dataset: "Dataset", result: "Dataset") -> None:
    """Copy the listed private numbers with their creator (PS3.15 E.3.10)."""
    from pydicom import DataElement

    for tag in dataset.keys():  # noqa: SIM118
        if not tag.is_private or tag.element < 0x1000:
            continue
        reserved = tag.group << 16 | tag.element >> 8
        creator = _read_text(dataset, reserved)
        kind = SAFE_PRIVATE.get(((creator or "").upper(), tag.group, tag.element & 0xFF))
        if kind is None:
            continue
        try:
            element = dataset[tag]
            value = _numbers(element.value, kind)
        except Exception:  # a broken one is no loss
            continue
        result[reserved] = DataElement(reserved, "LO", creator)
        result[tag] = DataElement(tag, kind, value)


def _numbers(value: Any, kind: str) -> list[Any]:
    """The numbers of a private element, which implicit VR leaves as bytes."""
    import struct

    if isinstance(value, bytes):
        if kind in ("DS", "IS"):
            value = value.decode("ascii").strip("\0 ").split("\\")
        else:
            code = {"FL": "f", "FD": "d", "SS": "h", "SL": "i"}[kind]
            value = list(struct.unpack(f"<{len(value) // struct.calcsize(code)}{code}", value))
    values = list(value) if not isinstance(value, str) and hasattr(value, "__iter__") else [value]
    whole = kind in ("IS", "SS", "SL")
    return [int(str(part)) if whole else float(part) for part in values]


def _add_age(dataset: "Dataset", result: "Dataset") -> None:
    """(0010,1010) 'Patient's Age' where only the birth date tells it, since that date does not stay."""
    from pydicom import DataElement

    if result.get("PatientAge"):
        return
    age = age_between(plain_text(dataset, "PatientBirthDate") or "", plain_text(dataset, "StudyDate") or "")
    if age is not None:
        result[0x00101010] = DataElement(0x00101010, "AS", age)


def stamp(result: "Dataset", profile: Profile, cleaned_pixels: bool = False) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.12.1)."""
    from pydicom import DataElement

    if any(_has_wide_text(level) for level in _levels(result)):
        result[0x00080005] = DataElement(0x00080005, "CS", "ISO_IR 192")
    result[0x00120062] = DataElement(0x00120062, "CS", "YES")
    result[0x00120063] = DataElement(0x00120063, "LO", list(METHOD))
    result[0x00120064] = DataElement(0x00120064, "SQ", [_code(*option) for option in profile.options(cleaned_pixels)])
    result[0x00280303] = DataElement(0x00280303, "CS", "MODIFIED")


def _code(value: str, meaning: str, scheme: str = "DCM") -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _has_wide_text(dataset: "Dataset") -> bool:
    return any(element.VR in _TEXTS and not str(element.value).isascii() for element in dataset)


def _levels(dataset: "Dataset", depth: int = 0) -> Iterator["Dataset"]:
    """A data set and those nested in it."""
    yield dataset
    if depth > _DEEPEST:
        return
    for tag in dataset.keys():  # noqa: SIM118
        if not _is_sequence(dataset, tag):
            continue
        try:
            element = dataset[tag]
            items = list(element.value or ()) if element.VR == "SQ" else []
        except Exception:  # a broken sequence is dropped or refused where it is cleaned
            continue
        for item in items:
            yield from _levels(item, depth + 1)


def _is_sequence(dataset: "Dataset", tag: Any) -> bool:
    return _raw_representation(dataset, tag) in ("SQ", "UN")


def _is_person_name(dataset: "Dataset", tag: Any) -> bool:
    return _raw_representation(dataset, tag) == "PN"


def _raw_representation(dataset: "Dataset", tag: Any) -> str:
    """The VR as the file writes it, else as the dictionary has it; "" where it is none."""
    try:
        return getattr(dataset.get_item(tag), "VR", None) or _representation(int(tag))
    except Exception:  # an unknown one raises
        return ""


def plain_text(dataset: "Dataset", keyword: str) -> str | None:
    """A value as text; None where it is absent, empty or broken."""
    return _read_text(dataset, _dictionary(keyword)[0])


def _read_text(dataset: "Dataset", tag: int) -> str | None:
    try:
        value = dataset[tag].value if tag in dataset else None
    except Exception:  # likewise: a broken one raises anything
        return None
    if value is None:
        return None
    if isinstance(value, MutableSequence):
        value = "\\".join(str(part) for part in value)
    return _strip(value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)) or None
