"""The findings: what is drawn for a patient and study, and how each changes the chest."""

from bisect import bisect
from dataclasses import dataclass

import numpy as np

from medai.source.phantom.anatomy import LUNG_DENSITY, Anatomy, Chest, cage_half_width
from medai.source.phantom.frame import Field, Frame, add_ellipsoid, ramp

CARDIOMEGALY_RATIO = 0.55
"""A cardiothoracic ratio above this is cardiomegaly."""


@dataclass(frozen=True)
class Nodule:
    """A round opacity at (x, y) mm from the apices' midline; `radius` 3 to 15 mm, `density` relative to water."""

    x: float
    y: float
    radius: float
    stretch: float
    density: float


@dataclass(frozen=True)
class Effusion:
    """Fluid in one pleural space (side -1 is the patient's right), standing `height` mm above the costophrenic angle."""

    side: int
    height: float
    softness: float


@dataclass(frozen=True)
class Pneumothorax:
    """Air beside one lung (side -1 is the patient's right): the lung's edge lies `gap` mm off the apex and the upper wall."""

    side: int
    gap: float
    taper: float
    wave: float


@dataclass(frozen=True)
class Findings:
    """All findings of one study but the heart's size, which is in the anatomy."""

    nodules: tuple[Nodule, ...] = ()
    effusions: tuple[Effusion, ...] = ()
    pneumothorax: Pneumothorax | None = None


def draw_heart_ratio(draw: np.random.Generator, burden: float, age_years: int) -> float:
    """Cardiothoracic ratio of a patient: a normal heart, or an enlarged one with a long tail."""
    if draw.random() < _chance(0.17, burden * (1 + 0.5 * (age_years - 55) / 40)):
        return float(min(0.545 + draw.gamma(2.2, 0.027), 0.72))
    return float(np.clip(draw.normal(0.462 + 0.0005 * (age_years - 50), 0.030), 0.38, 0.56))


def draw_findings(person: np.random.Generator, study: np.random.Generator, anatomy: Anatomy, burden: float, number: int) -> Findings:
    """Draw the findings of study `number` (from 0): a nodule stays and grows, fluid and air come and go in those prone to them."""
    has_nodule, wet, airy = (bool(person.random() < _chance(rate, burden)) for rate in (0.19, 0.24, 0.12))
    nodules = _draw_nodules(person, anatomy, 1 + 0.13 * number) if has_nodule else ()
    side = -1 if person.random() < 0.55 else 1
    effusions: tuple[Effusion, ...] = ()
    if study.random() < (0.72 if wet else 0.05):
        effusions = tuple(_draw_effusion(study, where) for where in ((-1, 1) if study.random() < 0.25 else (side,)))
    air_side = -1 if person.random() < 0.5 else 1
    pneumothorax = None
    if study.random() < (0.78 if airy else 0.045):
        gap = min(float(12 + study.gamma(2.0, 7.5)), 62.0)
        pneumothorax = Pneumothorax(air_side, gap, taper=float(study.uniform(0.45, 0.95)), wave=float(study.uniform(0, 6.28)))
    return Findings(nodules, effusions, pneumothorax)


def _chance(rate: float, burden: float) -> float:
    odds = rate / (1 - rate) * max(burden, 0.2)
    return odds / (1 + odds)


def _draw_nodules(draw: np.random.Generator, anatomy: Anatomy, growth: float) -> tuple[Nodule, ...]:
    return tuple(_draw_nodule(draw, anatomy, growth) for _ in range(1 + bisect((0.78, 0.93), draw.random())))


def _draw_nodule(draw: np.random.Generator, anatomy: Anatomy, growth: float) -> Nodule:
    radius = float(min(6.0 + draw.gamma(2.4, 2.3), 15.0))
    y = float(draw.uniform(0.09, 0.86)) * anatomy.lung
    outer = float(cage_half_width(anatomy, np.float32(y))) - radius - 8
    side = -1.0 if draw.random() < 0.52 else 1.0
    inner = 36 + radius if side < 0 or y < 0.5 * anatomy.lung else min(0.62 * anatomy.cage, outer - 4)
    x = side * float(draw.uniform(min(inner, outer - 1), outer))
    return Nodule(x, y, min(radius * growth, 15.0), float(draw.uniform(0.85, 1.2)), float(draw.uniform(0.95, 1.35)))


def _draw_effusion(draw: np.random.Generator, side: int) -> Effusion:
    return Effusion(side, float(min(24 + draw.gamma(1.6, 27), 165)), float(draw.uniform(7, 15)))


def fill_with_fluid(chest: Chest, effusion: Effusion, anatomy: Anatomy, frame: Frame) -> None:
    """Take the lung's place from below: the surface climbs the side wall (meniscus), so that the angle is blunted first."""
    floor = anatomy.lung + anatomy.sulcus * 0.86 + (anatomy.drop if effusion.side > 0 else 0.0)
    rows = frame.window(0, floor - effusion.height - 20, 0, floor + 60)[0]
    u = frame.across[rows] / chest.cage[rows]
    level = np.float32(0.40 + 0.0022 * effusion.height)  # large effusions have a flatter surface
    surface = np.float32(floor) - np.float32(effusion.height) * (level + (1 - level) * np.minimum(u, np.float32(1.05)) ** 4)
    depth = frame.y[rows] - surface
    fluid = ramp(depth, effusion.softness) * (np.float32(0.72) + np.float32(0.28) * np.clip(depth / 30, 0, 1))
    chest.lung[rows] *= 1 - fluid * (frame.x[rows] * effusion.side > 0)


def fill_with_air(path: Field, chest: Chest, air: Pneumothorax, anatomy: Anatomy, frame: Frame) -> Field:
    """Darken the pleural air, draw the lung's edge, and give the fraction (H, W) of vessels that stay."""
    top = np.maximum(frame.y + np.float32(2), 0)
    gap = np.float32(air.gap) * (1 - np.float32(air.taper) * np.clip(top / np.float32(0.82 * anatomy.lung), 0, 1))
    gap = gap * (1 + np.float32(0.07) * np.sin(frame.y / 23 + np.float32(air.wave)))
    inwards = np.minimum(chest.side, chest.top * np.float32(1.05)) - gap
    here = (frame.x * air.side > 14) & (chest.base > 0)
    beyond = ramp(-inwards, 2.0) * here
    edge = np.maximum(1 - np.abs(inwards) / np.float32(max(1.5, 0.9 * frame.spacing_mm)), 0) * here
    path -= np.float32(0.75 * LUNG_DENSITY) * chest.lung * beyond
    path += np.float32(2.6) * edge * np.minimum(chest.lung / 25, 1) + np.float32(0.05) * chest.lung * (here & (inwards > 0))
    return 1 - beyond


def add_nodule(path: Field, nodule: Nodule, frame: Frame) -> None:
    """Add a ball of soft tissue in place of lung."""
    rx, ry = nodule.radius * nodule.stretch, nodule.radius / nodule.stretch
    add_ellipsoid(path, frame, nodule.x, nodule.y, rx, ry, 2 * nodule.radius * nodule.density * (1 - LUNG_DENSITY))
