"""The plan of the preprocessing: data only, so that a view, a checkpoint and a package can name it. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text

RESIZE_VERSION = 1  # raised when the resize computes other values, so that old views are not taken for new ones
INTENSITY_METHODS = ("window", "percentile", "minmax", "zscore")


@dataclass(frozen=True)
class ResizePlan:
    """What a view stores: modality values at one size.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        channels: 1 (grey) or 3 (colour); grey is repeated, colour is weighted to grey (ITU-R BT.601).
    """

    height: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        if self.height < 8 or self.width < 8:
            raise MedaiError(f"preprocessing.height and width must be at least 8 pixels, got {self.height} x {self.width}")
        if self.channels not in (1, 3):
            raise MedaiError(f"preprocessing.channels must be 1 or 3, got {self.channels}")

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name the view."""
        return hash_text(canonical_json(asdict(self) | {"resize_version": RESIZE_VERSION}))[:16]


@dataclass(frozen=True)
class IntensityPlan:
    """How modality values become the network's input.

    Attributes:
        method: ``window``: [lower, upper] in modality values (e.g. HU) to [0, 1], clipped; ``percentile``: the image's own
            percentiles lower and upper to [0, 1], clipped; ``minmax``: the image's own extremes to [0, 1];
            ``zscore``: (value - mean of the image) / standard deviation of the image.
        lower: Lower bound (modality value, or percentile 0 to 100).
        upper: Upper bound, likewise.
    """

    method: str = "percentile"
    lower: float = 1.0
    upper: float = 99.0

    def __post_init__(self) -> None:
        if self.method not in INTENSITY_METHODS:
            raise MedaiError(f"preprocessing.intensity.method is {self.method!r}; allowed: {', '.join(INTENSITY_METHODS)}")
        if self.method in ("window", "percentile") and not self.lower < self.upper:
            raise MedaiError(f"preprocessing.intensity.lower ({self.lower}) must be < upper ({self.upper})")
        if self.method == "percentile" and not 0 <= self.lower < self.upper <= 100:
            raise MedaiError(f"preprocessing.intensity percentiles must lie in [0, 100], got {self.lower} and {self.upper}")


@dataclass(frozen=True)
class PreprocessingPlan:
    """Resize, then intensity: the two steps between modality values and the network."""

    resize: ResizePlan
    intensity: IntensityPlan

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "PreprocessingPlan":
        return PreprocessingPlan(ResizePlan(**value["resize"]), IntensityPlan(**value["intensity"]))
