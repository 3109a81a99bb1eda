"""Resize an image as other people's pipelines do, in numpy and Pillow: antialiased, or sampled."""

import numpy as np
from jaxtyping import Float, Float32, Int64
from PIL import Image

from medai.inference.contract import Resize

SMOOTH = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
}
CUBIC = -0.75  # of the sampled bicubic kernel, as in OpenCV and torch; Pillow's has -0.5 (Keys 1981, equation 4)


def resized(image: Float32[np.ndarray, "C H W"], plan: Resize) -> Float32[np.ndarray, "C h w"]:
    """Bring an image to a model's size; what `fit: pad` adds is not added here, so that it disturbs no statistic.

    Args:
        image: (C, H, W), any values.
        plan: To which size and how.

    Returns:
        (C, height, width); for ``pad``, the content alone, whose one side is the model's and whose other is at most that.
    """
    height, width = image.shape[1:]
    if plan.fit == "stretch":
        return _to(image, plan.height, plan.width, plan)
    if plan.fit == "pad":
        scale = min(plan.height / height, plan.width / width)
        return _to(image, min(plan.height, max(1, round(height * scale))), min(plan.width, max(1, round(width * scale))), plan)
    scale = max(plan.height / height, plan.width / width) if plan.short_side is None else plan.short_side / min(height, width)
    whole = _to(image, max(plan.height, int(height * scale)), max(plan.width, int(width * scale)), plan)
    top, left = (round((side - wanted) / 2) for side, wanted in zip(whole.shape[1:], (plan.height, plan.width), strict=True))
    return whole[:, top : top + plan.height, left : left + plan.width]


def padded(image: Float32[np.ndarray, "C H W"], height: int, width: int, value: float) -> Float32[np.ndarray, "C height width"]:
    """Put an image into the middle of a larger one.

    Args:
        image: (C, H, W), no larger than the result.
        height: Rows of the result, in pixels.
        width: Columns of the result, in pixels.
        value: Of the rest.
    """
    result = np.full((image.shape[0], height, width), value, dtype=np.float32)
    top, left = (height - image.shape[1]) // 2, (width - image.shape[2]) // 2
    result[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return result


def _to(image: Float32[np.ndarray, "C H W"], height: int, width: int, plan: Resize) -> Float32[np.ndarray, "C height width"]:
    if image.shape[1:] == (height, width):
        return image
    if plan.antialias and plan.interpolation in SMOOTH:
        kernel = SMOOTH[plan.interpolation]
        return np.stack([np.asarray(Image.fromarray(channel, "F").resize((width, height), kernel)) for channel in image])
    rows = _taps(image.shape[1], height, plan.interpolation)
    columns = _taps(image.shape[2], width, plan.interpolation)
    part = sum(weight[:, None] * image[:, place] for place, weight in zip(*rows, strict=True))
    return np.asarray(sum(weight * part[:, :, place] for place, weight in zip(*columns, strict=True)), dtype=np.float32)


def _taps(size: int, wanted: int, kind: str) -> tuple[Int64[np.ndarray, "T n"], Float[np.ndarray, "T n"]]:
    """Which pixels of a line make the new ones, and their weights: half-pixel centres, the border repeated."""
    centre = (np.arange(wanted) + 0.5) * size / wanted - 0.5
    if kind == "nearest":
        return np.clip(np.floor(np.arange(wanted) * size / wanted), 0, size - 1).astype(np.int64)[None], np.ones((1, wanted), np.float32)
    base = np.floor(centre)
    offset = centre - base
    if kind == "bilinear":
        steps, weights = np.array([0, 1]), [1 - offset, offset]
    else:
        steps = np.array([-1, 0, 1, 2])
        weights = [_far(1 + offset), _near(offset), _near(1 - offset), _far(2 - offset)]
    places = np.clip(base[None] + steps[:, None], 0, size - 1).astype(np.int64)
    return places, np.stack(weights).astype(np.float32)


def _near(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    weight: Float[np.ndarray, " n"] = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    return weight


def _far(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    weight: Float[np.ndarray, " n"] = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    return weight
