"""Three cases before all of them: a page that shows the images as a model sees them, and what it answers. No label is read."""

import base64
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Shaped, UInt8

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError, Refusal
from medai.core.file import atomic_directory, write_json
from medai.core.label import columns_of
from medai.core.progress import say
from medai.evaluation.report.text import Words
from medai.inference.candidate import Candidate, Outputs
from medai.inference.dry_run_words import dry_run_words, page_names
from medai.inference.vendor import VendorCandidate
from medai.store.shard import NativePixels

CASES = 3
RECORD, PAGE = "dry_run.json", "dry_run.html"
TEMPLATE = Path(__file__).with_name("dry_run.html")
SAME = 1e-6  # outputs that differ by less do not depend on the image
FLAT = 1e-6
LARGEST_PICTURE = 512  # pixels


@dataclass(frozen=True)
class Seen:
    """One case of a dry run.

    Attributes:
        case_id: Of the case.
        native: Shape, type and range of the image as it is stored.
        given: Shape of what the model takes, and low, high, mean and deviation of each channel.
        clipped: Share of the pixels cut off by the window; None where nothing is cut.
        raw: The model's own outputs by name; empty where they are the probabilities.
        probability: By column; empty where the outputs are not as the contract says.
        decision: By label, the name of the class.
        fault: Why there are no probabilities; else empty.
        pictures: Names of the files: the stored image between its own extremes; and the image as the model sees it, before mean
            and std, between the ends of its scale where it has one.
    """

    case_id: str
    native: str
    given: dict[str, Any]
    clipped: float | None
    raw: dict[str, list[float]]
    probability: dict[str, float]
    decision: dict[str, str]
    fault: str
    pictures: tuple[str, str]


def dry_run(candidate: Candidate, cohort: Cohort, split: str, folder: Path, languages: Sequence[str] = ("en",)) -> Path:
    """Run a model on three cases of a split and write a page about it.

    Args:
        candidate: The model.
        cohort: Holds the pixels; its labels stay closed.
        split: ``test``, ``validation`` or ``train``.
        folder: Of the results; an older dry run there is replaced.
        languages: Of the page; the first is `dry_run.html`, a further one e.g. `dry_run.zh.html`.

    Returns:
        The page, beside the pictures and `dry_run.json`, which holds null for what is NaN or infinite.

    Raises:
        MedaiError: there is no such language; the model accepts none of the cases; or its outputs are not as its contract says,
            and the page then shows what they are.

    Example:
        >>> dry_run(candidate, cohort, "test", Path("look"))
        PosixPath('look/dry_run.html')
    """
    started, store, names = time.monotonic(), NativePixels(cohort.path), page_names(languages)
    images, refused = _images(candidate, store, cases_without_labels(cohort, split))
    with atomic_directory(folder, replaces=RECORD) as temporary:
        seen = [_case(candidate, case, native, image, place, temporary) for place, (case, native, image) in enumerate(images)]
        doubts = [*candidate.doubts(), *_doubts(seen)]
        record: dict[str, Any] = {
            "candidate": {"path": str(candidate.path), "kind": candidate.kind, "hash": candidate.hash, "facts": candidate.facts},
            "labels": [label.to_dict() for label in candidate.labels],
            "thresholds": candidate.thresholds,
            "threshold_origin": candidate.threshold_source,
            "cohort": {"name": cohort.name, "hash": cohort.hash},
            "split": split,
            "cases": [asdict(each) for each in seen],
            "refused": refused,
            "doubts": doubts,
            "seconds": time.monotonic() - started,
        }
        write_json(temporary / RECORD, _finite(record))
        for language, name in names.items():
            other = next((each for each in names.values() if each != name), "")
            (temporary / name).write_text(_page(record, temporary, dry_run_words(language), other), encoding="utf-8")
    if fault := next((each.fault for each in seen if each.fault), ""):
        raise MedaiError(f"{fault}; what the model was given and what it answered is in {folder / PAGE}")
    for doubt in doubts:
        say(f"Doubt: {doubt}")
    return folder / PAGE


def cases_without_labels(cohort: Cohort, split: str) -> pl.DataFrame:
    """The cases of a split in the stored order, with no label opened, so that no look at a test set is spent.

    Raises:
        MedaiError: there are none.
    """
    cases = cohort.cases().filter(pl.col("exclusion").is_null())
    splits = cohort.splits().select("case_id", of="split")
    cases = cases.join(splits, on="case_id", how="left", maintain_order="left").filter(pl.col("of") == split).drop("of")
    if cases.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {split} cases; choose another split=… or dataset=…")
    return cases


def _images(
    candidate: Candidate, store: NativePixels, cases: pl.DataFrame
) -> tuple[list[tuple[str, Shaped[np.ndarray, "C H W"], Float32[np.ndarray, "C H W"]]], dict[str, str]]:
    """Three accepted images from the ends and the middle of the stored order, and why others were not."""
    images, refused = [], {}
    for row in _spread(len(cases)):
        case = cases.row(row, named=True)
        native = store.read(case["shard"], case["offset"], case["length"])
        try:
            images.append((str(case["case_id"]), native, candidate.prepare(native)))
        except Refusal as refusal:
            refused[str(case["case_id"])] = refusal.message
        if len(images) == CASES:
            break
    if not images:
        raise MedaiError(f"{candidate.path} accepts none of {len(refused)} images tried: {next(iter(refused.values()))}")
    return images, refused


