"""What a plan rests on: facts about the development cases of a cohort. No pixel and no label of a test case is read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64, Shaped

from medai.cohort.cohort import Cohort
from medai.core.draw import generator
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.store.shard import NativePixels

SAMPLED_IMAGES = 64
PIXELS_OF_AN_IMAGE = 4096
AIR_HU = -900.0  # what lies below is the air around the patient


@dataclass(frozen=True)
class Spread:
    """Least, median and largest value of something."""

    least: float
    median: float
    most: float

    @staticmethod
    def of(values: pl.Series) -> "Spread":
        found = values.cast(pl.Float64).to_numpy()
        return Spread(float(found.min()), float(np.median(found)), float(found.max()))


@dataclass(frozen=True)
class Size:
    """Native size of the images.

    Attributes:
        height: In pixels.
        width: In pixels.
        aspect: Width over height.
        spacing_mm: Between rows; None where no image has one.
        channels: Images with so many channels.
    """

    height: Spread
    width: Spread
    aspect: Spread
    spacing_mm: Spread | None
    channels: dict[str, int]


@dataclass(frozen=True)
class Values:
    """Modality values, from a sample of images.

    Attributes:
        dtypes: Images with each number type.
        kind: ``hu`` (CT), ``8-bit`` or ``arbitrary`` (the scale differs between devices or images).
        images: Size of the sample.
        percentiles: Of the pixels of the whole sample: 0.5, 5, 50, 95, 99.5.
        body: Likewise 0.5 and 99.5 of the pixels above the air around the patient; for `hu`.
        top: The images' own 99.5th percentiles.
        window: Median centre and width of the windows that the files propose; None where fewer than half have one.
    """

    dtypes: dict[str, int]
    kind: str
    images: int
    percentiles: dict[str, float]
    body: tuple[float, float]
    top: Spread
    window: tuple[float, float] | None


@dataclass(frozen=True)
class LabelFacts:
    """One label in the development cases.

    Attributes:
        name: Of the label.
        kind: ``binary``, ``multiclass`` or ``ordinal``.
        meaning: One sentence.
        train: Known training cases of each class.
        validation: Known validation cases of each class.
        unknown: Share of the training cases of which nothing is known.
        uncertain: Share of the training cases whose reader was not sure.
    """

    name: str
    kind: str
    meaning: str
    train: dict[str, int]
    validation: dict[str, int]
    unknown: float
    uncertain: float

    @property
    def rarest(self) -> tuple[str, int, float]:
        """Class with the fewest training cases, how many, and their share of the known ones."""
        name = min(self.train, key=lambda key: (self.train[key], key))
        return name, self.train[name], self.train[name] / max(1, sum(self.train.values()))


@dataclass(frozen=True)
class Fingerprint:
    """What a plan rests on.

    Attributes:
        cohort: Name and content hash.
        train: Training cases.
        validation: Validation cases.
        patients: Patients of the training cases; None where some are unknown.
        excluded: Development cases that are left out, by reason.
        modalities: Cases of each, as far as known.
        body_parts: Cases of each, as far as known.
        sided: Share of the cases that say left or right.
        size: Native size.
        values: Modality values.
        labels: In the order of the cohort.
    """

    cohort: str
    hash: str
    train: int
    validation: int
    patients: int | None
    excluded: dict[str, int]
    modalities: dict[str, int]
    body_parts: dict[str, int]
    sided: float
    size: Size
    values: Values
    labels: tuple[LabelFacts, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @property
    def side(self) -> int:
        """The shorter side of the median image, in pixels."""
        return round(min(self.size.height.median, self.size.width.median))

    @property
    def rarest(self) -> tuple[LabelFacts, str, int, float]:
        """The label whose rarest class has the smallest share, that class, its training cases and their share."""
        label = min(self.labels, key=lambda label: label.rarest[2])
        return label, *label.rarest


def fingerprint(cohort: Cohort, seed: int = 0) -> Fingerprint:
    """Take the fingerprint of a cohort.

    Args:
        cohort: With labels.
        seed: Decides which images are sampled for their values.

    Raises:
        MedaiError: there are no labels, or no training cases.
    """
    cases = cohort.select("development", uncertain=True)
    train = cases.filter(pl.col("split") == "train")
    if not cohort.labels or train.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {'labels' if not cohort.labels else 'training cases'}; there is nothing to plan for")
    known = train["patient_id"].null_count() == 0
    return Fingerprint(
        cohort=cohort.name,
        hash=cohort.hash,
        train=len(train),
        validation=len(cases) - len(train),
        patients=train["patient_id"].n_unique() if known else None,
        excluded=_excluded(cohort),
        modalities=_counts(cases["modality"]),
        body_parts=_counts(cases["body_part"]),
        sided=float(cases["laterality"].is_in(["L", "R"]).fill_null(False).mean()),  # type: ignore[arg-type]
        size=_size(cases),
        values=_values(cohort, cases, seed),
        labels=tuple(_label(label, cases) for label in cohort.labels),
    )


def _excluded(cohort: Cohort) -> dict[str, int]:
    cases = cohort.cases()
    return _counts(cases.filter((pl.col("partition") == "development") & pl.col("exclusion").is_not_null())["exclusion"])


def _counts(values: pl.Series) -> dict[str, int]:
    name = values.name
    return {str(value): int(count) for value, count in values.drop_nulls().value_counts().sort("count", name, descending=True).iter_rows()}


def _size(cases: pl.DataFrame) -> Size:
    channels, height, width = (cases["shape"].list.get(place) for place in range(3))
    spacing = cases["spacing_mm"].list.get(0, null_on_oob=True).drop_nulls()
    return Size(
        Spread.of(height), Spread.of(width), Spread.of(width / height), Spread.of(spacing) if len(spacing) else None,
        _counts(channels.alias("channels").cast(pl.String)),
    )  # fmt: skip


def _values(cohort: Cohort, cases: pl.DataFrame, seed: int) -> Values:
    rng = generator(seed, 0, 0, "fingerprint")
    rows = np.sort(rng.choice(len(cases), min(SAMPLED_IMAGES, len(cases)), replace=False))
    places = cases.select("shard", "offset", "length")
    pixels = NativePixels(cohort.path)
    images = [_some(pixels.read(*places.row(int(row))), rng) for row in rows]
    pooled = np.concatenate(images)
    levels = (0.5, 5.0, 50.0, 95.0, 99.5)
    body = pooled[pooled > AIR_HU] if (pooled > AIR_HU).any() else pooled
    return Values(
        _counts(cases["dtype"]),
        _kind(cases, pooled),
        len(images),
        {f"{level:g}": float(value) for level, value in zip(levels, np.percentile(pooled, levels), strict=True)},
        (float(np.percentile(body, 0.5)), float(np.percentile(body, 99.5))),
        Spread.of(pl.Series([float(np.percentile(image, 99.5)) for image in images])),
        _window(cases),
    )


def _some(image: Shaped[np.ndarray, "C H W"], rng: np.random.Generator) -> Float64[np.ndarray, " k"]:
    """At most 4096 pixels of an image, evenly over it from a random start."""
    flat = image.reshape(-1)
    step = max(1, len(flat) // PIXELS_OF_AN_IMAGE)
    return flat[int(rng.integers(step)) :: step].astype(np.float64)


def _kind(cases: pl.DataFrame, pooled: Float64[np.ndarray, " k"]) -> str:
    modality, dtypes = cases["modality"].drop_nulls(), cases["dtype"]
    if (len(modality) and bool((modality == "CT").all())) or (modality.is_empty() and _looks_like_hu(dtypes, pooled)):
        return "hu"
    return "8-bit" if bool((dtypes == "uint8").all()) else "arbitrary"


def _looks_like_hu(dtypes: pl.Series, pooled: Float64[np.ndarray, " k"]) -> bool:
    """Signed numbers, air near -1000 and soft tissue near 0."""
    signed = not bool(dtypes.str.starts_with("uint").any())
    return signed and bool(-2100 < pooled.min() < -800) and bool(((pooled > -200) & (pooled < 300)).mean() > 0.05)


def _window(cases: pl.DataFrame) -> tuple[float, float] | None:
    windows = cases["window"].drop_nulls()
    if len(windows) < len(cases) / 2:
        return None
    centre, width = (float(windows.list.get(place).median()) for place in range(2))  # type: ignore[arg-type]
    return centre, width


def _label(label: Label, cases: pl.DataFrame) -> LabelFacts:
    train, validation = (cases.filter(pl.col("split") == split) for split in ("train", "validation"))
    uncertain = train[f"{label.name}.uncertain"].fill_null(False) & (label.kind == "binary")
    unknown = train[label.name].is_null() & ~uncertain
    counts = (int(uncertain.sum()) / len(train), int(unknown.sum()) / len(train))
    return LabelFacts(label.name, label.kind, label.meaning, _classes(label, train), _classes(label, validation), counts[1], counts[0])


def _classes(label: Label, cases: pl.DataFrame) -> dict[str, int]:
    counts: Mapping[int, int] = dict(cases[label.name].drop_nulls().value_counts().iter_rows())
    return {name: int(counts.get(index, 0)) for index, name in enumerate(label.classes)}
