"""The contract of a model that is not ours: what a vendor's manual says about its inputs and outputs, as data.

It is read from a YAML file by `medai.inference.contract_file`; docs/bring-any-model.md has every key.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.device.contract import InputContract

LAYOUTS = ("NCHW", "NHWC", "NHW", "CHW", "HWC", "HW")
METHODS = ("window", "range", "percentile", "minmax", "zscore", "none")
SCALED = ("window", "range", "percentile", "minmax")  # they lead to [0, 1], and then to `to`
BOUNDED = ("window", "range", "percentile")  # they have a lower and an upper bound
FITS = ("stretch", "pad", "crop")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos")
SMOOTH_ONLY = ("area", "lanczos")  # kernels that make no sense without antialiasing
ACTIVATIONS = ("none", "sigmoid", "softmax")
DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
POLARITIES = ("MONOCHROME2", "MONOCHROME1")
COLOUR_ORDERS = ("RGB", "BGR")
FIRST = ("resize", "intensity")
LARGEST_SIDE = 16_384


@dataclass(frozen=True)
class Resize:
    """How an image comes to the model's size.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        fit: ``stretch`` (both sides on their own), ``pad`` (keep the shape, fill the rest) or ``crop`` (keep the shape, cut the middle).
        interpolation: ``nearest``, ``bilinear``, ``bicubic``, ``area`` (box) or ``lanczos``.
        antialias: Whether a reduction averages over all pixels (Pillow, torch with antialias) or samples (OpenCV, torch without).
        short_side: Of a crop: what the shorter side is brought to before the middle is cut; None is as little as covers the size.
    """

    height: int
    width: int
    fit: str = "stretch"
    interpolation: str = "bilinear"
    antialias: bool = True
    short_side: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.height <= LARGEST_SIDE and 1 <= self.width <= LARGEST_SIDE):
            raise MedaiError(f"input.size is [{self.height}, {self.width}]; expected [height, width] in pixels, e.g. [224, 224]")
        _one_of("input.fit", self.fit, FITS)
        _one_of("input.interpolation", self.interpolation, INTERPOLATIONS)
        if not self.antialias and self.interpolation in SMOOTH_ONLY:
            raise MedaiError(f"input.interpolation {self.interpolation} is antialiased by nature; leave input.antialias out")
        if self.short_side is not None and self.fit != "crop":
            raise MedaiError("input.short_side belongs to fit: crop; leave it out or set input.fit: crop")
        if self.short_side is not None and not max(self.height, self.width) <= self.short_side <= LARGEST_SIDE:
            raise MedaiError(f"input.short_side is {self.short_side}, smaller than the crop {self.height} x {self.width}")


@dataclass(frozen=True)
class Intensity:
    """How modality values become the model's values.

    In order: `method` leads to [0, 1]; MONOCHROME1 mirrors it; `levels` rounds it; `to` spreads it; then `mean` is subtracted and
    the difference divided by `std`.

    Attributes:
        method: ``window`` clips [lower, upper]; ``range`` is the same, but an image beyond it is refused; ``percentile`` takes
            the image's own percentiles; ``minmax`` its extremes; ``zscore`` its mean and deviation; ``none`` leaves the values.
        lower: Lower bound (modality value, or percentile).
        upper: Upper bound, likewise.
        to: What 0 and 1 become, e.g. ``(0, 255)``.
        mean: One a channel, or one for all; in the units of `to`.
        std: Likewise.
        polarity: ``MONOCHROME2``: bright is high; ``MONOCHROME1``: bright is low.
        levels: Grey levels that the vendor's pipeline rounds to, e.g. 256 where it goes through 8-bit pictures.
    """

    method: str
    lower: float = 0.0
    upper: float = 1.0
    to: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    polarity: str = "MONOCHROME2"
    levels: int | None = None

    def __post_init__(self) -> None:
        _one_of("input.intensity.method", self.method, METHODS)
        _one_of("input.intensity.polarity", self.polarity, POLARITIES)
        for name in ("lower", "upper", "to", "mean", "std"):
            if not np.isfinite(getattr(self, name)).all():
                raise MedaiError(f"input.intensity.{name} is {getattr(self, name)}; it must be finite")
        if self.method in BOUNDED and not self.lower < self.upper:
            raise MedaiError(f"input.intensity.lower ({self.lower:g}) must be < upper ({self.upper:g})")
        if self.method == "percentile" and not 0 <= self.lower < self.upper <= 100:
            raise MedaiError(f"input.intensity percentiles must lie in [0, 100], got {self.lower:g} and {self.upper:g}")
        if not self.to[0] < self.to[1]:
            raise MedaiError(
                f"input.intensity.to is [{self.to[0]:g}, {self.to[1]:g}]; the first must be smaller (polarity mirrors an image)"
            )
        if self.levels is not None and not 2 <= self.levels <= 65_536:
            raise MedaiError(f"input.intensity.levels is {self.levels}; it must lie in [2, 65536]")
        if self.method not in SCALED and (self.to != (0.0, 1.0) or self.levels is not None or self.polarity != "MONOCHROME2"):
            raise MedaiError(f"input.intensity.method {self.method} has no scale, so to, levels and polarity are left out")
        self._check_normalisation()

    def _check_normalisation(self) -> None:
        """The mean of other units than the values is the commonest fault of all."""
        for value in self.std:
            if value <= 0:
                raise MedaiError(f"input.intensity.std holds {value:g}; it must be above 0")
        low, high = self.to
        if self.method not in SCALED:
            return
        for value in self.mean:
            if value != 0 and not low <= value <= high:
                raise MedaiError(
                    f"input.intensity.mean holds {value:g}, outside of to: [{low:g}, {high:g}]; "
                    f"mean and std are in the units of to: set to: [0, 255], or divide them by 255"
                )
        for value in self.std:
            if value > high - low:
                raise MedaiError(
                    f"input.intensity.std holds {value:g}, more than to: [{low:g}, {high:g}] spans; mean and std are in the units of to"
                )


@dataclass(frozen=True)
class InputSpec:
    """The one image that the model takes.

    Attributes:
        intensity: Modality values to the model's values.
        layout: Order of the axes: N images, C channels, H rows, W columns; without N it takes one image at a time.
        channels: 1 or 3; None takes what the file says.
        resize: To which size; None keeps the native one.
        name: Of the input; None where the file has one only.
        dtype: None takes what the file says.
        first: ``resize`` or ``intensity``: which of the two comes first.
        pad: What the rest is filled with (fit: pad), in the units of `to`; None is its lower end.
        colour_order: ``RGB`` or ``BGR``.
        colour_to_grey: Whether a colour image may be weighted to grey where the model takes one channel.
        low: Smallest modality value accepted.
        high: Largest modality value accepted.
        min_contrast: Smallest difference accepted between an image's 99th and 1st percentile.
    """

    intensity: Intensity
    layout: str = "NCHW"
    channels: int | None = None
    resize: Resize | None = None
    name: str | None = None
    dtype: str | None = None
    first: str = "resize"
    pad: float | None = None
    colour_order: str = "RGB"
    colour_to_grey: bool = False
    low: float = -float(np.finfo(np.float32).max)
    high: float = float(np.finfo(np.float32).max)
    min_contrast: float = 0.0

    def __post_init__(self) -> None:
        _one_of("input.layout", self.layout, LAYOUTS)
        _one_of("input.first", self.first, FIRST)
        _one_of("input.colour_order", self.colour_order, COLOUR_ORDERS)
        if self.dtype is not None:
            _one_of("input.dtype", self.dtype, DTYPES)
        if self.channels not in (None, 1, 3):
            raise MedaiError(f"input.channels is {self.channels}; images have 1 or 3")
        if "C" not in self.layout and self.channels == 3:
            raise MedaiError(f"input.layout {self.layout} has no axis for 3 channels; with C it is e.g. NCHW or NHWC")
        if self.pad is not None and (self.resize is None or self.resize.fit != "pad"):
            raise MedaiError("input.pad belongs to fit: pad; leave it out or set input.fit: pad")
        if not self.low < self.high:
            raise MedaiError(f"input.accepts.low ({self.low:g}) must be < high ({self.high:g})")
        if self.channels is not None:
            self.check_channels(self.channels)

    def check_channels(self, channels: int) -> None:
        """Refuse figures for another number of channels than the model has.

        Raises:
            MedaiError: mean, std or the order of colours do not fit.
        """
        for name in ("mean", "std"):
            values = getattr(self.intensity, name)
            if len(values) not in (1, channels):
                raise MedaiError(f"input.intensity.{name} has {len(values)} values, and the model takes {channels} channels")
        if self.colour_order == "BGR" and channels != 3:
            raise MedaiError("input.colour_order BGR is for 3 channels, and the model takes 1")

    def check_dtype(self, dtype: str) -> None:
        """Refuse values that an integer input cannot hold.

        Raises:
            MedaiError: they would be cut off, or nearly all be equal.
        """
        if not np.issubdtype(np.dtype(dtype), np.integer):
            return
        given = self.intensity
        if given.method == "zscore" or given.mean != (0.0,) * len(given.mean) or given.std != (1.0,) * len(given.std):
            raise MedaiError(f"the model takes {dtype}, so zscore, mean and std cannot be right: they make fractions; leave them out")
        limits = np.iinfo(np.dtype(dtype))
        low, high = given.to
        if given.method in SCALED and not (limits.min <= low and high <= limits.max and high - low >= 2):
            raise MedaiError(
                f"the model takes {dtype}, and input.intensity.to is [{low:g}, {high:g}]; set the whole range, e.g. to: [0, 255]"
            )

    def accepted(self, channels: int) -> InputContract:
        """Which images the model accepts, in the terms of a package."""
        low, high = self.low, self.high
        if self.intensity.method == "range":
            low, high = max(low, self.intensity.lower), min(high, self.intensity.upper)
        return InputContract(channels, low, high, self.min_contrast, colour_to_grey=self.colour_to_grey)


@dataclass(frozen=True)
class LabelSpec:
    """Where a label's probabilities stand in the model's outputs.

    Attributes:
        label: What is predicted.
        order: Its classes in the order of the output's columns. Of a binary label also one class: its column alone is there.
        activation: What is still to be applied: ``none`` (they are probabilities), ``sigmoid`` or ``softmax``.
        output: Name of the output; None where the file has one only.
        column: Number of its first column, counted from 0; None: the labels of an output follow one another and fill it.
    """

    label: Label
    order: tuple[str, ...]
    activation: str
    output: str | None = None
    column: int | None = None

    def __post_init__(self) -> None:
        name, classes = self.label.name, self.label.classes
        _one_of(f"the activation of label {name!r}", self.activation, ACTIVATIONS)
        single = self.label.kind == "binary" and len(self.order) == 1 and self.order[0] in classes
        if not single and sorted(self.order) != sorted(classes):
            raise MedaiError(f"label {name!r}: order is {list(self.order)}; it must name each of its classes once: {list(classes)}")
        if self.activation == "softmax" and len(self.order) == 1:
            raise MedaiError(f"label {name!r} has one column, whose softmax is always 1; use sigmoid, or give the order of both columns")
        if self.activation == "sigmoid" and self.label.kind != "binary":
            raise MedaiError(f"label {name!r} is {self.label.kind}, whose probabilities add up to 1; use softmax, or none where it is done")
        if self.column is not None and self.column < 0:
            raise MedaiError(f"label {name!r}: column is {self.column}; columns are counted from 0")


@dataclass(frozen=True)
class VendorContract:
    """How to call a model that is not ours.

    Attributes:
        path: The file that it was read from.
        input: The image.
        labels: The outputs, in the contract's order.
        thresholds: Per binary label.
        threshold_origin: Where they come from, for people.
        hash: SHA-256 of the file.
        name: Of the model.
        intended_use: One or two sentences, or nothing.
        network: Of torch weights: ``{"_target_": dotted class, argument: value}``.
    """

    path: Path
    input: InputSpec
    labels: tuple[LabelSpec, ...]
    thresholds: dict[str, float] = field(default_factory=dict)
    threshold_origin: str = ""
    hash: str = ""
    name: str = ""
    intended_use: str = ""
    network: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.labels:
            raise MedaiError("labels is empty; give one a label that the model predicts")
        names = [entry.label.name for entry in self.labels]
        if len(set(names)) != len(names):
            raise MedaiError(f"labels names {next(name for name in names if names.count(name) > 1)!r} twice")
        binary = [entry.label.name for entry in self.labels if entry.label.kind == "binary"]
        for name, value in self.thresholds.items():
            if name not in binary:
                raise MedaiError(f"thresholds.{name}: there is no such binary label; there are: {', '.join(binary) or 'none'}")
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise MedaiError(
                    f"thresholds.{name} is {value:g}; it must be a probability in [0, 1] (of a logit's threshold, its sigmoid)"
                )
        if self.thresholds and not self.threshold_origin:
            raise MedaiError("threshold_origin is missing; say where the thresholds come from, e.g. the vendor's manual and its date")

    @property
    def frozen(self) -> dict[str, float]:
        """The threshold of every binary label; 0.5 where the contract has none."""
        binary = [entry.label.name for entry in self.labels if entry.label.kind == "binary"]
        return {name: self.thresholds.get(name, 0.5) for name in binary}

    @property
    def origin(self) -> str:
        """Where the thresholds come from, with what was assumed."""
        assumed = [name for name in self.frozen if name not in self.thresholds]
        parts = [self.threshold_origin] if self.thresholds else []
        parts += [f"0.5, since none was given for {', '.join(assumed)}"] if assumed else []
        return "; ".join(parts)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise MedaiError(f"{key} is {value!r}; allowed: {', '.join(allowed)}")
