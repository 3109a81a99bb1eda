"""A map over its image: a colour scale that reads the same at every step and on grey, and the blend of both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from medai.core.picture import GREY_WEIGHTS

LIGHTNESS = (0.40, 0.88)  # OKLab, from the scale's lower to its upper end
HUE_DEGREES = (-60.0, 100.0)  # violet, red, orange, yellow
CHROMA = 0.165  # the most that sRGB holds along the whole way: no colour of the scale is grey
OPACITY = 0.62  # of the strongest; the image stays visible under it
OPAQUE_FROM = 0.5  # a map's value; below it the colour fades out, so that what says nothing leaves the image alone
GREY_UNDER_LEGEND = 0.45


@dataclass(frozen=True)
class Explanation:
    """An image as a network takes it, and where in it the evidence for a class lies.

    Attributes:
        image: The network's input.
        saliency: 0 nothing, 1 the most of this image.
    """

    image: Float[np.ndarray, "C h w"]
    saliency: Float[np.ndarray, "h w"]


Explain = Callable[[str, str, int], Explanation | None]
"""Explains a case for a label's class (case_id, name of the label, index of the class); None where it cannot."""


def colours(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    """Values in [0, 1] as sRGB in [0, 1], equally spaced for the eye: a straight way in lightness and hue of OKLab (Ottosson 2020).

    Example:
        >>> colours(np.array([0.0, 1.0])).round(2).tolist()
        [[0.34, 0.15, 0.57], [0.95, 0.85, 0.25]]
    """
    place = np.clip(np.asarray(values, dtype=np.float64), 0, 1)
    lightness = LIGHTNESS[0] + (LIGHTNESS[1] - LIGHTNESS[0]) * place
    hue = np.deg2rad(HUE_DEGREES[0] + (HUE_DEGREES[1] - HUE_DEGREES[0]) * place)
    return _srgb(np.stack([lightness, CHROMA * np.cos(hue), CHROMA * np.sin(hue)], axis=-1))


def opacity(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """How far a value's colour covers the image."""
    covered: Float[np.ndarray, "*shape"] = OPACITY * np.clip(np.asarray(values) / OPAQUE_FROM, 0, 1)
    return covered


def overlay(image: UInt8[np.ndarray, "C h w"], saliency: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "3 h w"]:
    """The image in grey with the map's colours over it: colour always means the map."""
    grey = np.tensordot(GREY_WEIGHTS, image / 255, axes=1) if len(image) == 3 else image[0] / 255
    covered = opacity(saliency)[..., None]
    blended = (1 - covered) * grey[..., None] + covered * colours(saliency)
    return np.asarray(np.moveaxis(np.rint(blended * 255), -1, 0), dtype=np.uint8)


def legend_stops(count: int = 9) -> tuple[str, ...]:
    """The scale from 0 to 1 as it looks on a middle grey, as colours of CSS."""
    values = np.linspace(0, 1, count)
    flat = np.full((1, 1, count), round(255 * GREY_UNDER_LEGEND), dtype=np.uint8)
    return tuple("#" + bytes(pixel).hex() for pixel in overlay(flat, values[None])[:, 0].T)


def shown(image: Shaped[np.ndarray, "C h w"], window: Callable[[np.ndarray], np.ndarray]) -> UInt8[np.ndarray, "C h w"]:
    """A network's input in 8 bits: 0 to 1 as black to white, anything else (z-scores) stretched by `window`."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 1:
        return np.asarray(window(values), dtype=np.uint8)
    return np.asarray(np.rint(values * 255), dtype=np.uint8)


def _srgb(lab: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """OKLab to sRGB, both matrices as Ottosson gives them."""
    to_cones = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_cones.T) ** 3 @ to_linear.T, 0, 1)
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))
