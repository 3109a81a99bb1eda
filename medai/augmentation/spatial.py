"""Where a pixel comes from: mirrors, turns, zooms and affine maps of a batch.

Coordinates are (row, column) in pixels from the image's centre, as in MONAI. A map says where in the input an output pixel is
read: a positive translation moves the picture up or left, a scale above 1 makes it smaller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from medai.augmentation.draws import Draws, column
from medai.augmentation.range import AxesArgument, RangeArgument, by_axis, symmetric
from medai.augmentation.transform import Parameters, Shape
from medai.core.error import MedaiError

SAMPLING = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
ZOOMS = ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
ZOOM_PADDINGS = {"edge": "replicate", "replicate": "replicate", "constant": "constant"}

Images = Float32[Tensor, "N C H W"]


@dataclass(frozen=True)
class Flip:
    """MONAI's RandFlip: mirror along one axis or several (0 rows, 1 columns; None both)."""

    prob: float = 0.1
    spatial_axis: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not set(self._axes()) <= {-2, -1, 0, 1}:
            raise ValueError(f"spatial_axis is 0 (rows), 1 (columns) or both, got {self.spatial_axis!r}")

    def _axes(self) -> Sequence[int]:
        if self.spatial_axis is None:
            return (0, 1)
        return self.spatial_axis if isinstance(self.spatial_axis, Sequence) else (self.spatial_axis,)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return images.flip(sorted({2 + axis % 2 for axis in self._axes()}))


@dataclass(frozen=True)
class AxisFlip:
    """MONAI's RandAxisFlip: mirror along an axis that is drawn."""

    prob: float = 0.1

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"axis": draws.integer(0, 1)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return _by_value(images, parameters["axis"], lambda part, axis: part.flip(2 + axis))


@dataclass(frozen=True)
class Rotate90:
    """MONAI's RandRotate90: quarter turns, 1 to `max_k` of them, from the first of `spatial_axes` to the second; square images only."""

    prob: float = 0.1
    max_k: int = 3
    spatial_axes: Sequence[int] = (0, 1)

    def __post_init__(self) -> None:
        if sorted(axis % 2 for axis in self.spatial_axes) != [0, 1] or self.max_k < 1:
            raise ValueError(f"max_k is at least 1 and spatial_axes the two axes, got {self.max_k} and {self.spatial_axes!r}")

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"turns": draws.integer(1, self.max_k)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        if images.shape[2] != images.shape[3]:
            raise MedaiError(f"RandRotate90 would change the shape of images of {tuple(images.shape[2:])} pixels; it wants square ones")
        axes = [2 + axis % 2 for axis in self.spatial_axes]
        return _by_value(images, parameters["turns"] % 4, lambda part, turns: part.rot90(turns, axes))


@dataclass(frozen=True)
class Affine:
    """MONAI's RandAffine: an output pixel at p is read at R S T Z p, for a turn R, a shear S, a translation T and a zoom Z.

    A number or one range concerns the first axis alone, as in MONAI; 1 is added to the drawn scale.
    """

    prob: float = 0.1
    rotate_range: AxesArgument = None
    shear_range: AxesArgument = None
    translate_range: AxesArgument = None
    scale_range: AxesArgument = None
    mode: str = "bilinear"
    padding_mode: str = "reflection"

    def __post_init__(self) -> None:
        _check_sampling(self.mode, self.padding_mode)
        for argument in (self.rotate_range, self.shear_range, self.translate_range, self.scale_range):
            by_axis(argument)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        drawn = {
            name: [draws.uniform(*limits) for limits in (by_axis(argument) + [(0.0, 0.0)] * 2)[:2]]
            for name, argument in (
                ("rotate", self.rotate_range),
                ("shear", self.shear_range),
                ("translate", self.translate_range),
                ("scale", self.scale_range),
            )
        }
        return {"matrix": affine_matrix(drawn["rotate"][0], *drawn["shear"], *drawn["translate"], *drawn["scale"])}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return sample(images, parameters["matrix"], self.mode, self.padding_mode)


