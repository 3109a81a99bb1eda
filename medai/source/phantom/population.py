"""Who is examined where: sites, patients and their studies, each a pure function of (seed, index)."""

from bisect import bisect
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from medai.core.draw import generator

STUDIES_OF_BLOCK = (1,) * 9 + (2,) * 4 + (3, 4)
"""Studies of the patients in a block of 24 images; shuffled in each block, so that a patient is found without counting."""
IMAGES_A_BLOCK = sum(STUDIES_OF_BLOCK)


@dataclass(frozen=True)
class Site:
    """A hospital with one way of making radiographs.

    Attributes:
        name: The site's letter.
        share: Fraction of the patients.
        burden: Odds of disease relative to the other sites.
        age_years: Mean age of its patients.
        manufacturer: Fictional.
        model: Fictional.
        field_mm: Extent of the detector along the picture's longer side.
        photons: Quanta a pixel in the open beam: more is less noise.
        electronic: Read-out noise, as a fraction of the open beam.
        sharpness: Weight of a pixel in its own point spread (1 is a perfect detector).
        scatter: Scattered radiation as a fraction of the local mean.
        detail: Gain of fine structures in the processing for presentation.
        curve: Bend of the presentation curve, bright if > 0.
        bits_stored: Bits of a stored value.
        photometric: MONOCHROME1 or MONOCHROME2.
        transfer_syntax: Key of `medai.dicom.write.TRANSFER_SYNTAXES`.
        marker: A lead letter lies in the beam.
    """

    name: str
    share: float
    burden: float
    age_years: float
    manufacturer: str
    model: str
    field_mm: float
    photons: float
    electronic: float
    sharpness: float
    scatter: float
    detail: float
    curve: float
    bits_stored: int
    photometric: str
    transfer_syntax: str
    marker: bool


SITES = (
    Site(
        name="A",
        share=0.44,
        burden=0.9,
        age_years=52,
        manufacturer="Lumen Phantomworks",
        model="Clarity DX-1",
        field_mm=348,
        photons=60000,
        electronic=0.0004,
        sharpness=0.8,
        scatter=0.3,
        detail=0.8,
        curve=0.0,
        bits_stored=12,
        photometric="MONOCHROME2",
        transfer_syntax="explicit",
        marker=True,
    ),
    Site(
        name="B",
        share=0.28,
        burden=1.0,
        age_years=58,
        manufacturer="Nordlys Imaging (fictional)",
        model="Borealis 400",
        field_mm=368,
        photons=36000,
        electronic=0.0006,
        sharpness=0.7,
        scatter=0.45,
        detail=0.85,
        curve=0.1,
        bits_stored=14,
        photometric="MONOCHROME1",
        transfer_syntax="rle",
        marker=False,
    ),
    Site(
        name="C",
        share=0.2,
        burden=1.2,
        age_years=63,
        manufacturer="Lumen Phantomworks",
        model="Clarity DX-3 Mobile",
        field_mm=392,
        photons=16000,
        electronic=0.001,
        sharpness=0.6,
        scatter=0.6,
        detail=0.6,
        curve=-0.15,
        bits_stored=10,
        photometric="MONOCHROME2",
        transfer_syntax="jpeg-ls",
        marker=True,
    ),
    Site(
        name="D",
        share=0.08,
        burden=1.5,
        age_years=69,
        manufacturer="Kawa Synthetic Systems",
        model="Sora CR",
        field_mm=336,
        photons=22000,
        electronic=0.0008,
        sharpness=0.56,
        scatter=0.5,
        detail=0.95,
        curve=0.18,
        bits_stored=12,
        photometric="MONOCHROME1",
        transfer_syntax="jpeg-2000",
        marker=False,
    ),
)
_SHARES = tuple(sum(site.share for site in SITES[: number + 1]) for number in range(len(SITES) - 1))


@dataclass(frozen=True)
class Visit:
    """Whose image an index is.

    Attributes:
        patient: Number of the patient, from 0.
        study: Number of the study of this patient, from 0.
        site: Where all studies of the patient are made.
        sex: ``"F"`` or ``"M"``.
        age_years: At this study.
    """

    patient: int
    study: int
    site: Site
    sex: str
    age_years: int


def visit_of(seed: int, index: int) -> Visit:
    """The patient and study of image `index`.

    Example:
        >>> visit_of(seed=0, index=0).study
        0
    """
    block, position = divmod(index, IMAGES_A_BLOCK)
    starts = _starts(seed, block)
    within = int(np.searchsorted(starts, position, side="right")) - 1
    patient, study = block * len(STUDIES_OF_BLOCK) + within, position - int(starts[within])
    draw = generator(seed, 0, patient, "phantom/person")
    site = SITES[bisect(_SHARES, draw.random())]
    sex = "F" if draw.random() < 0.48 else "M"
    age = int(min(max(draw.normal(site.age_years, 16), 18), 97))
    return Visit(patient, study, site, sex, min(age + study // 2, 99))


@lru_cache(maxsize=64)
def _starts(seed: int, block: int) -> Int64[np.ndarray, " patients"]:
    counts = generator(seed, 0, block, "phantom/block").permutation(STUDIES_OF_BLOCK)
    return np.concatenate(([0], np.cumsum(counts)[:-1]))
