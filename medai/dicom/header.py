"""Header values that the pixels depend on: read, or refused with their tag."""

import math
from typing import TYPE_CHECKING, Any

from medai.core.error import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset


def tag_text(keyword: str) -> str:
    """Tag and name for a message.

    Example:
        >>> tag_text("PhotometricInterpretation")
        "(0028,0004) 'Photometric Interpretation'"
    """
    from pydicom.datadict import dictionary_description, tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) '{dictionary_description(tag)}'"


def value_of(dataset: "Dataset", keyword: str) -> Any:
    """The value, or None where it is absent or empty.

    Raises:
        Refusal: ``bad-header``: it cannot be parsed.
    """
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        raise Refusal("bad-header", f"{tag_text(keyword)} cannot be parsed; the file is damaged") from None
    return None if value is None or value == "" else value


def whole_of(dataset: "Dataset", keyword: str, default: int | None = None) -> int:
    """A whole number.

    Raises:
        Refusal: ``bad-header``: it is absent and has no default, or is not a whole number.
    """
    value = value_of(dataset, keyword)
    try:
        return int(default if value is None else value)  # type: ignore[arg-type]  # None raises what is caught
    except (TypeError, ValueError):
        raise Refusal("bad-header", f"{tag_text(keyword)} is {'absent' if value is None else value}; expected a whole number") from None


def number_of(dataset: "Dataset", keyword: str, default: float) -> float:
    """A finite number.

    Raises:
        Refusal: ``bad-header``: it is not a finite number.
    """
    value = value_of(dataset, keyword)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Refusal("bad-header", f"{tag_text(keyword)} is {value}; expected a finite number")
    return number
