"""Coded entries (PS3.3 8.8): a code of a public scheme stays with the meaning that the scheme gives it, a local one is keyed."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from medai.dicom.deidentify.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from pydicom import Dataset

CODE_TAGS = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119, 0x00080120})
REMOVED = "REMOVED"
LOCAL = "99REMOVED"
_FORMS = {
    "DCM": r"1[0-3]\d{4}",
    "SCT": r"\d{6,18}",
    "SRT": r"[A-Z]-[0-9A-F]{4,6}",
    "SNM3": r"[A-Z]-[0-9A-F]{4,6}",
    "99SDM": r"[A-Z]-[0-9A-F]{4,6}",
    "LN": r"\d{1,5}-\d",
    "FMA": r"\d{1,6}",
    "RADLEX": r"RID\d{1,6}",
    "UMLS": r"C\d{7}",
}
"""Forms of codes by (0008,0102) 'Coding Scheme Designator' (PS3.16 section 8)."""


def is_coded(dataset: "Dataset") -> bool:
    """Whether a data set is a coded entry."""
    return 0x00080102 in dataset and any(tag in dataset for tag in (0x00080100, 0x00080119, 0x00080120))


def clean_code(read: Callable[[str], str | None], keys: Pseudonyms, clean: Callable[[str], str]) -> dict[str, str]:
    """The elements of a coded entry by keyword.

    A code that pydicom's copy of PS3.16 knows keeps its value and takes the standard's meaning; one of the form of a public
    scheme keeps its value and a cleaned meaning; any other is replaced by a keyed name, so that equal codes stay equal.

    Args:
        read: From a keyword to the entry's value.
        keys: The site's key.
        clean: From a text to its cleaned form.
    """
    value, scheme, meaning = ((read(keyword) or "") for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning"))
    known = _known().get((scheme, value))
    if known is not None:
        return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": known}
    cleaned = clean(meaning) or REMOVED
    if scheme in _FORMS and re.fullmatch(_FORMS[scheme], value):
        return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": cleaned}
    original = value or (read("LongCodeValue") or read("URNCodeValue") or "")
    keyed = str(keys.name("code", f"{scheme}\0{original}"))[:16].upper()
    return {"CodeValue": keyed, "CodingSchemeDesignator": LOCAL, "CodeMeaning": cleaned}


@lru_cache(maxsize=1)
def _known() -> dict[tuple[str, str], str]:
    from pydicom.sr.codedict import codes

    found: dict[tuple[str, str], str] = {}
    for scheme in codes.schemes():
        for code in getattr(codes, scheme).concepts.values():
            found[scheme, code.value] = code.meaning[:64]
    return found
