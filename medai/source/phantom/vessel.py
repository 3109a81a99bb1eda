"""The lungs' vessels: branching tubes, drawn as points whose mass is the tube's volume over the pixel's area.

A place (x, y) in millimetres is the complex number x + iy here: a turn is a product, and 10,000 points cost little.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from medai.source.phantom.anatomy import Anatomy
from medai.source.phantom.frame import Field, Frame

_POINTS_A_MM = (62.0, 36.0, 20.0)  # points along a branch at pixels of 1 mm, by generation
_LANES_A_MM = (6.0, 3.0, 1.0)  # lines of points across a branch at pixels of 1 mm, by generation
_TRUNKS = 9  # of each lung
_TAPER = 0.62  # how much thinner a branch ends than it begins


@dataclass(frozen=True)
class _Branches:
    """Branches of one generation: start, unit direction, length and first radius in mm, sideways bend relative to the length."""

    start: Complex[np.ndarray, " n"]
    direction: Complex[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    radius: Float[np.ndarray, " n"]
    bend: Float[np.ndarray, " n"]

    def at(self, t: Float[np.ndarray, "*n t"]) -> Complex[np.ndarray, "n t"]:
        """Places at fractions `t` of the length."""
        place: Complex[np.ndarray, "n t"] = self.start[:, None] + (self.direction * self.length)[:, None] * (
            t + 1j * self.bend[:, None] * t * t
        )
        return place


def vessel_path(anatomy: Anatomy, frame: Frame, draw: np.random.Generator, fullness: float) -> Field:
    """Path through the vessels of both lungs, in millimetres; the caller cuts it to the lungs.

    Args:
        anatomy: Measures.
        frame: Pixels.
        draw: Of the patient, so that all studies share the tree.
        fullness: Scales the calibres, 1 is normal.
    """
    branches = _trunks(anatomy, draw)
    drawn = [_trace(branches, fullness, 0, frame.spacing_mm)]
    for generation in (1, 2):
        branches = _sprout(branches, draw)
        drawn.append(_trace(branches, fullness, generation, frame.spacing_mm))
    return _splat(np.concatenate([place for place, _ in drawn]), np.concatenate([mass for _, mass in drawn]), frame)


def _trunks(anatomy: Anatomy, draw: np.random.Generator) -> _Branches:
    scale, count = anatomy.lung / 222, 2 * _TRUNKS
    side = np.repeat([-1.0, 1.0], _TRUNKS)
    angle = np.tile(np.linspace(-1.25, 1.42, _TRUNKS), 2) + draw.normal(0, 0.10, count)
    hilum = side * 33 + 1j * np.where(side < 0, 108.0, 100.0) * scale
    return _Branches(
        start=hilum + draw.normal(0, 3.5, count) + 1j * (9 * np.sin(angle) + draw.normal(0, 4, count)),
        direction=side * np.cos(angle) + 1j * np.sin(angle),
        length=scale * (82 + 22 * np.sin(angle) + draw.normal(0, 8, count)),
        radius=4.7 + 1.0 * np.sin(angle) + draw.normal(0, 0.35, count),
        bend=draw.normal(0, 0.16, count),
    )


def _sprout(parent: _Branches, draw: np.random.Generator) -> _Branches:
    """Three children of each branch, on alternate sides."""
    count = len(parent.start)
    t = np.array([0.30, 0.52, 0.78]) + draw.normal(0, 0.05, (count, 3))
    turn = np.array([1.0, -1.0, 1.0]) * np.where(draw.random((count, 1)) < 0.5, -1.0, 1.0) * draw.uniform(0.35, 0.85, (count, 3))
    return _Branches(
        start=parent.at(t).ravel(),
        direction=(parent.direction[:, None] * np.exp(1j * turn)).ravel(),
        length=(parent.length[:, None] * draw.uniform(0.34, 0.60, (count, 3))).ravel(),
        radius=(parent.radius[:, None] * (1 - _TAPER * t) * draw.uniform(0.64, 0.82, (count, 3))).ravel(),
        bend=draw.normal(0, 0.16, 3 * count),
    )


def _trace(
    branches: _Branches, fullness: float, generation: int, spacing_mm: float
) -> tuple[Complex[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Points of the branches and the volume in cubic millimetres that each stands for."""
    points = max(int(_POINTS_A_MM[generation] / spacing_mm), 4)
    lanes = max(int(_LANES_A_MM[generation] / spacing_mm), 1)
    t = (np.arange(points) + 0.5) / points
    radius = (branches.radius * fullness)[:, None] * (1 - _TAPER * t)
    place, volume = branches.at(t), np.pi * radius * radius * (branches.length / points)[:, None]
    if lanes == 1:
        return place.ravel(), volume.ravel()
    offset = (np.arange(lanes) + 0.5) / lanes * 2 - 1
    chord = np.sqrt(1 - offset * offset)
    across = 1j * branches.direction[:, None] * radius
    return (place + offset[:, None, None] * across).ravel(), (volume * (chord / chord.sum())[:, None, None]).ravel()


def _splat(place: Complex[np.ndarray, " p"], mass: Float[np.ndarray, " p"], frame: Frame) -> Field:
    """Give each point's mass to the four pixels around the corner of pixels that is nearest to it."""
    height, width = frame.x.shape
    row = np.floor((place.imag - frame.start[0]) / frame.spacing_mm).astype(np.int64)
    inside = (row >= 0) & (row < height)
    start = frame.x[:, 0].astype(np.float64)[np.where(inside, row, 0)]
    column = np.floor((place.real - start) / frame.spacing_mm).astype(np.int64)
    inside &= (column >= 0) & (column < width)
    index = (row * width + column)[inside]
    quarter = mass[inside] * (0.25 / frame.spacing_mm**2)
    path: Field = np.bincount(index, quarter, minlength=height * width).reshape(height, width).astype(np.float32)
    path[1:] += path[:-1].copy()
    path[:, 1:] += path[:, :-1].copy()
    return path
