"""The allowlist: what becomes of each attribute, after PS3.15 Table E.1-1 and the attributes of the image IODs (PS3.3).

`profile.csv` holds the rows of the table (edition 2024e) with the action codes of the Basic Profile and of its options;
`allowed.csv` holds the other attributes of the image IODs. `type` is the strictest type that an attribute has in an image
IOD, and decides what a combined code such as X/Z/D comes to. An attribute in neither list is removed, but for a UID, which is
replaced: later editions add some that hold a file together.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from medai.core.error import MedaiError

DESCRIPTORS = ("words", "remove")

BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
_CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
_OPTIONS = (
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
    ("113109", "Retain Device Identity Option"),
)
_SAFE_PRIVATE = ("113111", "Retain Safe Private Option")


@dataclass(frozen=True)
class Rule:
    """What becomes of one attribute.

    Attributes:
        action: ``remove``, ``empty`` (Z), ``dummy`` (D), ``keep`` (K), ``clean`` (C), ``date`` (moved), ``uid`` (U) or
            ``pseudonym`` (the keyed name of the patient).
        otherwise: What is done where nothing of the value may stay: ``remove``, ``empty`` or ``dummy``.
        representation: VR by the list; "" where the data dictionary is asked.
    """

    action: str
    otherwise: str = "remove"
    representation: str = ""


@dataclass(frozen=True)
class Profile:
    """What is configurable of the de-identification.

    Args:
        descriptors: ``words`` keeps the words of the vocabulary in free text and drops all others; ``remove`` drops free text
            as the Basic Profile does, without the Clean Descriptors Option.
        words: Upper or lower case; more words of the site that identify nobody, e.g. of its protocols.
        safe_private: Keep the private attributes that PS3.15 Table E.3.10-1 lists as safe and that hold numbers, e.g. b-values.

    Raises:
        MedaiError: a value is not allowed.
    """

    descriptors: str = "words"
    words: tuple[str, ...] = ()
    safe_private: bool = True
    vocabulary: frozenset[str] = field(init=False, repr=False, compare=False)
    terms: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.descriptors not in DESCRIPTORS:
            raise MedaiError(f"clean_descriptors.descriptors is {self.descriptors!r}; allowed: {', '.join(DESCRIPTORS)}")
        if not all(isinstance(word, str) and word.strip() for word in self.words):
            raise MedaiError("clean_descriptors.words must be a list of words")
        object.__setattr__(self, "words", tuple(self.words))
        more = {part for word in self.words for part in word.upper().split()}
        object.__setattr__(self, "vocabulary", _lines("words.txt") | more)
        object.__setattr__(self, "terms", _lines("words.txt") | _lines("terms.txt") | more)

    @staticmethod
    def of(settings: Mapping[str, Any]) -> "Profile":
        """From the mapping `clean_descriptors` of a configuration or a policy file.

        Raises:
            MedaiError: a key is unknown or a value is not allowed.
        """
        known = {"descriptors", "words", "safe_private"}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise MedaiError(f"clean_descriptors has the unknown key {unknown[0]!r}; allowed: {', '.join(sorted(known))}")
        words = settings.get("words") or ()
        if isinstance(words, str):
            raise MedaiError("clean_descriptors.words must be a list of words")
        return Profile(settings.get("descriptors", "words"), tuple(words), bool(settings.get("safe_private", True)))

    def rule(self, tag: int) -> Rule:
        """What becomes of a standard attribute."""
        rule = rules().get(tag)
        if rule is None:
            return Rule("uid") if _is_uid(tag) else Rule("remove")
        return Rule(rule.otherwise) if rule.action == "clean" and self.descriptors == "remove" and tag not in _NOT_FREE else rule

    def options(self, cleaned_pixels: bool = False) -> list[tuple[str, str]]:
        """Code value and meaning of the profile and its options for (0012,0064), of PS3.16 CID 7050."""
        options = [BASIC_PROFILE, *([CLEAN_PIXELS] if cleaned_pixels else [])]
        options += [_CLEAN_DESCRIPTORS] if self.descriptors == "words" else []
        return [*options, *_OPTIONS, *([_SAFE_PRIVATE] if self.safe_private else [])]


@lru_cache(maxsize=1)
def rules() -> dict[int, Rule]:
    """Tag -> rule, for every standard attribute that may stay in some form. Groups 50xx and 60xx never stay."""
    found: dict[int, Rule] = {}
    for row in _rows("profile.csv"):
        if "X" not in row["tag"]:
            found[int(row["tag"], 16)] = _table_rule(row)
    for row in _rows("allowed.csv"):
        text = row["vr"] in ("LO", "SH", "ST", "LT", "UT", "UC") and row["keyword"] not in _VERBATIM
        action = "clean" if text else "keep"
        action = "uid" if row["vr"] == "UI" and row["keyword"] not in _CLASS_UIDS else action
        action = "remove" if row["vr"] == "UR" else action
        found[int(row["tag"], 16)] = Rule(action, _BY_TYPE[row["type"]], row["vr"])
    found[0x00200020] = Rule("keep", "empty", "CS")  # (0020,0020) 'Patient Orientation': a dummy would be a wrong direction
    found[0x00100010] = found[0x00100020] = Rule("pseudonym")
    return found


@lru_cache(maxsize=8192)
def _is_uid(tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_has_tag(tag) and dictionary_VR(tag) == "UI"


@lru_cache(maxsize=2)
def _lines(name: str) -> frozenset[str]:
    """`words.txt`: body parts, techniques, views, words of the data dictionary, Chinese terms; `terms.txt`: terms of code strings."""
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line)


def _table_rule(row: Mapping[str, str]) -> Rule:
    """An option overrides the profile (PS3.15 E.1.1); of two options that of dates comes first, since it changes the value."""
    otherwise = _resolve(row["basic"], row["type"])
    if otherwise == "dummy" and row["basic"] != "D" and row["keyword"].endswith("Sequence"):
        otherwise = "remove"  # a person or an organisation as a code: where X is allowed, no item is better than a made up one
    if row["dates"]:
        return Rule("date", otherwise)
    if "K" in (row["patient"], row["device"]):
        return Rule("keep", otherwise)
    if "C" in (row["patient"], row["device"], row["descriptors"]):
        return Rule("clean", otherwise)
    if "U" in row["basic"]:
        return Rule("uid", otherwise)
    return Rule(otherwise, otherwise)


def _resolve(code: str, kind: str) -> str:
    """A code or combined code for an attribute of type 1, 2 or 3: X where the type allows it, else Z, else D."""
    codes = code.split("/")
    if kind == "1" and "D" in codes:
        return "dummy"
    if kind == "2" and "Z" in codes:
        return "empty"
    if "X" in codes:
        return "remove"
    return "empty" if "Z" in codes else "dummy"


def _rows(name: str) -> list[dict[str, str]]:
    with files(__package__).joinpath(name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


_BY_TYPE = {"1": "dummy", "2": "empty", "3": "remove"}
_CLASS_UIDS = frozenset(
    {
        "SOPClassUID",
        "RelatedGeneralSOPClassUID",
        "OriginalSpecializedSOPClassUID",
        "ReferencedSOPClassUID",
        "CodingSchemeUID",
        "ContextUID",
        "MappingResourceUID",
        "ContextGroupExtensionCreatorUID",
    }
)
# Maker, model and software: what Retain Device Identity is about, though Table E.1-1 leaves it alone anyway.
_VERBATIM = frozenset(
    {
        "Manufacturer",
        "ManufacturerModelName",
        "ManufacturerModelVersion",
        "SoftwareVersions",
        "SecondaryCaptureDeviceManufacturer",
        "SecondaryCaptureDeviceManufacturerModelName",
        "SecondaryCaptureDeviceSoftwareVersions",
        "DetectorManufacturerName",
        "DetectorManufacturerModelName",
        "ReceiveCoilManufacturerName",
        "TransmitCoilManufacturerName",
        "ApplicationName",
        "ApplicationVersion",
        "ApplicationManufacturer",
    }
)
# Cleaned for the patient's and the device's options, or short technical names: "remove" is meant for descriptions.
_NOT_FREE = frozenset({0x00181210, 0x00180024, 0x00189005, 0x00281054, 0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119})
