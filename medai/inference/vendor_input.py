"""From modality values to what a stranger's model takes, by its contract: size, intensity, colours. In numpy, without torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped

from medai.core.error import MedaiError
from medai.device.contract import contrast
from medai.inference.contract import SCALED, InputSpec, Intensity
from medai.inference.resample import padded, resized

SMALLEST_RANGE = 1e-6  # of a flat image, which becomes 0 everywhere


@dataclass(frozen=True)
class Prepared:
    """One image as the model takes it.

    Attributes:
        values: (c, h, w), before the axes are put in the model's order.
        clipped_low: Share of the pixels below the window, cut to its lower end.
        clipped_high: Share above it.
        used: Share of the scale between the image's 1st and 99th percentile; 1 where there is no scale.
    """

    values: Float32[np.ndarray, "c h w"]
    clipped_low: float
    clipped_high: float
    used: float

    def on_scale(self, given: Intensity) -> tuple[Float32[np.ndarray, "c h w"], tuple[float, float] | None]:
        """For a picture: the image before mean and std, and the ends of its scale; None where it has none."""
        mean, std = _normalisation(given)
        return self.values * std + mean, given.to if given.method in SCALED else None


def prepared(image: Float32[np.ndarray, "C H W"], spec: InputSpec) -> Prepared:
    """Bring one image to the model's size and values.

    Args:
        image: Modality values in MONOCHROME2 polarity, in the model's channels, native size.
        spec: The contract's input.

    Returns:
        (c, h, w) float32, with figures that show a wrong window.
    """
    plan, given, channels = spec.resize, spec.intensity, len(image)
    if channels == 3 and (image[0] == image[1]).all() and (image[0] == image[2]).all():
        image = image[:1]  # grey, repeated: once is enough until the end
    if plan is not None and spec.first == "resize":
        image = resized(image, plan)
    image, low, high = scaled(image, given)
    used = contrast(image) / (given.to[1] - given.to[0]) if given.method in SCALED else 1.0
    if plan is not None and spec.first == "intensity":
        image = resized(image, plan)
    if plan is not None and plan.fit == "pad":
        rest = (given.to[0] if given.method in SCALED else 0.0) if spec.pad is None else spec.pad
        image = padded(image, plan.height, plan.width, rest)
    image = np.broadcast_to(image, (channels, *image.shape[1:]))
    if spec.colour_order == "BGR":
        image = image[::-1]
    mean, std = _normalisation(given)
    return Prepared(np.ascontiguousarray((image - mean) / std, dtype=np.float32), low, high, used)


def _normalisation(given: Intensity) -> tuple[Float32[np.ndarray, "c 1 1"], Float32[np.ndarray, "c 1 1"]]:
    return np.array(given.mean, np.float32).reshape(-1, 1, 1), np.array(given.std, np.float32).reshape(-1, 1, 1)


def scaled(image: Float32[np.ndarray, "C H W"], given: Intensity) -> tuple[Float32[np.ndarray, "C H W"], float, float]:
    """Modality values to the scale of the model, before mean and std.

    Args:
        image: (C, H, W) modality values.
        given: The contract's intensity.

    Returns:
        The values, and the shares that were cut off below and above.
    """
    if given.method == "none":
        return image, 0.0, 0.0
    if given.method == "zscore":
        return (image - image.mean()) / max(float(image.std()), SMALLEST_RANGE), 0.0, 0.0
    lower, upper = given.lower, given.upper
    if given.method == "percentile":
        lower, upper = (float(value) for value in np.percentile(image, [given.lower, given.upper]))
    elif given.method == "minmax":
        lower, upper = float(image.min()), float(image.max())
    below, above = float((image < lower).mean()), float((image > upper).mean())
    unit = np.clip((image - np.float32(lower)) / np.float32(max(upper - lower, SMALLEST_RANGE)), 0, 1)
    if given.polarity == "MONOCHROME1":
        unit = 1 - unit
    if given.levels is not None:
        unit = np.rint(unit * (given.levels - 1)) / (given.levels - 1)
    low, high = given.to
    return (np.float32(low) + unit * np.float32(high - low)).astype(np.float32), below, above


def arranged(images: Float32[np.ndarray, "N c h w"], spec: InputSpec, dtype: str) -> Shaped[np.ndarray, "..."]:
    """A batch in the model's order of axes and its type; a layout without N takes one image.

    Raises:
        MedaiError: the values do not fit into the type.
    """
    axes = {"N": 0, "C": 1, "H": 2, "W": 3}
    if "C" not in spec.layout:
        images = images[:, 0]
        axes |= {"H": 1, "W": 2}
    values = images if "N" in spec.layout else images[0]
    shift = 0 if "N" in spec.layout else 1
    return np.ascontiguousarray(_cast(np.transpose(values, [axes[axis] - shift for axis in spec.layout]), dtype))


def _cast(values: Float32[np.ndarray, "..."], dtype: str) -> Shaped[np.ndarray, "..."]:
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite([low, high]).all() and limits.min <= np.rint(low) and np.rint(high) <= limits.max):
            what = f"values in [{low:g}, {high:g}] do not fit into the {dtype} that the model takes"
            raise MedaiError(f"{what}; give input.intensity a window and to: [{limits.min}, {limits.max}]")
        whole: Shaped[np.ndarray, "..."] = np.rint(values).astype(kind)
        return whole
    with np.errstate(over="ignore"):
        result: Shaped[np.ndarray, "..."] = values.astype(kind)
    if not np.isfinite(result).all():
        raise MedaiError(f"values up to {float(np.abs(values).max()):g} do not fit into the {dtype} that the model takes; give a window")
    return result
