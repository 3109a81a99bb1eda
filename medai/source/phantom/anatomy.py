"""The chest of one patient: its measures, and the water-equivalent path of X-rays through its soft tissue and lungs."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from medai.source.phantom.frame import Field, Frame, Rows, add_ellipsoid, ramp, round_edge, tube_chord

Values = Float32[np.ndarray, "..."] | np.float32

LUNG_DENSITY = 0.27
"""Of inflated lung, relative to water."""


@dataclass(frozen=True)
class Anatomy:
    """Measures of a patient in one study, in millimetres unless the name says otherwise.

    Attributes:
        cage: Largest inner half width of the rib cage.
        lung: Apex to the top of the right dome.
        drop: How much lower the left dome is.
        sulcus: Depth of the costophrenic angles below the domes.
        wall: Thickness of the chest wall at the side.
        depth: Front-to-back thickness in the middle.
        heart_ratio: Cardiothoracic ratio, heart width / inner width of the cage.
        heart_tilt: Radians of the heart's axis.
        heart_shift: Fraction of the heart's width that lies to the patient's right.
        knob: Radius of the aortic knob.
        pedicle: Half width of the upper mediastinum.
        breast: Thickness of the breasts, 0 in men.
        breast_y: Their height.
        clavicle: Height of their inner ends below the apices.
        clavicle_rise: Rise over their length.
        rib_pitch: Vertical distance of neighbouring ribs at the top.
        rib_fall: Fall of the back ribs from spine to side.
        rib_phase: Height of the first rib.
        bone: Density of bone relative to an adult of 40 years.
        gas: Width of the gas bubble in the stomach, 0 for none.
        seed: Of the random details (vessels, texture).
    """

    cage: float
    lung: float
    drop: float
    sulcus: float
    wall: float
    depth: float
    heart_ratio: float
    heart_tilt: float
    heart_shift: float
    knob: float
    pedicle: float
    breast: float
    breast_y: float
    clavicle: float
    clavicle_rise: float
    rib_pitch: float
    rib_fall: float
    rib_phase: float
    bone: float
    gas: float
    seed: int

    @property
    def heart_left(self) -> float:
        """How far the heart reaches to the patient's left of the midline."""
        return 2 * self.cage * self.heart_ratio * (1 - self.heart_shift)

    @property
    def heart_right(self) -> float:
        """How far the heart reaches to the patient's right of the midline."""
        return 2 * self.cage * self.heart_ratio * self.heart_shift

    @property
    def heart_y(self) -> float:
        """Height of the heart's centre: it rests on the domes."""
        return self.lung + 0.4 * self.drop - 0.33 * (self.heart_left + self.heart_right) + 6


def draw_anatomy(draw: np.random.Generator, sex: str, age_years: int, heart_ratio: float) -> Anatomy:
    """Draw the measures that a patient keeps through all studies."""
    female = sex == "F"
    size = float(draw.normal(0.93 if female else 1.0, 0.035))
    stout = float(np.clip(draw.normal(0, 1), -1.8, 2.2))
    aged = (age_years - 40) / 40
    return Anatomy(
        cage=138 * size * float(draw.normal(1, 0.025)) + 3 * stout,
        lung=222 * size * float(draw.normal(1, 0.04)) - 5 * stout,
        drop=float(draw.uniform(4, 17)),
        sulcus=float(draw.uniform(42, 60)),
        wall=21 + 5.5 * stout + float(draw.uniform(-2, 3)),
        depth=(205 + 22 * stout) * size,
        heart_ratio=heart_ratio,
        heart_tilt=float(np.clip(draw.normal(0.52, 0.09) - 0.05 * stout, 0.25, 0.8)),
        heart_shift=float(np.clip(draw.normal(0.31, 0.025), 0.25, 0.38)),
        knob=float(np.clip(draw.normal(17 + 3.5 * aged, 1.8), 12, 26)),
        pedicle=float(draw.normal(29 + 2.5 * aged + 1.5 * stout, 1.8)),
        breast=float(max(draw.normal(24 + 9 * stout, 8), 4)) if female else 0.0,
        breast_y=float(draw.normal(178, 10)) + 10 * max(aged, 0),
        clavicle=float(draw.normal(32, 6)),
        clavicle_rise=float(draw.normal(22, 7)),
        rib_pitch=float(draw.normal(20.5, 0.8)) * size,
        rib_fall=float(draw.normal(44, 7)),
        rib_phase=float(draw.uniform(-2, 8)),
        bone=float(np.clip(draw.normal(1.0 - (0.22 if female else 0.12) * max(aged, 0), 0.07), 0.6, 1.2)),
        gas=float(draw.uniform(16, 34)) if draw.random() < 0.6 else 0.0,
        seed=int(draw.integers(2**31)),
    )


