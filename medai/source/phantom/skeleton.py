"""Spine, ribs, clavicles and shoulders as extra path, in millimetres of water."""

import numpy as np
from jaxtyping import Float32

from medai.source.phantom.anatomy import Anatomy, Chest
from medai.source.phantom.frame import Field, Frame, add_ellipsoid, ramp

_BEND = 0.35  # where along the half width the back ribs begin to fall


def add_skeleton(path: Field, anatomy: Anatomy, chest: Chest, frame: Frame) -> None:
    """Add all bones."""
    _add_spine(path, anatomy, frame)
    _add_ribs(path, anatomy, chest, frame)
    _add_clavicles(path, anatomy, frame)
    _add_shoulders(path, anatomy, frame)


def _add_spine(path: Field, anatomy: Anatomy, frame: Frame) -> None:
    """Vertebrae that grow downwards, dips at the discs, two pedicles and a spinous process each."""
    columns = frame.window(-34, 0, 34, 0)[1]
    x, y = frame.across[:, columns], frame.y
    z = (y + 90) / np.float32(anatomy.lung / 222)
    number = z / 21 - z * z / 21000  # vertebrae are 21 mm high at the neck, 29 at the loins
    within = (number - np.floor(number)).astype(np.float32)
    half_width = (15.5 + 0.022 * z).astype(np.float32)
    body = ramp(half_width - x, 6) * (np.float32(0.80) + np.float32(0.20) * (x / half_width) ** 2)
    disc = np.maximum(1 - np.abs(within - np.float32(0.5)) * 2 / np.float32(0.32), 0)
    plate = np.maximum(1 - np.abs(np.abs(within - np.float32(0.5)) - np.float32(0.17)) / np.float32(0.05), 0)
    bone = body * (1 - np.float32(0.50) * disc + np.float32(0.22) * plate)
    pedicle = ((x - np.float32(0.62) * half_width) / 4) ** 2 + ((within - np.float32(0.80)) / np.float32(0.13)) ** 2
    process = (x / 3.5) ** 2 + ((within - np.float32(0.25)) / np.float32(0.17)) ** 2
    bone += np.float32(0.30) * np.maximum(1 - pedicle, 0) + np.float32(0.35) * np.maximum(1 - process, 0)
    wings = ramp(half_width + 14 - x, 6) * np.maximum(1 - np.abs(within - np.float32(0.85)) * 5, 0)
    path[:, columns] += np.float32(9 * anatomy.bone) * (bone + np.float32(0.22) * wings)


def _add_ribs(path: Field, anatomy: Anatomy, chest: Chest, frame: Frame) -> None:
    """Back and front ribs are the level lines of two warped heights, so that all of a kind are drawn in one go."""
    reach = anatomy.cage + 8
    window = frame.window(-reach, -14, reach, anatomy.lung + 78)
    y, across, cage = frame.y[window[0]], frame.across[window], chest.cage[window[0]] + np.float32(5)
    u = across / cage
    np.minimum(u, np.float32(1.04), out=u)
    inside = ramp(cage + 2 - across, 3)
    inside *= ramp(np.float32(anatomy.lung + 35) - y, 90)
    fall = np.float32(anatomy.rib_fall)
    outer = np.maximum(u - np.float32(_BEND), 0)
    back = (np.float32(2.05) * fall * outer) * outer + (9 - np.float32(9) * u)
    steep = np.minimum(np.abs(frame.column_x(0.5 * anatomy.lung)[:, window[1]]) / np.float32(0.92 * anatomy.cage), 1)
    bone = _level_lines(anatomy, y - back, np.float32(4.1) * fall * np.maximum(steep - np.float32(_BEND), 0) - 9, 5.0)
    bone *= ramp(across - 12, 10)
    v = np.float32(1.02) - u
    np.maximum(v, 0, out=v)
    front = _level_lines(anatomy, y - np.float32(0.86) * fall - v * (150 - np.float32(105) * v), 210 * (1 - steep) - 150, 6.3)
    front *= ramp(u - np.float32(0.40), 0.22)
    front *= np.float32(0.58)
    bone += front
    bone *= inside
    bone *= np.float32(10.5 * anatomy.bone)
    path[window] += bone


def _level_lines(anatomy: Anatomy, z: Field, slope: Float32[np.ndarray, "1 W"], radius: float) -> Field:
    """Bands of half width `radius` around the places where z is a multiple of the pitch: a shell, denser at its rim.

    `slope` (change of z over the half width of the cage) keeps the bands equally thick where they are steep.
    """
    z -= np.float32(anatomy.rib_phase)
    phase = z * (np.float32(1 / anatomy.rib_pitch) - z * np.float32(0.00085 / anatomy.rib_pitch))
    phase -= np.rint(phase)
    np.abs(phase, out=phase)
    depth: Field = phase
    depth *= np.float32(-1.12 * anatomy.rib_pitch / radius) / np.sqrt(1 + (slope / np.float32(0.92 * anatomy.cage)) ** 2)
    depth += 1
    np.maximum(depth, 0, out=depth)
    depth *= z > -1  # nothing above the first rib
    shell = np.minimum(depth * np.float32(4), 1)
    depth *= np.float32(-0.42)
    depth += 1
    depth *= shell
    return depth


def _add_clavicles(path: Field, anatomy: Anatomy, frame: Frame) -> None:
    rows = frame.window(0, anatomy.clavicle - anatomy.clavicle_rise - 28, 0, anatomy.clavicle + 20)[0]
    along = (frame.across[rows] - 11) / np.float32(anatomy.cage + 8)
    part = np.clip(along, 0, 1)
    line = np.float32(anatomy.clavicle) - np.float32(anatomy.clavicle_rise) * part - np.float32(5.5) * np.sin(part * np.float32(2 * np.pi))
    thickness = np.float32(5.2) + np.float32(9) * (part - np.float32(0.45)) ** 2
    depth = np.maximum(1 - np.abs(frame.y[rows] - line) / thickness, 0)
    shell = np.minimum(depth * np.float32(3.5), 1) * (1 - np.float32(0.36) * depth)
    path[rows] += np.float32(15 * anatomy.bone) * shell * ramp(along, 0.04) * ramp(1 - along, 0.04)


def _add_shoulders(path: Field, anatomy: Anatomy, frame: Frame) -> None:
    """Shoulder blades, turned out of the lungs, and the heads of the upper arms."""
    y0 = anatomy.clavicle - anatomy.clavicle_rise
    rows = frame.window(0, y0 + 4, 0, 150)[0]
    t = (frame.y[rows] - np.float32(y0)) / 150
    inner = np.float32(anatomy.cage) * (np.float32(0.82) + np.float32(0.30) * t)
    depth = frame.across[rows] - inner
    outer = ramp(np.float32(anatomy.cage) * (np.float32(1.55) - np.float32(0.50) * t) - frame.across[rows], 6)
    plate = ramp(depth, 4) * (np.float32(0.5) + np.maximum(1 - np.abs(depth - 3) / 4, 0)) * outer
    path[rows] += np.float32(4 * anatomy.bone) * plate * ramp(1 - t, 0.1)
    for side in (-1, 1):
        add_ellipsoid(path, frame, side * (anatomy.cage * 1.0 + 42), y0 + 26, 24, 25, 9 * anatomy.bone)
