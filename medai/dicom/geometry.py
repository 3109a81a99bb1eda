"""The geometry of stacks of slices: order, measured figures, affine, closest axes (PS3.3 C.7.6.2.1.1; LPS, millimetres).

All stacks are measured at once: a row of the arrays is a slice, and `stack` says to which stack it belongs.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

DUPLICATE_MM = 0.01
"""Slices nearer to each other than this lie at one position."""

SPACING_LIMIT = 0.01
"""Greatest relative deviation of a step between slices from the stack's median step."""

JITTER_LIMIT_MM = 0.1
"""Greatest distance of a slice from the straight line through the stack, within the slice's plane."""

ORIENTATION_LIMIT = 1e-3
"""Greatest deviation of a direction cosine from the stack's mean."""

TILT_LIMIT_DEGREES = 0.1
"""Greatest angle between the way from slice to slice and the slices' normal."""

LONGEST_MM = 1e5
"""A coordinate or a pixel of more is no measurement."""


@dataclass(frozen=True)
class Figures:
    """What was measured of K stacks.

    Attributes:
        slices: Number of slices.
        orientation_deviation: Greatest deviation of a direction cosine from the mean.
        spacing_mm: Median step along the normal, of steps that are no duplicates; NaN where there is none.
        spacing_deviation: Greatest relative deviation of a step from the median.
        duplicates: Steps of less than 0.01 mm.
        missing: Slices that lack, where every deviating step is a multiple of the median; else 0.
        jitter_mm: Greatest in-plane distance of a slice from the straight line through the stack.
        tilt_degrees: Angle between that line and the normal.
    """

    slices: Int[np.ndarray, " K"]
    orientation_deviation: Float[np.ndarray, " K"]
    spacing_mm: Float[np.ndarray, " K"]
    spacing_deviation: Float[np.ndarray, " K"]
    duplicates: Int[np.ndarray, " K"]
    missing: Int[np.ndarray, " K"]
    jitter_mm: Float[np.ndarray, " K"]
    tilt_degrees: Float[np.ndarray, " K"]

    def codes(self) -> Shaped[np.ndarray, " K"]:
        """The first fault of each stack, or an empty string."""
        uneven = self.spacing_deviation > SPACING_LIMIT
        faults = {
            "mixed-orientation": self.orientation_deviation > ORIENTATION_LIMIT,
            "duplicate-positions": self.duplicates > 0,
            "missing-slices": uneven & (self.missing > 0),
            "uneven-spacing": uneven,
            "jitter": self.jitter_mm > JITTER_LIMIT_MM,
            "gantry-tilt": self.tilt_degrees > TILT_LIMIT_DEGREES,
        }
        return np.select(list(faults.values()), [np.array(code) for code in faults], default="")


def fault_text(code: str, figures: Figures, stack: int) -> str:
    """What is wrong with the geometry of a stack, in figures; no identifier.

    Args:
        code: One of `Figures.codes`.
        figures: Of all stacks.
        stack: Which one.
    """
    text = _FAULTS[code]
    return text.format(**{name: getattr(figures, name)[stack] for name in vars(figures)})


_FAULTS = {
    "mixed-orientation": "direction cosines differ by up to {orientation_deviation:.4f} within {slices} slices; expected at most 0.001",
    "duplicate-positions": "{duplicates} of {slices} slices lie where another lies, and no tag tells them apart",
    "missing-slices": "{slices} slices are {spacing_mm:.3f} mm apart, but for gaps that lack {missing}",
    "uneven-spacing": "the steps between {slices} slices deviate by {spacing_deviation:.1%} from {spacing_mm:.3f} mm; expected at most 1%",
    "jitter": "slices lie up to {jitter_mm:.2f} mm beside the straight line through the {slices} slices; expected at most 0.1 mm",
    "gantry-tilt": "the {slices} slices are sheared by a gantry tilt of {tilt_degrees:.2f} degrees; tilt=resample straightens them",
}


def is_placed(
    position: Float[np.ndarray, "N 3"], orientation: Float[np.ndarray, "N 6"], pixel_spacing: Float[np.ndarray, "N 2"]
) -> Bool[np.ndarray, " N"]:
    """Whether a slice can lie so: direction cosines that are unit vectors at right angles within 0.01, and lengths of a room's size."""
    row, column = orientation[:, :3], orientation[:, 3:]
    with np.errstate(all="ignore"):
        products = np.stack([(row * row).sum(axis=1) - 1, (column * column).sum(axis=1) - 1, (row * column).sum(axis=1)])
        upright = (np.abs(products) < 0.01).all(axis=0)  # NaN is not
        near = (np.abs(position) < LONGEST_MM).all(axis=1) & (pixel_spacing > 0).all(axis=1) & (pixel_spacing < LONGEST_MM).all(axis=1)
    return np.asarray(upright & near)


def order_slices(
    position: Float[np.ndarray, "N 3"], orientation: Float[np.ndarray, "N 6"], stack: Int[np.ndarray, " N"]
) -> Int[np.ndarray, " N"]:
    """Indices that sort by stack and, within it, by position along the normal; equal positions keep their order.

    Args:
        position: (0020,0032) in mm.
        orientation: (0020,0037).
        stack: Numbers 0 … K-1, each present.
    """
    _, normal = _axes(orientation, stack)
    return np.lexsort((np.einsum("ij,ij->i", position, normal[stack]), stack))