def breathe(anatomy: Anatomy, draw: np.random.Generator) -> Anatomy:
    """The same patient on another day: another breath, another posture."""
    breath = float(np.clip(draw.normal(0, 1), -2, 1.5))
    return replace(
        anatomy,
        lung=anatomy.lung * (1 + 0.022 * breath),
        heart_ratio=anatomy.heart_ratio * (1 - 0.008 * breath),
        clavicle=anatomy.clavicle + float(draw.normal(0, 3)),
        clavicle_rise=anatomy.clavicle_rise + float(draw.normal(0, 2)),
        breast_y=anatomy.breast_y + float(draw.normal(0, 3)),
        gas=anatomy.gas * float(draw.uniform(0.5, 1.2)),
    )


@dataclass(frozen=True)
class Chest:
    """The parts of a chest that later steps change or ask about (paths in millimetres of water or air).

    Attributes:
        body: Path through the body's outline, as if it were filled with water.
        cage: Inner half width of the rib cage, by row.
        lung: Path through the lungs' volume.
        side: Distance inwards from the cage's lateral wall (< 0 outside).
        top: Distance below the apical dome (< 0 above).
        base: Distance above the diaphragm (< 0 below).
    """

    body: Field
    cage: Rows
    lung: Field
    side: Field
    top: Field
    base: Field


def cage_half_width(anatomy: Anatomy, y: Values) -> Float32[np.ndarray, "..."]:
    """Inner half width of the rib cage at height `y` below the apices."""
    t: Float32[np.ndarray, "..."] = np.clip(y / np.float32(0.9 * anatomy.lung), 0, 1)
    return np.asarray(anatomy.cage * (0.43 + 0.57 * np.power(1 - np.power(1 - t, 2.2), 0.8)), np.float32)


def build_chest(anatomy: Anatomy, frame: Frame) -> Chest:
    """Lay out body, rib cage, lungs and mediastinum."""
    cage = cage_half_width(anatomy, frame.y)
    base = _diaphragm(anatomy, frame) - frame.y
    top = frame.y - np.float32(0.011) * (np.abs(frame.column_x(0)) - np.float32(0.34 * anatomy.cage)) ** 2
    thorax = _ellipse(frame.across, cage, np.float32(0.80 * anatomy.depth))
    rows = frame.window(0, -1e3, 0, 140)[0]
    thorax[rows] *= round_edge(top[rows], 42)
    rows = frame.window(0, anatomy.lung - 62, 0, 1e3)[0]
    thorax[rows] *= ramp(base[rows], 2.5) * (np.float32(0.62) + np.float32(0.38) * round_edge(base[rows], 60))
    _displace(thorax, anatomy, frame)
    return Chest(_body(anatomy, frame), cage, thorax, cage - frame.across, top, base)


def _ellipse(across: Field, half_width: Values, depth: Values) -> Field:
    """Chord of an elliptic cylinder: `depth` in the middle, 0 from `half_width` outwards."""
    chord: Field = across / half_width
    chord *= chord
    np.subtract(1, chord, out=chord)
    np.maximum(chord, 0, out=chord)
    np.sqrt(chord, out=chord)
    chord *= depth
    return chord


