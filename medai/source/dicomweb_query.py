"""What is asked of a DICOMweb server: attributes to match (PS3.18 8.3.4.1), checked before and after."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.source.dicomweb_client import first_value

UID_BYTES = 64  # PS3.5 9.1
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"  # Study, Series and SOP Instance UID
SERIES_COUNT, INSTANCE_COUNT = "00201206", "00201209"  # Number of Study Related Series, of Series Related Instances

STUDY_KEYS = {
    "StudyDate": "00080020", "StudyTime": "00080030", "AccessionNumber": "00080050", "ModalitiesInStudy": "00080061",
    "StudyDescription": "00081030", "ReferringPhysicianName": "00080090", "PatientName": "00100010", "PatientID": "00100020",
    "PatientSex": "00100040", "PatientBirthDate": "00100030", "StudyInstanceUID": STUDY, "StudyID": "00200010",
}  # fmt: skip
SERIES_KEYS = {
    "Modality": "00080060", "SeriesInstanceUID": SERIES, "SeriesNumber": "00200011", "SeriesDescription": "0008103E",
    "BodyPartExamined": "00180015", "ProtocolName": "00181030", "StationName": "00081010", "Manufacturer": "00080070",
}  # fmt: skip
DATES = ("StudyDate", "PatientBirthDate")
EXACT = ("AccessionNumber", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_RANGE = re.compile(r"(\d{8})?(-(\d{8})?)?")


def is_uid(text: Any) -> bool:
    """Whether it is a UID (PS3.5 9.1), which is then also a harmless file name. Zeros that lead a component are let pass."""
    return isinstance(text, str) and len(text) <= UID_BYTES and re.fullmatch(r"[0-9]+(\.[0-9]+)*", text) is not None


@dataclass(frozen=True)
class Query:
    """One search: what to match among studies, and what among the series of each.

    Attributes:
        studies: Keyword to value of the study level.
        series: Keyword to value of the series level.
    """

    studies: Mapping[str, str]
    series: Mapping[str, str]

    @property
    def study(self) -> str | None:
        """The only study that is asked for, if nothing else is said of it: it needs no search."""
        uid = self.studies.get("StudyInstanceUID")
        return uid if len(self.studies) == 1 and is_uid(uid) else None

    def check(self, result: Mapping[str, Any], level: str) -> None:
        """Refuse a server that ignores what is to be matched: it would hand over what nobody asked for.

        Raises:
            MedaiError: a result contradicts the query.
        """
        asked, tags = (self.studies, STUDY_KEYS) if level == "studies" else (self.series, SERIES_KEYS)
        for keyword, value in asked.items():
            got = first_value(result, tags[keyword])
            if isinstance(got, str | int) and not _matches(keyword, value, str(got).strip()):
                raise MedaiError(
                    f"the server ignores {keyword} of dataset.query and sends what does not match; leave it out, and list the studies "
                    "in a file (dataset.studies) or choose by dataset.series"
                )


@dataclass(frozen=True)
class Queries:
    """The searches that a definition asks for: one, or one a value where an attribute has a list of them.

    Attributes:
        asked: Keyword of an attribute to its value.
        keyword: The attribute that has a list; None: none has.
        values: Its values.
    """

    asked: Mapping[str, Any]
    keyword: str | None = None
    values: Sequence[Any] = (None,)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Query]:
        for value in self.values:
            yield _query(self.asked if self.keyword is None else {**self.asked, self.keyword: value})


def queries(query: Mapping[str, Any], studies: str | None) -> Queries:
    """Check what a definition asks for.

    Args:
        query: Keyword of an attribute to a value, or to a list of values; null does not match.
        studies: A text file with a Study Instance UID a line; None: there is none.

    Raises:
        MedaiError: an attribute that cannot be matched, a value of a wrong form, or nothing that narrows the search.
    """
    asked = {key: value for key, value in query.items() if value is not None}
    if studies is not None:
        asked["StudyInstanceUID"] = _listed(Path(studies))
    if not asked:
        raise MedaiError("dataset.query is empty and would fetch the whole archive; give e.g. dataset.query.StudyDate=20200101-20201231")
    for keyword in asked:
        if keyword not in STUDY_KEYS and keyword not in SERIES_KEYS:
            raise MedaiError(f"dataset.query.{keyword} cannot be matched; allowed: {', '.join([*STUDY_KEYS, *SERIES_KEYS])}")
    lists = sorted(keyword for keyword, value in asked.items() if isinstance(value, list | tuple))
    if len(lists) > 1:
        raise MedaiError(f"dataset.query has lists for {' and '.join(lists)}; only one attribute may have one")
    if lists and not asked[lists[0]]:
        raise MedaiError(f"dataset.query.{lists[0]} is an empty list; give a value")
    found = Queries(asked, lists[0], list(dict.fromkeys(asked[lists[0]]))) if lists else Queries(asked)
    for one in found:  # every value is looked at before anything is asked
        assert one.studies or one.series
    return found


def _query(asked: Mapping[str, Any]) -> Query:
    values = {keyword: _text(keyword, value) for keyword, value in asked.items()}
    levels = [{key: value for key, value in values.items() if key in keys} for keys in (STUDY_KEYS, SERIES_KEYS)]
    return Query(*levels)


def _text(keyword: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise MedaiError(f"dataset.query.{keyword} is {value!r}; it must be a text, or a list of texts")
    text = str(value).strip()
    if keyword in DATES and text != "*" and not (_RANGE.fullmatch(text) and any(character.isdigit() for character in text)):
        raise MedaiError(
            f"dataset.query.{keyword} is {text!r}; it must be a date or a range: 20200131, 20200101-20201231, 20200101- or -20201231"
        )
    return text


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise MedaiError(f"dataset.studies {path} is not a readable text file; give one with a Study Instance UID a line") from None
    found = list(dict.fromkeys(_stripped(lines)))
    for number, uid in enumerate(found, start=1):
        if not is_uid(uid):
            raise MedaiError(f"dataset.studies {path}: entry {number} is no Study Instance UID; give one a line, without a heading")
    if not found:
        raise MedaiError(f"dataset.studies {path} is empty; give a Study Instance UID a line")
    return found


def _stripped(lines: list[str]) -> Iterator[str]:
    return (line.strip() for line in lines if line.strip())


def _matches(keyword: str, asked: str, got: str) -> bool:
    """Whether a result may be one of what was asked for; what cannot be judged may."""
    if keyword in DATES and re.fullmatch(r"\d{8}", got) and asked != "*":
        first, dash, last = asked.partition("-")
        return (first or "0") <= got <= (last or "9") if dash else got == first
    if keyword in EXACT and not set("*?") & set(asked):
        return got.casefold() in [value.strip().casefold() for value in re.split(r"[,\\]", asked)]
    return True