def measure(position: Float[np.ndarray, "N 3"], orientation: Float[np.ndarray, "N 6"], stack: Int[np.ndarray, " N"]) -> Figures:
    """Measure K stacks whose slices are in the order of `order_slices`. See there for the arguments.

    Example:
        >>> position = np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 4]])
        >>> measure(position, np.tile([1.0, 0, 0, 0, 1, 0], (3, 1)), np.zeros(3, int)).spacing_mm
        array([2.])
    """
    slices = np.bincount(stack)
    mean, normal = _axes(orientation, stack)
    along = np.einsum("ij,ij->i", position, normal[stack])
    spacing, deviation, duplicates, missing = _steps(along, stack, len(slices))
    jitter, tilt = _line(position, along, mean[:, :3], normal, stack)
    orientation_deviation = _greatest(np.abs(orientation - mean[stack]).max(axis=1), stack, len(slices))
    return Figures(slices, orientation_deviation, spacing, deviation, duplicates, missing, jitter, tilt)


def _axes(orientation: Float[np.ndarray, "N 6"], stack: Int[np.ndarray, " N"]) -> tuple[Float[np.ndarray, "K 6"], Float[np.ndarray, "K 3"]]:
    """Mean direction cosines and unit normal of each stack."""
    mean = np.stack([np.bincount(stack, column) for column in orientation.T], axis=1) / np.bincount(stack)[:, None]
    normal = np.cross(mean[:, :3], mean[:, 3:])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return mean, normal / np.where(length > 0, length, 1)


def _greatest(values: Float[np.ndarray, " M"], stack: Int[np.ndarray, " M"], count: int) -> Float[np.ndarray, " K"]:
    greatest = np.zeros(count)
    np.maximum.at(greatest, stack, values)
    return greatest


def _steps(
    along: Float[np.ndarray, " N"], stack: Int[np.ndarray, " N"], count: int
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"], Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Median step, its greatest relative deviation, duplicates and missing slices."""
    inside = stack[1:] == stack[:-1]
    step, of = np.diff(along)[inside], stack[1:][inside]
    apart = step > DUPLICATE_MM
    duplicates = np.bincount(of[~apart], minlength=count)
    step, of = step[apart], of[apart]
    steps = np.bincount(of, minlength=count)
    sorted_step = step[np.lexsort((step, of))]
    median = np.full(count, np.nan)  # the lower one, so that one gap among two steps is seen as a gap
    some = steps > 0
    median[some] = sorted_step[(np.cumsum(steps) - steps + (steps - 1) // 2)[some]]
    ratio = step / median[of]
    whole = np.rint(ratio)
    odd = np.abs(ratio - 1) > SPACING_LIMIT
    multiple = (whole > 1) & (np.abs(ratio - whole) <= SPACING_LIMIT * whole)
    missing = np.bincount(of, np.where(odd & multiple, whole - 1, 0), minlength=count).astype(np.int64)
    missing[np.bincount(of[odd & ~multiple], minlength=count) > 0] = 0
    return median, _greatest(np.abs(ratio - 1), of, count), duplicates, missing


def _line(
    position: Float[np.ndarray, "N 3"],
    along: Float[np.ndarray, " N"],
    row: Float[np.ndarray, "K 3"],
    normal: Float[np.ndarray, "K 3"],
    stack: Int[np.ndarray, " N"],
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Jitter and tilt by a least-squares line of the in-plane position over the position along the normal."""
    slices = np.bincount(stack)
    along = along - (np.bincount(stack, along) / slices)[stack]
    square = np.bincount(stack, along**2)
    residual, slope = [], []
    for axis in (row, np.cross(normal, row)):
        within = np.einsum("ij,ij->i", position, axis[stack])
        within = within - (np.bincount(stack, within) / slices)[stack]
        slope.append(np.bincount(stack, along * within) / np.where(square > 0, square, 1))
        residual.append(within - slope[-1][stack] * along)
    return _greatest(np.hypot(*residual), stack, len(slices)), np.degrees(np.arctan(np.hypot(*slope)))


def voxel_affine(
    position: Float[np.ndarray, "D 3"], orientation: Float[np.ndarray, " 6"], pixel_spacing: Float[np.ndarray, " 2"], thickness_mm: float
) -> Float[np.ndarray, "4 4"]:
    """The affine from voxel indices (w, h, d, 1) to LPS millimetres (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).

    Args:
        position: Positions of the slices in their order.
        orientation: Direction cosines of a row, then of a column.
        pixel_spacing: Between rows, then between columns, in mm.
        thickness_mm: The step of a single slice; of several it follows from the positions.
    """
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * pixel_spacing[1]
    affine[:3, 1] = orientation[3:] * pixel_spacing[0]
    if len(position) > 1:
        affine[:3, 2] = (position[-1] - position[0]) / (len(position) - 1)
    else:
        affine[:3, 2] = np.cross(orientation[:3], orientation[3:]) * thickness_mm
    affine[:3, 3] = position[0]
    return affine


def to_closest_axes(
    pixels: Shaped[np.ndarray, "C D H W"], affine: Float[np.ndarray, "4 4"]
) -> tuple[Shaped[np.ndarray, "C D2 H2 W2"], Float[np.ndarray, "4 4"]]:
    """Permute and flip so that D, H and W run towards S, P and L as nearly as they can. No voxel changes its value.

    Args:
        pixels: Axis order (C, D, H, W).
        affine: From (w, h, d, 1) to LPS mm.

    Returns:
        The pixels (contiguous) and their affine.
    """
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[world, axis]) for world, axis in enumerate(axes)))
    size = pixels.shape[:0:-1]  # (W, H, D), as the affine's columns
    change = np.zeros((4, 4))
    change[3, 3] = 1
    flips = []
    for world, axis in enumerate(order):
        flip = cosines[world, axis] < 0
        change[axis, world] = -1 if flip else 1
        change[axis, 3] = size[axis] - 1 if flip else 0
        if flip:
            flips.append(3 - world)
    moved = pixels.transpose(0, *(3 - axis for axis in order[::-1]))
    return np.ascontiguousarray(np.flip(moved, tuple(flips))), affine @ change