def _diaphragm(anatomy: Anatomy, frame: Frame) -> Float32[np.ndarray, "1 W"]:
    """Height of the domes: round in the middle, falling steeply to the costophrenic angles."""
    x = frame.column_x(anatomy.lung)
    across, centre = np.abs(x), np.float32(0.47 * anatomy.cage)
    outwards = np.maximum(across - centre, 0) / np.float32(0.53 * anatomy.cage)
    inwards = np.maximum(centre - across, 0) / centre
    fall: Float32[np.ndarray, "1 W"] = np.float32(anatomy.sulcus) * outwards * outwards * (np.float32(0.45) + np.float32(0.55) * outwards)
    fall += np.float32(14) * inwards * inwards + np.float32(anatomy.drop) * ramp(x, 30) + np.float32(anatomy.lung)
    return fall


def _body(anatomy: Anatomy, frame: Frame) -> Field:
    """The outline with shoulders, arms and neck."""
    y = frame.y
    torso = anatomy.cage + anatomy.wall + 95 / (1 + np.exp((y - 62) / 17)) + 0.04 * np.maximum(y - anatomy.lung, 0)
    depth = anatomy.depth * (0.74 + 0.26 * np.clip((y + 40) / 110, 0, 1) + 0.14 * np.clip((y - anatomy.lung + 25) / 60, 0, 1))
    chord = _ellipse(frame.across, torso.astype(np.float32), depth.astype(np.float32))
    rows = frame.window(0, -1e3, 0, 85)[0]
    shoulder = y[rows] + (np.float32(62) - np.float32(0.42) * np.maximum(np.abs(frame.column_x(0)) - np.float32(46), 0))
    chord[rows] *= round_edge(shoulder, 75)
    window = frame.window(-57, -1e3, 57, 70)
    neck = _ellipse(frame.across[window], np.float32(57), np.float32(118) * ramp(40 - y[window[0]], 60))
    np.maximum(chord[window], neck, out=chord[window])
    return chord


def _displace(lung: Field, anatomy: Anatomy, frame: Frame) -> None:
    """Take the place of the mediastinum from the lungs; some lung lies before and behind it."""
    reach = anatomy.pedicle + 28
    part, columns = frame.strip(-max(anatomy.heart_right, reach), max(anatomy.heart_left, reach))
    thorax = lung[:, columns]
    left = thorax - _mediastinum(anatomy, part)
    lung[:, columns] = (left + np.sqrt(left * left + np.float32(0.07) * thorax * thorax)) / 2


def _mediastinum(anatomy: Anatomy, frame: Frame) -> Field:
    """What lies between the lungs and displaces them: great vessels, aortic knob, heart."""
    scale, p = anatomy.lung / 222, anatomy.pedicle
    heights = np.array([-80, -30, 20, 55, 80, 100, 125, 160, 230, 330], np.float32) * scale
    right = np.array([36, p, p + 1, p + 3, p + 4, p + 7, p + 5, p, 26, 26])
    left = np.array([36, p, p + 2, p + 3, p + 1, p + 9, p + 8, p, 26, 26])
    of_side = [np.interp(frame.y, heights, width).astype(np.float32) for width in (right, left)]
    half_width = np.where(frame.x < 0, *of_side)
    displaced = _ellipse(frame.across, half_width, np.float32(0.84 * anatomy.depth))
    bulge = np.zeros_like(displaced)
    add_ellipsoid(bulge, frame, anatomy.pedicle - 0.25 * anatomy.knob, 60 * scale, anatomy.knob, anatomy.knob * 1.1, 85)
    for side, y, depth in ((-1, 110, 34), (1, 100, 30)):  # the hila
        add_ellipsoid(bulge, frame, side * (p + 5), y * scale, 16, 30 * scale, depth)
    width = anatomy.heart_left + anatomy.heart_right  # the outflow makes the upper left border slope
    add_ellipsoid(bulge, frame, 0.10 * width, anatomy.heart_y - 0.30 * width, 0.27 * width, 0.40 * width, 90)
    add_ellipsoid(bulge, frame, *_ventricles(anatomy)[1])
    _add_left_ventricle(bulge, anatomy, frame)
    union: Field = np.sqrt(displaced * displaced + bulge * bulge)  # smoother than the larger of the two
    return union


