"""One phantom radiograph: a pure function of (seed, index)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medai.core.draw import generator
from medai.core.error import MedaiError
from medai.source.phantom.anatomy import LUNG_DENSITY, Anatomy, add_airways, add_breasts, breathe, build_chest, draw_anatomy
from medai.source.phantom.detector import expose
from medai.source.phantom.finding import (
    CARDIOMEGALY_RATIO,
    Findings,
    add_nodule,
    draw_findings,
    draw_heart_ratio,
    fill_with_air,
    fill_with_fluid,
)
from medai.source.phantom.frame import Field, Frame, make_frame, spread
from medai.source.phantom.population import Visit, visit_of
from medai.source.phantom.skeleton import add_skeleton
from medai.source.phantom.vessel import vessel_path

FINDINGS = ("nodule", "effusion", "cardiomegaly", "pneumothorax")
VERSION = 1  # raised when equal settings give other images


@dataclass(frozen=True)
class PhantomSettings:
    """What `write_phantom` makes.

    Attributes:
        count: Number of images; the first n images of a longer set are the images of a set of n.
        size: Rows and columns.
        seed: Other seeds are other patients.
    """

    count: int = 1500
    size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.size < 32 or self.seed < 0:
            raise MedaiError(f"phantom count {self.count}, size {self.size}, seed {self.seed}; expected count >= 1, size >= 32, seed >= 0")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"version": VERSION}


@dataclass(frozen=True)
class PhantomCase:
    """One image with its truth.

    Attributes:
        radiance: Detector signal (H, W) relative to the open beam.
        labels: 0 or 1 for each of `FINDINGS`.
        visit: Patient, study, site, sex and age.
        heart_ratio: The cardiothoracic ratio that decides cardiomegaly.
        findings: Where the findings are, in millimetres.
        spacing_mm: Distance of pixel centres.
        brightness: Left to the presentation, see `detector.present`.
    """

    radiance: Field
    labels: dict[str, int]
    visit: Visit
    heart_ratio: float
    findings: Findings
    spacing_mm: float
    brightness: float


def simulate(seed: int, index: int, settings: PhantomSettings | None = None) -> PhantomCase:
    """Simulate image `index` at `settings.size` squared; `settings.count` and `settings.seed` play no part.

    Example:
        >>> simulate(0, 7).labels
        {'nodule': 1, 'effusion': 0, 'cardiomegaly': 0, 'pneumothorax': 0}
    """
    size = (settings or PhantomSettings()).size
    return simulate_shape(seed, index, size, size)


def simulate_shape(seed: int, index: int, height: int, width: int) -> PhantomCase:
    """Simulate image `index` at any shape; the body keeps its proportions."""
    visit = visit_of(seed, index)
    person, study = generator(seed, 0, visit.patient, "phantom/anatomy"), generator(seed, 0, index, "phantom/study")
    ratio = draw_heart_ratio(person, visit.site.burden, visit.age_years)
    patient = draw_anatomy(person, visit.sex, visit.age_years, ratio)
    anatomy = breathe(patient, study)
    findings = draw_findings(person, study, patient, visit.site.burden, visit.study)
    frame = make_frame(
        height,
        width,
        visit.site.field_mm,
        top_mm=float(study.normal(50, 7)),
        shift_mm=float(study.normal(0, 6)),
        bend_mm=float(person.normal(0, 2.2)),
        tilt=float(study.normal(0, 0.012)),
    )
    path = _path(anatomy, findings, frame, visit)
    radiance = expose(path, visit.site, exposure=float(np.exp(study.normal(0, 0.3))), draw=study)
    labels = dict(zip(FINDINGS, _truth(anatomy, findings), strict=True))
    return PhantomCase(radiance, labels, visit, anatomy.heart_ratio, findings, frame.spacing_mm, float(study.normal(0, 0.025)))


def _truth(anatomy: Anatomy, findings: Findings) -> tuple[int, ...]:
    enlarged = anatomy.heart_ratio > CARDIOMEGALY_RATIO
    return int(bool(findings.nodules)), int(bool(findings.effusions)), int(enlarged), int(findings.pneumothorax is not None)


def _path(anatomy: Anatomy, findings: Findings, frame: Frame, visit: Visit) -> Field:
    """Water-equivalent path of the rays in mm."""
    chest = build_chest(anatomy, frame)
    for effusion in findings.effusions:
        fill_with_fluid(chest, effusion, anatomy, frame)
    path = chest.lung * np.float32(LUNG_DENSITY - 1)
    path += chest.body
    details = generator(anatomy.seed, 0, 0, "phantom/details")
    tissue = vessel_path(anatomy, frame, details, fullness=1 + 0.7 * max(anatomy.heart_ratio - 0.5, 0))
    np.minimum(tissue, np.float32(13), out=tissue)
    tissue += _texture(frame, details)
    if findings.pneumothorax:
        tissue *= fill_with_air(path, chest, findings.pneumothorax, anatomy, frame)
    path += tissue * np.minimum(chest.lung / 30, 1)
    for nodule in findings.nodules:
        add_nodule(path, nodule, frame)
    add_airways(path, anatomy, frame)
    add_breasts(path, anatomy, frame)
    add_skeleton(path, anatomy, chest, frame)
    if visit.site.marker:
        _add_marker(path)
    return np.maximum(path, 0, out=path)


def _texture(frame: Frame, draw: np.random.Generator) -> Field:
    """Small vessels and septa below the resolution: a smooth random field, in mm."""
    height, width = frame.x.shape
    cells = 40
    texture: Field = spread(height, cells) @ draw.standard_normal((cells, cells), np.float32) @ spread(width, cells).T
    texture *= np.float32(1.1)
    return texture


def _add_marker(path: Field) -> None:
    """A lead letter L at the upper right edge of the picture, beside the patient's left shoulder."""
    height, width = path.shape
    unit = max(height // 64, 1)
    row, column = 5 * unit, width - 8 * unit
    path[row : row + 5 * unit, column : column + unit] += 260
    path[row + 4 * unit : row + 5 * unit, column : column + 3 * unit] += 260
