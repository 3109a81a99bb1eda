"""Slices to a volume with its affine, in medai's one axis order.

Pixels are (C, D, H, W). After reading, D runs towards S (superior), H towards P (posterior) and W towards L (left), as nearly
as the slices allow: axes are permuted and flipped, nothing is interpolated. The affine maps the voxel (w, h, d, 1), that is
(column, row, slice), to patient coordinates in LPS millimetres (PS3.3 C.7.6.2.1.1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from medai.core.error import Refusal
from medai.dicom.attribute import read_attributes
from medai.dicom.geometry import SPACING_LIMIT, Figures, fault_text, is_placed, measure, order_slices, to_closest_axes, voxel_affine
from medai.dicom.modality import INTEGER_TYPES
from medai.dicom.mosaic import is_mosaic, unpack_mosaic
from medai.dicom.multiframe import frame_groups
from medai.dicom.read import read_frames

if TYPE_CHECKING:
    from pydicom import Dataset

GROWTH_LIMIT = 4
"""How many times larger slices may become when a tilt is sheared back."""

ReadFrames = Callable[[Path | bytes, Sequence[int] | None], tuple[np.ndarray, "Dataset"]]


@dataclass(frozen=True)
class Volume:
    """One volume as the rest of medai sees it.

    Attributes:
        pixels: (C, D, H, W): modality values in MONOCHROME2 polarity (C = 1), whole numbers where every slice's rescale keeps
            them whole, else float32; or RGB (C = 3).
        affine: From (w, h, d, 1) to LPS mm.
        spacing_mm: Along D, H, W.
        attributes: Those of the first slice, see `medai.dicom.attribute`.
        figures: What was measured of the one stack.
    """

    pixels: Shaped[np.ndarray, "C D H W"]
    affine: Float[np.ndarray, "4 4"]
    spacing_mm: tuple[float, float, float]
    attributes: dict[str, Any]
    figures: Figures


@dataclass(frozen=True)
class _Place:
    """Where a slice lies: LPS mm and direction cosines."""

    position: Float[np.ndarray, " 3"]
    orientation: Float[np.ndarray, " 6"]
    pixel_spacing: Float[np.ndarray, " 2"]
    thickness_mm: float


def read_volume(
    items: Sequence[str | Path],
    frames: Sequence[int] | None = None,
    opener: Callable[[Any], Path | bytes] = Path,
    tilt: str = "quarantine",
    reader: ReadFrames = read_frames,
) -> Volume:
    """Read the slices of one volume, in whatever order they are named; their positions decide.

    Args:
        items: A file a slice; a multi-frame file is named once for each of its frames.
        frames: The frame of each, from 0. None: all frames of each file, which is named once.
        opener: Gives a file's path or bytes by its item.
        tilt: ``quarantine`` refuses a tilted gantry; ``resample`` shears the slices back, see `straighten`.
        reader: `medai.dicom.read.read_frames`, or another of its signature.

    Raises:
        Refusal: what `read_frames` refuses; ``no-geometry``, ``mosaic``, ``mixed-shape``, ``mixed-orientation``,
            ``duplicate-positions``, ``missing-slices``, ``uneven-spacing``, ``jitter`` or ``gantry-tilt``.

    Example:
        >>> read_volume(sorted(Path("series").iterdir())).pixels.shape
        (1, 120, 512, 512)
    """
    slices, places, attributes = _read_slices(items, frames, opener, reader)
    shapes = sorted({piece.shape for piece in slices})
    if len(shapes) > 1:
        raise Refusal("mixed-shape", f"slices of {' and '.join(' x '.join(map(str, shape)) for shape in shapes[:4])}; expected one shape")
    position = np.array([place.position for place in places])
    orientation = np.array([place.orientation for place in places])
    one = np.zeros(len(places), np.int64)
    order = order_slices(position, orientation, one)
    figures = measure(position[order], orientation[order], one)
    code = str(figures.codes()[0])
    if code and not (code == "gantry-tilt" and tilt == "resample"):
        raise Refusal(code, fault_text(code, figures, 0))
    spacing = np.array([place.pixel_spacing for place in places])
    if np.ptp(spacing, axis=0).max() > SPACING_LIMIT * spacing.min():
        raise Refusal("mixed-shape", f"pixels of {spacing.min():.3f} to {spacing.max():.3f} mm; expected one (0028,0030) 'Pixel Spacing'")
    pixels = np.stack(_one_type([slices[at] for at in order]), axis=1)
    affine = voxel_affine(position[order], orientation.mean(axis=0), places[0].pixel_spacing, places[0].thickness_mm)
    if code == "gantry-tilt":
        pixels, affine = straighten(pixels, affine)
    pixels, affine = to_closest_axes(pixels, affine)
    width, height, depth = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return Volume(pixels, affine, (depth, height, width), attributes, figures)


def straighten(
    pixels: Shaped[np.ndarray, "C D H W"], affine: Float[np.ndarray, "4 4"]
) -> tuple[Shaped[np.ndarray, "C D H2 W2"], Float[np.ndarray, "4 4"]]:
    """Shear a tilted stack back, so that its slices lie upon each other along their normal.

    Each slice is shifted within its plane by linear interpolation along rows and columns. The matrix grows, so that nothing
    is cut off; what no slice covers has the volume's least value. Whole numbers are rounded to whole numbers.

    Args:
        pixels: (C, D, H, W) as acquired, before any flip.
        affine: From (w, h, d, 1) to LPS mm, its third column not along the normal.

    Returns:
        The pixels and an affine with columns at right angles.

    Raises:
        Refusal: ``gantry-tilt``: the slices would grow more than fourfold.
    """
    width_step, height_step, depth_step = affine[:3, :3].T
    normal = np.cross(width_step, height_step)
    normal /= np.linalg.norm(normal)
    along = (depth_step @ normal) * normal
    shift, *_ = np.linalg.lstsq(affine[:3, :2], depth_step - along, rcond=None)  # voxels a slice, along W and H
    offsets = np.arange(pixels.shape[1])[:, None] * shift
    first, last = np.floor(offsets.min(axis=0)).astype(int), np.ceil(offsets.max(axis=0)).astype(int)
    rows, columns = pixels.shape[2] + int(last[1] - first[1]), pixels.shape[3] + int(last[0] - first[0])
    if rows * columns > GROWTH_LIMIT * pixels.shape[2] * pixels.shape[3]:
        raise Refusal("gantry-tilt", f"straightened, slices of {pixels.shape[2]} x {pixels.shape[3]} would have {rows} x {columns} pixels")
    grown = np.full((*pixels.shape[:2], rows, columns), pixels.min(), pixels.dtype)
    for index, (across, down) in enumerate(offsets - first):
        moved = _shifted(pixels[:, index].astype(np.float64), down, grown.shape[2], 1, float(pixels.min()))
        moved = _shifted(moved, across, grown.shape[3], 2, float(pixels.min()))
        grown[:, index] = moved if pixels.dtype.kind == "f" else np.rint(moved)
    straight = affine.copy()
    straight[:3, 2] = along
    straight[:3, 3] += first[0] * width_step + first[1] * height_step
    return grown, straight


def _shifted(image: Float[np.ndarray, "C H W"], offset: float, size: int, axis: int, fill: float) -> Float[np.ndarray, "C H2 W2"]:
    """`image` moved by a non-negative offset along one axis, linearly interpolated, in a frame of another size."""
    whole = int(np.floor(offset))
    widths = [(whole + 1, size - whole - image.shape[axis]) if at == axis else (0, 0) for at in range(3)]
    padded = np.moveaxis(np.pad(image, widths, constant_values=fill), axis, -1)
    return np.moveaxis((1 + whole - offset) * padded[..., 1:] + (offset - whole) * padded[..., :-1], -1, axis)


def _read_slices(
    items: Sequence[str | Path], frames: Sequence[int] | None, opener: Callable[[Any], Path | bytes], reader: ReadFrames
) -> tuple[list[np.ndarray], list[_Place], dict[str, Any]]:
    """The slices (C, H, W), each with its place, file by file."""
    wanted: dict[str | Path, list[int] | None] = {}
    for at, item in enumerate(items):
        if frames is None:
            wanted[item] = None
        else:
            wanted.setdefault(item, []).append(int(frames[at]))  # type: ignore[union-attr]  # a list, where frames are named
    slices: list[np.ndarray] = []
    places: list[_Place] = []
    attributes: dict[str, Any] = {}
    for item, chosen in wanted.items():
        pixels, dataset = reader(opener(item), chosen)
        found, where = _slices_of(pixels, dataset, chosen)
        slices += found
        places += where
        attributes = attributes or read_attributes(dataset)
    return slices, places, attributes


def _slices_of(
    pixels: Shaped[np.ndarray, "F C H W"], dataset: "Dataset", chosen: list[int] | None
) -> tuple[list[np.ndarray], list[_Place]]:
    groups = frame_groups(dataset)
    if groups:
        indices = range(len(pixels)) if chosen is None else chosen
        kept = [groups[index] for index in indices]
        return list(pixels), [
            _place(one.position, one.orientation, one.pixel_spacing, one.spacing_between_slices or one.slice_thickness) for one in kept
        ]
    if len(pixels) > 1:
        raise Refusal("multi-frame", f"(0028,0008) 'Number of Frames' is {len(pixels)}, and (5200,9230) does not say where they lie")
    step = _value(dataset, "SpacingBetweenSlices") or _value(dataset, "SliceThickness")
    position, orientation = _value(dataset, "ImagePositionPatient"), _value(dataset, "ImageOrientationPatient")
    place = _place(position, orientation, _value(dataset, "PixelSpacing"), step)
    if not is_mosaic(read_image_type(dataset)):
        return list(pixels), [place]
    tiles, positions = unpack_mosaic(pixels[0], dataset, place.position, place.orientation, place.pixel_spacing, place.thickness_mm)
    return list(tiles.swapaxes(0, 1)), [_Place(one, place.orientation, place.pixel_spacing, place.thickness_mm) for one in positions]


def read_image_type(dataset: "Dataset") -> str:
    """(0008,0008) 'Image Type', joined by a backslash; empty where it cannot be read."""
    value = _value(dataset, "ImageType")
    return value if isinstance(value, str) else "\\".join(str(part) for part in value or ())


def _value(dataset: "Dataset", keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None


def _place(position: Any, orientation: Any, pixel_spacing: Any, step: Any) -> _Place:
    values = []
    for what, count, name in (
        (position, 3, "(0020,0032) 'Image Position (Patient)'"),
        (orientation, 6, "(0020,0037) 'Image Orientation (Patient)'"),
        (pixel_spacing, 2, "(0028,0030) 'Pixel Spacing'"),
    ):
        try:
            numbers = np.array([float(part) for part in what])
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise Refusal("no-geometry", f"{name} is absent or is not {count} numbers; a volume needs it")
        values.append(numbers)
    if not is_placed(*(one[None] for one in values))[0]:
        raise Refusal(
            "no-geometry", "(0020,0032), (0020,0037) or (0028,0030) makes no sense: not unit vectors at right angles, or no length"
        )
    try:
        thickness = abs(float(step))
    except (TypeError, ValueError):
        thickness = 0.0
    return _Place(values[0], values[1], values[2], thickness if 0 < thickness < np.inf else 1.0)


def _one_type(slices: list[np.ndarray]) -> list[np.ndarray]:
    """Whole numbers in the first of the slices' dtypes, int16, uint16 and int32 that holds them all, else float32."""
    kinds = {piece.dtype for piece in slices}
    if len(kinds) == 1:
        return slices
    if all(kind.kind in "iu" for kind in kinds):
        least, greatest = min(int(piece.min()) for piece in slices), max(int(piece.max()) for piece in slices)
        for dtype in (*sorted(kinds, key=lambda kind: (kind.itemsize, kind.kind)), *INTEGER_TYPES):
            if np.iinfo(dtype).min <= least and greatest <= np.iinfo(dtype).max:
                return [piece.astype(dtype, copy=False) for piece in slices]
    return [piece.astype(np.float32, copy=False) for piece in slices]