def _ventricles(anatomy: Anatomy) -> tuple[tuple[float, ...], tuple[float, float, float, float, float]]:
    """Half axes of the left side of the heart, and the ellipsoid of the right atrium; their outer edges give the ratio."""
    width = anatomy.heart_left + anatomy.heart_right
    long, short = 0.47 * width, 0.36 * width
    rx = 0.30 * width
    return (long, short), (rx - anatomy.heart_right, anatomy.heart_y + 0.06 * width, rx, 0.37 * width, 105)


def _add_left_ventricle(field: Field, anatomy: Anatomy, frame: Frame) -> None:
    (long, short), _ = _ventricles(anatomy)
    cosine, sine = float(np.cos(anatomy.heart_tilt)), float(np.sin(anatomy.heart_tilt))
    reach = float(np.hypot(long * cosine, short * sine))
    centre_x, centre_y = anatomy.heart_left - reach, anatomy.heart_y
    window = frame.window(centre_x - long, centre_y - long, centre_x + long, centre_y + long)
    x, y = frame.x[window] - np.float32(centre_x), frame.y[window[0]] - np.float32(centre_y)
    u = x * np.float32(cosine / long) + y * np.float32(sine / long)
    v = y * np.float32(cosine / short) - x * np.float32(sine / short)
    chord = np.float32(1.15 * (long + short) * anatomy.depth / 205) * np.sqrt(np.maximum(1 - u * u - v * v, 0))
    np.maximum(field[window], chord, out=field[window])


def add_airways(path: Field, anatomy: Anatomy, frame: Frame) -> None:
    """Take the air of trachea, main bronchi and stomach out of the path."""
    scale = anatomy.lung / 222
    carina, air = (-1.0, 84 * scale), np.zeros_like(path)
    for start, end, radius, share in (
        ((2.0, -90.0), carina, 8.5, 0.8),
        (carina, (-30.0, 112 * scale), 6.5, 0.75),
        (carina, (38.0, 106 * scale), 5.8, 0.75),
    ):
        reach = radius + 2
        window = frame.window(min(start[0], end[0]) - reach, start[1] - reach, max(start[0], end[0]) + reach, end[1] + reach)
        chord = np.float32(2 * radius * share) * tube_chord(frame, window, start, end, radius)
        np.maximum(air[window], chord, out=air[window])
    path -= air
    if anatomy.gas:
        x, y = 0.50 * anatomy.cage, anatomy.lung + anatomy.drop + 0.55 * anatomy.gas + 9
        add_ellipsoid(path, frame, x, y, anatomy.gas, 0.55 * anatomy.gas, -38)


def add_breasts(path: Field, anatomy: Anatomy, frame: Frame) -> None:
    """Add the breasts' shadows: a clear lower edge, fading upwards."""
    if not anatomy.breast:
        return
    radius, centre_x, y = 0.40 * anatomy.cage + 0.5 * anatomy.breast, 0.58 * anatomy.cage, anatomy.breast_y * anatomy.lung / 222
    rows = frame.window(0, y - 1.9 * radius, 0, y + radius)[0]
    vertical = frame.y[rows] - np.float32(y)
    vertical = np.where(vertical < 0, vertical / np.float32(1.9 * radius), vertical / np.float32(0.92 * radius))
    q = ((frame.across[rows] - np.float32(centre_x)) / np.float32(radius)) ** 2 + vertical * vertical
    path[rows] += np.float32(anatomy.breast) * np.sqrt(np.maximum(1 - q, 0))
