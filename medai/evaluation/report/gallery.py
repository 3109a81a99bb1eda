"""The worst errors with their images."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Shaped, UInt8

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.sentence import spoken
from medai.evaluation.report.text import ENGLISH as T
from medai.evaluation.table import LabelData

Images = Callable[[str], Shaped[np.ndarray, "C H W"] | None]
LONGEST_SIDE = 288
LONGEST_NAME = 24
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Picture:
    """One case of the gallery.

    Attributes:
        case_id: Key of the case.
        name: The key, cut short where it is a long hash.
        lines: Captions below it.
        data: PNG as a data URI, or None where the image is not at hand.
    """

    case_id: str
    name: str
    lines: tuple[str, ...]
    data: str | None


@dataclass(frozen=True)
class Gallery:
    """A row of pictures under a heading."""

    heading: str
    pictures: tuple[Picture, ...]


def binary_galleries(evaluation: Evaluation, data: LabelData, most: int, images: Images | None) -> tuple[Gallery, ...]:
    """False negatives from the lowest probability up, and false positives from the highest down."""
    name, probability, truth = data.label.name, data.probability, data.target == 1
    called = probability >= evaluation.thresholds[name]
    missed = _first(-probability, truth & ~called, most)
    alarms = _first(probability, ~truth & called, most)

    def pictures(places: list[int]) -> tuple[Picture, ...]:
        return tuple(_picture(evaluation.table, int(data.rows[i]), (_probability(probability[i]),), images) for i in places)

    return (
        Gallery(T["false_negatives"].format(label=spoken(name)), pictures(missed)),
        Gallery(T["false_positives"].format(label=spoken(name)), pictures(alarms)),
    )


def multiclass_galleries(evaluation: Evaluation, data: LabelData, most: int, images: Images | None) -> tuple[Gallery, ...]:
    """Wrong decisions from the highest probability down."""
    called, top = data.probability.argmax(axis=1), data.probability.max(axis=1)
    places = _first(top, called != data.target, most)
    pictures = []
    for i in places:
        truth, call = data.label.classes[data.target[i]], data.label.classes[called[i]]
        caption = T["gallery_caption"].format(truth=spoken(truth), called=spoken(call))
        pictures.append(_picture(evaluation.table, int(data.rows[i]), (caption, _probability(top[i])), images))
    return (Gallery(T["errors"], tuple(pictures)),)


def png(image: Shaped[np.ndarray, "C H W"]) -> str:
    """An image of any dtype as a data URI: windowed to its 0.5th and 99.5th percentile, 8 bit, at most 288 pixels a side."""
    from PIL import Image

    eight = window(np.asarray(image))
    picture = Image.fromarray(eight[0] if len(eight) != 3 else np.moveaxis(eight, 0, -1))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def window(image: Shaped[np.ndarray, "C H W"]) -> UInt8[np.ndarray, "C H W"]:
    """Stretch an image so that its percentiles become 0 and 255; a colour image of 8 bit is left as it is."""
    if image.dtype == np.uint8 and len(image) == 3:
        return image
    values = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(values, PERCENTILES)
    if high <= low:
        low, high = float(values.min()), float(values.max())
    stretched = (values - low) / max(float(high - low), 1e-6) * 255
    return np.asarray(stretched.clip(0, 255).round(), dtype=np.uint8)


def _probability(value: float) -> str:
    return T["gallery_probability"].format(value=f"{value:.3f}")


def _first(score: Float[np.ndarray, " n"], chosen: Bool[np.ndarray, " n"], most: int) -> list[int]:
    places = np.flatnonzero(chosen)
    return [int(place) for place in places[np.argsort(-score[places], kind="stable")][:most]]


def _picture(table: pl.DataFrame, row: int, lines: tuple[str, ...], images: Images | None) -> Picture:
    case_id = str(table["case_id"][row])
    site = table["site"][row] if "site" in table.columns else None
    if site is not None:
        lines = (*lines[:-1], f"{lines[-1]} \u00b7 {site}")
    image = images(case_id) if images is not None else None
    name = case_id if len(case_id) <= LONGEST_NAME else f"{case_id[: LONGEST_NAME // 2]}\u2026"
    return Picture(case_id, name, lines, None if image is None else png(image))
