"""Text burned into the pixels: which images may hold it, and what a site's policy says about them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import MedaiError, Refusal

RISKY_MODALITIES = frozenset({"US", "SC", "XC", "OT", "ES", "GM", "IVUS", "BDUS", "EPS", "HC", "DOC", "SR", "TG", "VIDD", "VIDMR"})
"""Modalities whose images often carry text: ultrasound, captured screens, photographs, scanned film and paper."""

_RISKY_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture and its multi-frame kinds
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound, also retired
    "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame, also retired
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # endoscopy, also video
    "1.2.840.10008.5.1.4.1.1.77.1.2.1",  # video microscopy
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # photography, also video
)
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # its label and overview images show the slide's label
_NOT_RISKY = ("1.2.840.10008.5.1.4.1.1.6.2",)  # Enhanced US Volume has no room for text
_RISKY_TYPES = frozenset(
    {"SCREEN SAVE", "SCREENSHOT", "SCREEN_SAVE", "SCREEN CAPTURE", "DOSE REPORT", "DOSE_INFO", "REPORT", "PROT REPORT"}
)
_KEYS = ("modality", "manufacturer", "model", "sop_class_uid", "rows", "columns", "burned_in", "hide", "allow")


@dataclass(frozen=True)
class Crop:
    """Regions of every frame that are blackened; the size of the image stays, so that spacing and positions hold.

    Args:
        hide: Rectangles in pixels: top, left, bottom, right; the last two are excluded.

    Example:
        >>> Crop(((0, 0, 60, 640),))
        Crop(hide=((0, 0, 60, 640),))
    """

    hide: tuple[tuple[int, int, int, int], ...]

    def __post_init__(self) -> None:
        for top, left, bottom, right in self.hide:
            if not (0 <= top < bottom and 0 <= left < right):
                raise MedaiError(
                    f"burned_in: the region {[top, left, bottom, right]} is none; expected [top, left, bottom, right] in pixels"
                )

    def apply(self, pixels: Shaped[np.ndarray, "*lead H W"], value: float | None = None) -> Shaped[np.ndarray, "*lead H W"]:
        """A copy with the regions filled with `value`; None: the smallest value of the image.

        Raises:
            Refusal: ``burned-in-text``: a region does not lie within the image.
        """
        self.check(pixels.shape[-2], pixels.shape[-1])
        filled = pixels.copy()
        fill = pixels.min() if value is None else value
        for top, left, bottom, right in self.hide:
            filled[..., top:bottom, left:right] = fill
        return filled

    def check(self, rows: int, columns: int) -> None:
        """Refuse an image that a region does not fit: then the rule was written for another one."""
        for _, _, bottom, right in self.hide:
            if bottom > rows or right > columns:
                raise Refusal(
                    "burned-in-text",
                    f"the policy hides up to row {bottom}, column {right} of an image of {rows} x {columns}; mend burned_in",
                )


@dataclass(frozen=True)
class BurnedInRule:
    """One rule of the policy: the images that it is about, and what is done with them.

    Attributes:
        modality: Value of (0008,0060); None: any.
        manufacturer: Regular expression searched in (0008,0070), without regard to case.
        model: Likewise in (0008,1090).
        sop_class_uid: Value of (0008,0016).
        rows: Value of (0028,0010). A rule that hides names both, since regions are in pixels.
        columns: Value of (0028,0011).
        burned_in: Value of (0028,0301), ``"ABSENT"`` where it is absent; None: any but YES. Only a rule that says ``"YES"``
            is about images that say so of themselves.
        hide: Rectangles for `Crop`; () with `allow` true lets the image pass as it is.
        allow: Let the image pass unchanged.
    """

    modality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    sop_class_uid: str | None = None
    rows: int | None = None
    columns: int | None = None
    burned_in: str | None = None
    hide: tuple[tuple[int, int, int, int], ...] = ()
    allow: bool = False

    def __post_init__(self) -> None:
        if self.allow == bool(self.hide):
            raise MedaiError(
                "burned_in: a rule either hides regions (hide: [[top, left, bottom, right], …]) or lets the image pass (allow: true)"
            )
        if self.hide and (self.rows is None or self.columns is None):
            raise MedaiError("burned_in: a rule that hides regions names rows and columns, since the regions are in pixels")
        for name in ("manufacturer", "model"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise MedaiError(f"burned_in: {name} {getattr(self, name)!r} is not a regular expression: {error}") from None
        Crop(self.hide)

    @staticmethod
    def of(settings: Mapping[str, Any]) -> "BurnedInRule":
        """From a mapping.

        Raises:
            MedaiError: a key is unknown or a value is not allowed.
        """
        unknown = sorted(set(settings) - set(_KEYS))
        if unknown:
            raise MedaiError(f"burned_in has the unknown key {unknown[0]!r}; allowed: {', '.join(_KEYS)}")
        try:
            hide = tuple((int(top), int(left), int(bottom), int(right)) for top, left, bottom, right in settings.get("hide") or ())
        except (TypeError, ValueError):
            raise MedaiError(f"burned_in: hide is {settings['hide']!r}; expected [[top, left, bottom, right], …] in pixels") from None
        return BurnedInRule(**{**settings, "hide": hide})

    def matches(self, image: Mapping[str, Any]) -> bool:
        """Whether the rule is about an image."""
        if (self.burned_in or "").upper() != "YES" and image["burned_in"] == "YES":
            return False
        for name in ("modality", "sop_class_uid", "burned_in"):
            wanted = getattr(self, name)
            if wanted is not None and str(wanted).upper() != image[name]:
                return False
        for name in ("manufacturer", "model"):
            pattern = getattr(self, name)
            if pattern is not None and not re.search(pattern, image[name], re.IGNORECASE):
                return False
        return all(getattr(self, name) in (None, image[name]) for name in ("rows", "columns"))


@dataclass(frozen=True)
class BurnedIn:
    """A site's policy: the first rule that matches a risky image decides; without one it is refused.

    Example:
        >>> BurnedIn.of([{"modality": "US", "manufacturer": "GE", "rows": 480, "columns": 640, "hide": [[0, 0, 60, 640]]}])
    """

    rules: tuple[BurnedInRule, ...] = ()

    @staticmethod
    def of(settings: Sequence[Mapping[str, Any]] | None) -> "BurnedIn":
        """From the list `burned_in` of a configuration or a policy file.

        Raises:
            MedaiError: it is no list of mappings, or a rule is not allowed.
        """
        if settings is None:
            return BurnedIn()
        if isinstance(settings, str | Mapping) or not all(isinstance(rule, Mapping) for rule in settings):
            raise MedaiError("burned_in must be a list of rules: mappings of modality, manufacturer, …, hide or allow")
        return BurnedIn(tuple(BurnedInRule.of(rule) for rule in settings))


def is_risky(modality: str, sop_class_uid: str, burned_in: str | None, image_type: str = "") -> bool:
    """Whether text may be burned in: it says YES or anything but NO, or it says nothing and is of a kind that often has it.

    (0028,0301) 'Burned In Annotation' is absent from most CR, DX, CT and MR images, whose pixels come from a detector: there
    absence is no sign. Ultrasound, secondary captures, photographs, endoscopy and saved screens are refused even where they
    say NO, since many devices write it unseen.
    """
    value = (burned_in or "").strip().upper()
    if value not in ("", "NO"):
        return True
    types = {part.strip().upper() for part in image_type.split("\\")}
    if any(sop_class_uid == one or sop_class_uid.startswith(f"{one}.") for one in _NOT_RISKY):
        return False
    if sop_class_uid == _WHOLE_SLIDE and types & {"LABEL", "OVERVIEW"}:
        return True
    risky_class = any(sop_class_uid == one or sop_class_uid.startswith(f"{one}.") for one in _RISKY_CLASSES)
    return risky_class or modality.strip().upper() in RISKY_MODALITIES or bool(types & _RISKY_TYPES)


def judge_burned_in(
    modality: str | None,
    sop_class_uid: str | None,
    burned_in: str | None,
    image_type: str | None,
    policy: BurnedIn,
    *,
    manufacturer: str | None = None,
    model: str | None = None,
    rows: int | None = None,
    columns: int | None = None,
) -> Crop | None:
    r"""What is to be blackened before an image may be used; None where nothing is.

    Args:
        modality: (0008,0060).
        sop_class_uid: (0008,0016).
        burned_in: (0028,0301); None where it is absent.
        image_type: (0008,0008), joined by backslashes.
        policy: The site's rules.
        manufacturer: (0008,0070).
        model: (0008,1090).
        rows: (0028,0010).
        columns: (0028,0011).

    Raises:
        Refusal: ``burned-in-text``: no rule of the policy says what to do.
    """
    if not is_risky(modality or "", sop_class_uid or "", burned_in, image_type or ""):
        return None
    image = {
        "modality": (modality or "").strip().upper(),
        "sop_class_uid": (sop_class_uid or "").strip(),
        "burned_in": (burned_in or "").strip().upper() or "ABSENT",
        "manufacturer": manufacturer or "",
        "model": model or "",
        "rows": rows,
        "columns": columns,
    }
    rule = next((rule for rule in policy.rules if rule.matches(image)), None)
    if rule is None:
        raise Refusal(
            "burned-in-text",
            "text may be burned into the pixels ((0028,0301) 'Burned In Annotation' is YES, or a modality or SOP class that often has it); "
            "add a rule to burned_in that hides its region or lets it pass",
        )
    if rule.allow:
        return None
    crop = Crop(rule.hide)
    if rows is not None and columns is not None:
        crop.check(rows, columns)
    return crop
