"""Which series of a study become cases, and as what: the rules that a data set's YAML states."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from medai.core.error import MedaiError

VOLUMES = ("auto", "never", "always")
FRAMES = ("refuse", "first", "middle", "all")
CHOICES = ("all", "largest", "thinnest")
MOSAICS = ("unpack", "refuse")


@dataclass(frozen=True)
class SeriesRules:
    """A file that a rule leaves out is refused as ``not-selected``, with the rule's name. Patterns ignore case.

    Attributes:
        modalities: (0008,0060) to keep; empty: all.
        include: Regular expressions of which one must be found in (0008,103E) 'Series Description' or (0018,1030) 'Protocol Name'.
        exclude: Regular expressions of which none may be found there.
        kernel: Regular expression that (0018,1210) 'Convolution Kernel' must hold.
        thickness_mm: Least and greatest (0018,0050) 'Slice Thickness', null for no limit.
        slices: Least and greatest number of slices of a volume, null for no limit.
        image_type: Values of which (0008,0008) 'Image Type' must hold every one, e.g. ``[ORIGINAL, PRIMARY]``.
        not_image_type: Values of which it may hold none. By default localisers stay out.
        choose: ``all`` volumes of a study; or one: the ``largest`` (most slices; then the thinner, then by name) or the
            ``thinnest`` (least step; then the larger, then by name). It does not touch 2-D images.
        volumes: ``auto``: CT, MR and PT become volumes, and a series whose stacks are all single slices becomes images; ``never``:
            every slice is an image; ``always``: every image with a position becomes a volume, a single slice too.
        frames: Of a multi-frame file that is no volume (US, XA, …) become images: none (``refuse``), the ``first``, the
            ``middle`` or ``all``.
        mosaics: Siemens mosaics: ``unpack`` each into a volume, or ``refuse``.
    """

    modalities: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kernel: str | None = None
    thickness_mm: tuple[float | None, float | None] = (None, None)
    slices: tuple[int | None, int | None] = (None, None)
    image_type: tuple[str, ...] = ()
    not_image_type: tuple[str, ...] = ("LOCALIZER",)
    choose: str = "all"
    volumes: str = "auto"
    frames: str = "refuse"
    mosaics: str = "unpack"

    def __post_init__(self) -> None:
        for name in ("modalities", "include", "exclude", "image_type", "not_image_type"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(part, str) for part in value):
                raise MedaiError(f"dataset.series.{name} is {value!r}; expected a list of texts")
            object.__setattr__(self, name, tuple(value))
        for name in ("modalities", "image_type", "not_image_type"):
            object.__setattr__(self, name, tuple(part.upper() for part in getattr(self, name)))
        for name in ("include", "exclude", "kernel"):
            for pattern in [self.kernel or ""] if name == "kernel" else getattr(self, name):
                _check_pattern(name, pattern)
        for name in ("thickness_mm", "slices"):
            object.__setattr__(self, name, _limits(name, getattr(self, name)))
        for name, allowed in (("volumes", VOLUMES), ("frames", FRAMES), ("choose", CHOICES), ("mosaics", MOSAICS)):
            if getattr(self, name) not in allowed:
                raise MedaiError(f"dataset.series.{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "SeriesRules":
        """Rules from a YAML mapping.

        Raises:
            MedaiError: an unknown key, or a value that is not allowed.

        Example:
            >>> SeriesRules.of({"modalities": ["CT"], "thickness_mm": [None, 3]}).thickness_mm
            (None, 3.0)
        """
        known = [entry.name for entry in fields(cls)]
        for key in values:
            if key not in known:
                raise MedaiError(f"dataset.series.{key} is unknown; there are: {', '.join(known)}")
        return cls(**{key: getattr(cls, key) if value is None else value for key, value in values.items()})


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise MedaiError(f"dataset.series.{name} {pattern!r} is no regular expression: {error}") from None


def _limits(name: str, value: Any) -> tuple[float | None, float | None]:
    try:
        lowest, highest = (None if part is None else float(part) for part in value)
    except (TypeError, ValueError):
        raise MedaiError(f"dataset.series.{name} is {value!r}; expected two numbers, [least, greatest], or null for no limit") from None
    if lowest is not None and highest is not None and lowest > highest:
        raise MedaiError(f"dataset.series.{name} is [{lowest:g}, {highest:g}]; expected the least first")
    return lowest, highest
