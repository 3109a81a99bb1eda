"""The most confident errors and right calls, with their images and what the network saw in them."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int64, Shaped, UInt8

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.overlay import Explain, overlay, shown
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import EN, Words
from medai.evaluation.table import LabelData

if TYPE_CHECKING:
    from PIL.Image import Image as ImageOf

Images = Callable[[str], Shaped[np.ndarray, "C H W"] | None]
LONGEST_SIDE = 288
LONGEST_NAME = 24
PERCENTILES = (0.5, 99.5)
OVERLAY_COLOURS = 256  # of a palette: less than half the bytes


def short_name(case_id: str) -> str:
    """A case's key, cut short where it is a long hash."""
    return case_id if len(case_id) <= LONGEST_NAME else f"{case_id[: LONGEST_NAME // 2]}\u2026"


@dataclass(frozen=True)
class Picture:
    """One case of the gallery.

    Attributes:
        case_id: Key of the case.
        name: The key, cut short where it is a long hash.
        lines: Captions below it.
        data: PNG as a data URI, or None where the image is not at hand; beside a map it is the image as the network takes it.
        overlay: PNG of the image under its map, or None without one.
    """

    case_id: str
    name: str
    lines: tuple[str, ...]
    data: str | None
    overlay: str | None = None


@dataclass(frozen=True)
class Gallery:
    """A row of pictures under a heading."""

    heading: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Pictures:
    """Where pictures come from.

    Attributes:
        images: Gives the image of a case, or None where it is not at hand; None leaves the gallery without pictures.
        explain: Gives a case's map; None leaves the gallery without maps.
    """

    images: Images | None = None
    explain: Explain | None = None

    def of(self, table: pl.DataFrame, row: int, lines: tuple[str, ...], label: str, index: int) -> Picture:
        """The picture of a row, with the map of a label's class."""
        case_id = str(table["case_id"][row])
        site = table["site"][row] if "site" in table.columns else None
        if site is not None:
            lines = (*lines[:-1], f"{lines[-1]} \u00b7 {site}")
        name = short_name(case_id)
        explanation = self.explain(case_id, label, index) if self.explain is not None else None
        if explanation is not None:
            seen = shown(explanation.image, window)
            return Picture(case_id, name, lines, encoded(seen), encoded(seen, explanation.saliency))
        image = self.images(case_id) if self.images is not None else None
        return Picture(case_id, name, lines, None if image is None else png(image))


def binary_galleries(evaluation: Evaluation, data: LabelData, most: int, source: Pictures, words: Words = EN) -> tuple[Gallery, ...]:
    """The most confident calls: missed and false alarms, then half as many that are right, found and cleared."""
    name, probability, truth, threshold = data.label.name, data.probability, data.target == 1, evaluation.thresholds[data.label.name]
    called, few = probability >= threshold, half(most)

    def gallery(heading: str, chosen: Bool[np.ndarray, " n"], score: Float[np.ndarray, " n"], count: int) -> Gallery:
        pictures = []
        for i in _first(score, chosen, count):
            caption = _caption(data, int(data.target[i]), int(called[i]), words)
            said = words["gallery_threshold"].format(value=f"{probability[i]:.3f}", threshold=f"{threshold:.3g}")
            pictures.append(source.of(evaluation.table, int(data.rows[i]), (caption, said), name, 1))
        return Gallery(words[heading].format(label=spoken(name)), tuple(pictures))

    return (
        gallery("false_negatives", truth & ~called, -probability, most),
        gallery("false_positives", ~truth & called, probability, most),
        gallery("true_positives", truth & called, probability, few),
        gallery("true_negatives", ~truth & ~called, -probability, few),
    )


def multiclass_galleries(evaluation: Evaluation, data: LabelData, most: int, source: Pictures, words: Words = EN) -> tuple[Gallery, ...]:
    """Wrong calls from the highest probability down, then half as many that are right, of every class in turn."""
    called, top = data.probability.argmax(axis=1), data.probability.max(axis=1)

    def gallery(heading: str, places: list[int]) -> Gallery:
        pictures = []
        for i in places:
            lines = (_caption(data, int(data.target[i]), int(called[i]), words), words["gallery_probability"].format(value=f"{top[i]:.3f}"))
            pictures.append(source.of(evaluation.table, int(data.rows[i]), lines, data.label.name, int(called[i])))
        return Gallery(words[heading], tuple(pictures))

    right = called == data.target
    return gallery("errors", _first(top, ~right, most)), gallery("right_calls", _in_turn(top, right, called, half(most)))


def half(most: int) -> int:
    """How many right calls stand beside so many wrong ones."""
    return (most + 1) // 2


def png(image: Shaped[np.ndarray, "C H W"]) -> str:
    """An image of any dtype as a data URI: windowed to its 0.5th and 99.5th percentile, 8 bit, at most 288 pixels a side."""
    from PIL import Image

    picture = _picture(window(np.asarray(image)))
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return _data_uri(picture)


def encoded(image: UInt8[np.ndarray, "C h w"], saliency: Float[np.ndarray, "h w"] | None = None) -> str:
    """A network's input as a data URI of 288 pixels, alone or under its map; the map is drawn at that size, so that it stays smooth."""
    from PIL import Image

    picture = _picture(image)
    factor = LONGEST_SIDE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    if saliency is None:
        return _data_uri(picture)
    grown = Image.fromarray(np.asarray(saliency, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    blended = overlay(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0), np.asarray(grown))
    return _data_uri(_picture(blended).quantize(OVERLAY_COLOURS, kmeans=3))


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


def _caption(data: LabelData, truth: int, called: int, words: Words) -> str:
    classes = data.label.classes
    return words["gallery_caption"].format(truth=spoken(classes[truth]), called=spoken(classes[called]))


def _first(score: Float[np.ndarray, " n"], chosen: Bool[np.ndarray, " n"], most: int) -> list[int]:
    places = np.flatnonzero(chosen)
    return [int(place) for place in places[np.argsort(-score[places], kind="stable")][:most]]


def _in_turn(score: Float[np.ndarray, " n"], chosen: Bool[np.ndarray, " n"], group: Int64[np.ndarray, " n"], most: int) -> list[int]:
    """The best of every group, then the second best, and so on: a common group does not crowd out the others."""
    ranked = [_first(score, chosen & (group == each), most) for each in np.unique(group)]
    return [places[turn] for turn in range(most) for places in ranked if turn < len(places)][:most]


def _picture(image: UInt8[np.ndarray, "C H W"]) -> "ImageOf":
    from PIL import Image

    return Image.fromarray(image[0] if len(image) != 3 else np.moveaxis(image, 0, -1))


def _data_uri(picture: "ImageOf") -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