@dataclass(frozen=True)
class Rotate:
    """MONAI's RandRotate: a turn about the centre, `range_x` in radians; `range_y` and `range_z` are of volumes."""

    range_x: RangeArgument = 0.0
    range_y: RangeArgument = 0.0
    range_z: RangeArgument = 0.0
    prob: float = 0.1
    keep_size: bool = True
    mode: str = "bilinear"
    padding_mode: str = "border"
    align_corners: bool = False

    def __post_init__(self) -> None:
        _check_sampling(self.mode, self.padding_mode)
        symmetric(self.range_x)
        if not self.keep_size or self.align_corners:
            raise ValueError("keep_size has to be true and align_corners false")

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        angle = draws.uniform(*symmetric(self.range_x))
        nothing = np.zeros_like(angle)
        return {"matrix": affine_matrix(angle, *[nothing] * 6)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return sample(images, parameters["matrix"], self.mode, self.padding_mode)


@dataclass(frozen=True)
class Zoom:
    """MONAI's RandZoom: resized by one factor, or by one an axis, then cut or padded about the centre to the size it had."""

    prob: float = 0.1
    min_zoom: float | Sequence[float] = 0.9
    max_zoom: float | Sequence[float] = 1.1
    mode: str = "area"
    padding_mode: str = "edge"
    align_corners: bool | None = None
    keep_size: bool = True

    def __post_init__(self) -> None:
        if self.mode not in ZOOMS or self.padding_mode not in ZOOM_PADDINGS or not self.keep_size:
            raise ValueError(f"mode is one of {ZOOMS}, padding_mode one of {tuple(ZOOM_PADDINGS)}, and keep_size true")
        if self.align_corners is not None and self.mode not in ("bilinear", "bicubic"):
            raise ValueError(f"align_corners goes with the modes bilinear and bicubic, not with {self.mode}")
        lows, highs = self._limits()
        if len(lows) != len(highs) or len(lows) not in (1, 2) or min(lows) <= 0:
            raise ValueError(f"min_zoom and max_zoom are positive, one number or one an axis, got {self.min_zoom!r} and {self.max_zoom!r}")

    def _limits(self) -> tuple[Sequence[float], Sequence[float]]:
        lows = self.min_zoom if isinstance(self.min_zoom, Sequence) else [self.min_zoom]
        return lows, self.max_zoom if isinstance(self.max_zoom, Sequence) else [self.max_zoom]

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        factors = [draws.uniform(low, high) for low, high in zip(*self._limits(), strict=True)]
        sizes = [np.floor(size * factors[min(axis, len(factors) - 1)]) for axis, size in enumerate(shape[1:])]
        return {"size": np.maximum(np.stack(sizes, axis=1), 1).astype(np.int64)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        sizes = parameters["size"].tolist()
        return torch.cat([self._zoom(image[None], (rows, columns)) for image, (rows, columns) in zip(images, sizes, strict=True)])

    def _zoom(self, image: Images, size: tuple[int, int]) -> Images:
        height, width = image.shape[2:]
        image = functional.interpolate(image, size, mode=self.mode, align_corners=self.align_corners)
        top, left = max(size[0] // 2 - height // 2, 0), max(size[1] // 2 - width // 2, 0)
        image = image[:, :, top : top + height, left : left + width]
        missing = height - image.shape[2], width - image.shape[3]
        padding = [missing[1] // 2, missing[1] - missing[1] // 2, missing[0] // 2, missing[0] - missing[0] // 2]
        return functional.pad(image, padding, mode=ZOOM_PADDINGS[self.padding_mode])


def affine_matrix(
    angle: Float64[ndarray, " n"],
    shear_rows: Float64[ndarray, " n"],
    shear_columns: Float64[ndarray, " n"],
    rows: Float64[ndarray, " n"],
    columns: Float64[ndarray, " n"],
    scale_rows: Float64[ndarray, " n"],
    scale_columns: Float64[ndarray, " n"],
) -> Float64[ndarray, "n 2 3"]:
    """The maps R S T Z of (row, column, 1): a turn (radians), a shear, a translation (pixels) and a zoom (less 1)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first = cosine - sine * shear_columns, (cosine - sine * shear_columns) * shear_rows - sine
    second = sine + cosine * shear_columns, (sine + cosine * shear_columns) * shear_rows + cosine
    lines = [np.stack([a * (1 + scale_rows), b * (1 + scale_columns), a * rows + b * columns], axis=1) for a, b in (first, second)]
    return np.stack(lines, axis=1)


def sample(images: Images, matrix: Float64[ndarray, "N 2 3"], mode: str, padding_mode: str) -> Images:
    """Read the images where `matrix` sends each pixel: of (row, column, 1) from the centre, in pixels."""
    halves = np.array(images.shape[2:])[:, None] / 2  # the unit of grid_sample, which also wants the column's coordinate first
    scaled = column((matrix / halves)[:, ::-1], images)
    rows, columns = (_centred(size, images.device) for size in images.shape[2:])
    grid = (scaled[:, :, :1] * rows)[..., None] + (scaled[:, :, 1:2] * columns + scaled[:, :, 2:])[..., None, :]
    return functional.grid_sample(images, grid.permute(0, 2, 3, 1), mode=mode, padding_mode=padding_mode, align_corners=False)


@lru_cache(maxsize=16)
def _centred(size: int, device: torch.device) -> Float32[Tensor, " size"]:
    """Coordinates along an axis, from the centre."""
    return (torch.arange(size, dtype=torch.float32) - (size - 1) / 2).to(device)


def _by_value(images: Images, values: Int64[ndarray, " N"], change: Callable[[Tensor, int], Tensor]) -> Images:
    """Change the images that share a value together."""
    changed = torch.empty_like(images)
    for value in np.unique(values):
        index = torch.from_numpy(np.flatnonzero(values == value)).to(images.device, non_blocking=True)
        changed.index_copy_(0, index, change(images.index_select(0, index), int(value)))
    return changed


def _check_sampling(mode: str, padding_mode: str) -> None:
    if mode not in SAMPLING or padding_mode not in PADDINGS:
        raise ValueError(f"mode is one of {SAMPLING} and padding_mode one of {PADDINGS}, got {mode!r} and {padding_mode!r}")