def _spread(count: int) -> list[int]:
    """Places far from one another first; a few more, in case some are refused."""
    places = np.linspace(0, count - 1, min(count, CASES)).round().astype(int).tolist()
    others = np.linspace(0, count - 1, min(count, 5 * CASES)).round().astype(int).tolist()
    return list(dict.fromkeys([*places, *others]))


def _case(
    candidate: Candidate, case: str, native: Shaped[np.ndarray, "C H W"], image: Float32[np.ndarray, "C H W"], place: int, folder: Path
) -> Seen:
    view, clipped, raw, fault = candidate.view(image), None, {}, ""
    shown, limits = view, None
    outputs: Outputs | None = None
    if isinstance(candidate, VendorCandidate):
        described = candidate.describe(image)
        clipped = described.clipped_low + described.clipped_high
        shown, limits = described.on_scale(candidate.contract.input.intensity)
        raw = {name: [float(value) for value in values.ravel()] for name, values in candidate.raw(view[None]).items()}
    try:
        outputs = candidate.predict(image[None])
    except MedaiError as error:
        fault = str(error)
    names = (f"case-{place + 1}-stored.png", f"case-{place + 1}-seen.png")
    (folder / names[0]).write_bytes(picture(native))
    (folder / names[1]).write_bytes(picture(shown, limits))
    probability, decision = _named(candidate, outputs) if outputs else ({}, {})
    return Seen(case, _native(native), _given(view), clipped, raw, probability, decision, fault, names)


def _named(candidate: Candidate, outputs: Outputs) -> tuple[dict[str, float], dict[str, str]]:
    """Probabilities by column, and decisions by label, of the first image."""
    probability = {name: float(value) for name, value in zip(columns_of(candidate.labels), outputs.probability[0], strict=True)}
    decided = zip(candidate.labels, outputs.decision[0], strict=True)
    return probability, {label.name: label.classes[int(index)] for label, index in decided}


def _native(image: Shaped[np.ndarray, "C H W"]) -> str:
    shape = " x ".join(map(str, image.shape))
    low, median, high = (f"{value:g}" for value in np.percentile(image, [0, 50, 100]))
    return f"{shape}, {image.dtype}, values {low} to {high}, median {median}"


def _given(view: Float32[np.ndarray, "c h w"]) -> dict[str, Any]:
    channels = [
        {"low": float(each.min()), "high": float(each.max()), "mean": float(each.mean()), "deviation": float(each.std())} for each in view
    ]
    return {"shape": list(view.shape), "channels": channels}


def _doubts(seen: list[Seen]) -> list[str]:
    """What looks wrong in the cases as a whole."""
    doubts = [case.fault for case in seen if case.fault][:1]
    values = np.array([list(case.probability.values()) for case in seen if case.probability])
    if len(values) > 1 and np.ptp(values, axis=0).max() < SAME:
        doubts.append(f"The {len(values)} images give the same answer: the model may not see them as it should.")
    if len(values) and np.isin(values, (0.0, 1.0)).all():
        doubts.append("Every probability is exactly 0 or 1: these may be decisions and no probabilities, which cannot be calibrated.")
    for case in seen:
        if max(channel["deviation"] for channel in case.given["channels"]) < FLAT:
            doubts.append(f"The model sees {case.case_id} as one grey level: look at the intensity.")
    return doubts


def picture(image: Shaped[np.ndarray, "C H W"], limits: tuple[float, float] | None = None) -> bytes:
    """A PNG of an image, the first three channels as red, green and blue.

    Args:
        image: (C, H, W), any values.
        limits: What is black and what is white; None takes the image's own extremes.
    """
    from PIL import Image

    values = image.astype(np.float64)
    low, high = limits or (float(values.min()), float(values.max()))
    grey: UInt8[np.ndarray, "C H W"] = np.rint(np.clip((values - low) / max(high - low, FLAT), 0, 1) * 255).astype(np.uint8)
    drawn = Image.fromarray(np.ascontiguousarray(np.moveaxis(grey[:3], 0, -1)), "RGB") if len(grey) >= 3 else Image.fromarray(grey[0], "L")
    drawn.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    stream = BytesIO()
    drawn.save(stream, "PNG")
    return stream.getvalue()


def _finite(value: Any) -> Any:
    """The same with None for every number that JSON does not know: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(record: dict[str, Any], folder: Path, words: Words, other: str) -> str:
    """The page, with its pictures in it."""
    from jinja2 import Environment, StrictUndefined

    pictures = {
        name: base64.b64encode((folder / name).read_bytes()).decode("ascii") for case in record["cases"] for name in case["pictures"]
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(record=record, pictures=pictures, t=words, other=other)
