"""Where each pixel of a phantom lies in the body, in millimetres, and the small shapes that everything is built from."""

from dataclasses import dataclass
from functools import cache
from math import ceil, floor

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "H W"]
Rows = Float32[np.ndarray, "H 1"]


@dataclass(frozen=True)
class Frame:
    """Coordinates of the pixels. The origin is the midline at the height of the lungs' apices.

    Attributes:
        x: Millimetres to the patient's left (right in the picture) of the spine's midline, which may be curved.
        y: Millimetres down, one value a row.
        across: Distance from the midline, |x|.
        spacing_mm: Distance of pixel centres at the detector.
        start: y of the first row, and the greatest and the least x in the first column.
    """

    x: Field
    y: Rows
    across: Field
    spacing_mm: float
    start: tuple[float, float, float]

    def column_x(self, y: float) -> Float32[np.ndarray, "1 W"]:
        """The x of each column at height `y`, for shapes that need not follow the midline's curve."""
        row = min(max(int((y - self.start[0]) / self.spacing_mm), 0), len(self.y) - 1)
        return self.x[row : row + 1]

    def strip(self, x0: float, x1: float) -> tuple["Frame", slice]:
        """The frame of the columns between x0 and x1, and where they lie."""
        columns = self.window(x0, 0, x1, 0)[1]
        moved = columns.start * self.spacing_mm
        start = (self.start[0], self.start[1] + moved, self.start[2] + moved)
        return Frame(self.x[:, columns], self.y, self.across[:, columns], self.spacing_mm, start), columns

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """The rows and columns that contain a rectangle in millimetres (columns with a margin for the curved midline)."""
        top, most, least = self.start
        first_row, last_row = floor((y0 - top) / self.spacing_mm), ceil((y1 - top) / self.spacing_mm) + 1
        first_column, last_column = floor((x0 - most) / self.spacing_mm), ceil((x1 - least) / self.spacing_mm) + 1
        height, width = self.x.shape
        rows = slice(min(max(first_row, 0), height), min(max(last_row, 0), height))
        return rows, slice(min(max(first_column, 0), width), min(max(last_column, 0), width))


def make_frame(height: int, width: int, field_mm: float, top_mm: float, shift_mm: float, bend_mm: float, tilt: float) -> Frame:
    """Lay out `height` x `width` pixels.

    Args:
        height: Rows.
        width: Columns.
        field_mm: Extent of the longer side.
        top_mm: Distance from the upper edge to the apices.
        shift_mm: Patient off the middle, to the right of the picture.
        bend_mm: Sideways bend of the spine (a long S over the picture).
        tilt: Sideways lean, mm a mm.
    """
    spacing = field_mm / max(height, width)
    y = ((np.arange(height, dtype=np.float32) + 0.5) * spacing - top_mm).astype(np.float32)[:, None]
    across = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) * spacing - shift_mm).astype(np.float32)[None]
    x = across - (bend_mm * np.sin(y * (np.pi / 260)) + tilt * y).astype(np.float32)
    return Frame(x, y, np.abs(x), spacing, (float(y[0, 0]), float(x[:, 0].max()), float(x[:, 0].min())))


def round_edge(distance: Float32[np.ndarray, "..."], radius: float) -> Float32[np.ndarray, "..."]:
    """Profile of a rounded body seen from the front: 0 outside, steep at the edge, 1 from `radius` inwards."""
    t = distance * np.float32(-1 / radius)
    t += 1
    np.clip(t, 0, 1, out=t)
    t *= t
    np.subtract(1, t, out=t)
    return np.sqrt(t, out=t)


def ramp(distance: Float32[np.ndarray, "..."], width: float) -> Float32[np.ndarray, "..."]:
    """0 up to -width/2, 1 from +width/2 on: an edge that is not smaller than a pixel."""
    edge = distance * np.float32(1 / width)
    edge += np.float32(0.5)
    return np.clip(edge, 0, 1, out=edge)


def add_ellipsoid(field: Field, frame: Frame, x: float, y: float, rx: float, ry: float, depth: float) -> None:
    """Add the chord (`depth` in the middle) of an ellipsoid at (x, y) with half axes (rx, ry)."""
    window = frame.window(x - rx, y - ry, x + rx, y + ry)
    q = ((frame.x[window] - np.float32(x)) / np.float32(rx)) ** 2 + ((frame.y[window[0]] - np.float32(y)) / np.float32(ry)) ** 2
    field[window] += np.float32(depth) * np.sqrt(np.maximum(1 - q, 0))


def tube_chord(frame: Frame, window: tuple[slice, slice], start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Chord of a straight tube of `radius` with round ends, in units of its diameter, within a window."""
    x, y = frame.x[window] - np.float32(start[0]), frame.y[window[0]] - np.float32(start[1])
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip((x * np.float32(dx) + y * np.float32(dy)) / np.float32(dx * dx + dy * dy), 0, 1)
    square = (x - along * np.float32(dx)) ** 2 + (y - along * np.float32(dy)) ** 2
    return np.sqrt(np.maximum(1 - square / np.float32(radius * radius), 0))


@cache
def spread(fine: int, coarse: int) -> Float32[np.ndarray, "fine coarse"]:
    """Matrix that draws a smooth curve (cubic B-spline) through `coarse` values at `fine` places."""
    place = (np.arange(fine) + 0.5) / fine * coarse - 0.5
    distance = np.abs(place[:, None] - np.arange(coarse)[None])
    inner, outer = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
    weight = np.where(distance < 1, inner, outer)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


@cache
def gather(coarse: int, fine: int) -> Float32[np.ndarray, "coarse fine"]:
    """Matrix that averages `fine` values into `coarse` smooth ones."""
    weight = spread(fine, coarse).T
    return np.ascontiguousarray(weight / weight.sum(axis=1, keepdims=True))


def blur_wide(field: Field, cells: int) -> Field:
    """Low-pass by way of a grid of `cells` x `cells`: a wide blur at a small price."""
    height, width = field.shape
    small = gather(cells, height) @ field @ gather(cells, width).T
    smooth: Field = spread(height, cells) @ small @ spread(width, cells).T
    return smooth


def blur_narrow(field: Field, centre: float) -> Field:
    """Three-tap blur in both directions; `centre` (0.5 to 1) is the weight of the pixel itself."""
    side, scale = np.float32((1 - centre) / (2 * centre)), np.float32(centre * centre)
    rows = field.copy()
    rows[1:-1] += side * (field[:-2] + field[2:])
    rows *= scale
    columns = rows.copy()
    columns[:, 1:-1] += side * (rows[:, :-2] + rows[:, 2:])
    for line in (0, -1):  # the outermost lines have one neighbour only: they stay as they are
        columns[line], columns[:, line] = field[line], field[:, line]
    return columns
