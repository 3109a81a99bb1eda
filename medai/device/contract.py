"""What a model accepts: channels, range of values, contrast, modality, body part. Anything else is refused with its figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from medai.core.error import MedaiError, Refusal
from medai.core.picture import GREY_WEIGHTS

CONTRAST_PIXELS = 65_536  # of larger images the contrast is taken on a regular grid of about so many pixels
STEPS = (
    "stored values of the single frame, decompressed (PS3.5 A.4)",
    "palette colour and YBR to RGB (PS3.3 C.7.6.3.1.2)",
    "modality LUT or rescale slope and intercept to modality values (PS3.3 C.11.1); no VOI LUT, no window",
    "MONOCHROME1 mirrored about the range of the stored values, so that bright is high as in MONOCHROME2",
    "channels as the model takes them: equal colour channels are grey, grey is repeated",
    "float32 (N, C, H, W), native size: resize, intensity and calibration are in the graph",
)


@dataclass(frozen=True)
class InputContract:
    """The images that a model was made for.

    Attributes:
        channels: 1 or 3.
        low: Smallest modality value accepted.
        high: Largest modality value accepted.
        min_contrast: Smallest difference accepted between an image's 99th and 1st percentile, in modality values.
        modalities: (0008,0060) Modality values accepted; empty accepts all. A file that names none is accepted.
        body_parts: (0018,0015) Body Part Examined values accepted; likewise.
        colour_to_grey: Whether a colour image may be weighted to grey (ITU-R BT.601) where `channels` is 1.
        steps: What is done between a DICOM file and the input `pixels`, for people; pinned by the vectors.
    """

    channels: int
    low: float
    high: float
    min_contrast: float = 0.0
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    colour_to_grey: bool = False
    steps: tuple[str, ...] = STEPS

    def __post_init__(self) -> None:
        for name in ("modalities", "body_parts", "steps"):
            object.__setattr__(self, name, tuple(str(value) for value in getattr(self, name)))
        for name in ("low", "high", "min_contrast"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.channels not in (1, 3):
            raise MedaiError(f"input.channels must be 1 or 3, got {self.channels}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise MedaiError(f"input.value_range must be two finite values low < high, got {self.low} and {self.high}")
        if not 0 <= self.min_contrast <= self.high - self.low:
            raise MedaiError(f"input.min_contrast must lie in [0, {self.high - self.low:g}], got {self.min_contrast}")

    def to_dict(self) -> dict[str, Any]:
        """The node ``input`` of package.json."""
        return {
            "name": "pixels",
            "dtype": "float32",
            "shape": ["N", self.channels, "H", "W"],
            "channels": self.channels,
            "value_range": [self.low, self.high],
            "min_contrast": self.min_contrast,
            "contrast": "difference of the 99th and 1st percentile of an image's values",
            "modalities": list(self.modalities),
            "body_parts": list(self.body_parts),
            "colour_to_grey": self.colour_to_grey,
            "steps": list(self.steps),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "InputContract":
        """Read the node ``input`` of package.json; keys that this version does not know are left alone.

        Raises:
            KeyError, TypeError, ValueError: a key is missing or of the wrong kind; `Record` turns it into one line.
        """
        low, high = (float(bound) for bound in value["value_range"])
        return InputContract(
            int(value["channels"]), low, high, float(value["min_contrast"]), tuple(value["modalities"]), tuple(value["body_parts"]),
            bool(value["colour_to_grey"]), tuple(value["steps"]),
        )  # fmt: skip

    def check_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Refuse a DICOM file of another modality or body part.

        Raises:
            Refusal: ``wrong-modality``, ``wrong-body-part``.
        """
        for keyword, tag, accepted, code in (
            ("Modality", "(0008,0060)", self.modalities, "wrong-modality"),
            ("BodyPartExamined", "(0018,0015)", self.body_parts, "wrong-body-part"),
        ):
            found = str(attributes.get(keyword) or "").strip().upper()
            if found and accepted and found not in {value.upper() for value in accepted}:
                raise Refusal(code, f"{tag} {keyword} is {found}; this model accepts {', '.join(accepted)}")

    def to_input(self, pixels: Shaped[np.ndarray, "..."]) -> Float32[np.ndarray, "channels H W"]:
        """Bring an image to the model's channels and to float32.

        Raises:
            Refusal: ``wrong-channels`` (colour for a grey model that does not convert it), ``unsupported-shape``.
        """
        if pixels.ndim != 3 or pixels.size == 0 or np.iscomplexobj(pixels):
            raise Refusal("unsupported-shape", f"the image has shape {pixels.shape} and dtype {pixels.dtype}; expected numbers (C, H, W)")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused by name
            pixels = pixels.astype(np.float32)
        if pixels.shape[0] == self.channels:
            return pixels
        if pixels.shape[0] == 1:
            return np.repeat(pixels, self.channels, axis=0)
        if pixels.shape[0] == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
            return pixels[:1]
        if pixels.shape[0] == 3 and self.colour_to_grey:
            grey: Float32[np.ndarray, "1 H W"] = np.tensordot(np.array(GREY_WEIGHTS, np.float32), pixels, axes=1)[None].astype(np.float32)
            return grey
        raise Refusal("wrong-channels", f"the image has {pixels.shape[0]} channels; this model accepts grey images only")

    def check_values(self, pixels: Float32[np.ndarray, "channels H W"]) -> None:
        """Refuse values that the model was not made for.

        Raises:
            Refusal: ``non-finite``, ``out-of-range``, ``low-contrast``.
        """
        low, high = float(pixels.min()), float(pixels.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise Refusal("non-finite", "the image holds NaN or infinite values; send the original file")
        if low < self.low or high > self.high:
            raise Refusal(
                "out-of-range", f"the image's values lie in [{low:g}, {high:g}]; this model accepts [{self.low:g}, {self.high:g}]"
            )
        found = contrast(pixels)
        if found < self.min_contrast:
            raise Refusal(
                "low-contrast", f"the image's contrast is {found:g} (99th minus 1st percentile); this model needs {self.min_contrast:g}"
            )


def contrast(pixels: Float32[np.ndarray, "channels H W"]) -> float:
    """The difference of an image's 99th and 1st percentile, in modality values; one hot pixel makes no contrast."""
    step = max(1, math.isqrt(pixels.shape[1] * pixels.shape[2] // CONTRAST_PIXELS))
    lower, upper = np.percentile(pixels[:, ::step, ::step], [1, 99])
    return float(upper - lower)
