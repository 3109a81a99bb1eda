"""Predict the cases of a cohort from their native pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float32

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError, Refusal
from medai.core.progress import progress
from medai.inference.candidate import Candidate, Outputs
from medai.store.shard import NativePixels

BATCH_PIXELS = 2_000_000  # of one batch: small images are predicted many at a time, large ones alone


@dataclass
class Predicted:
    """The outputs for the cases that the model accepted, and the reasons for the others.

    Attributes:
        cases: The accepted cases, in the stored order.
        outputs: A row an accepted case.
        refused: case_id -> reason.
    """

    cases: pl.DataFrame
    outputs: Outputs
    refused: dict[str, str] = field(default_factory=dict)


def predict_cases(candidate: Candidate, cohort: Cohort, cases: pl.DataFrame) -> Predicted:
    """Predict every case of a table.

    Args:
        candidate: The model.
        cohort: Holds the pixels.
        cases: Rows of the cohort's cases.

    Raises:
        MedaiError: the model refuses all of them.
    """
    refused: dict[str, str] = {}
    accepted: list[int] = []
    parts: list[Outputs] = []
    with progress("Predict", len(cases), "images") as bar:
        for rows, pixels in _batches(candidate, NativePixels(cohort.path), cases, refused):
            parts.append(candidate.predict(pixels))
            accepted.extend(rows)
            bar.advance(len(rows))
    if not parts:
        reason = next(iter(refused.values()), "there are no cases")
        raise MedaiError(f"{candidate.path} accepts none of the {len(cases)} images: {reason}")
    outputs = Outputs(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("probability", "logit", "decision")))
    return Predicted(cases[accepted], outputs, refused)


def _batches(
    candidate: Candidate, store: NativePixels, cases: pl.DataFrame, refused: dict[str, str]
) -> Iterator[tuple[list[int], Float32[np.ndarray, "N C H W"]]]:
    """Neighbouring images of equal shape, as many as fit a batch."""
    rows: list[int] = []
    images: list[Float32[np.ndarray, "C H W"]] = []
    for row, case in enumerate(cases.select("case_id", "shard", "offset", "length").iter_rows(named=True)):
        try:
            image = candidate.prepare(store.read(case["shard"], case["offset"], case["length"]))
        except Refusal as refusal:
            refused[case["case_id"]] = refusal.message
            continue
        if images and (image.shape != images[0].shape or (len(images) + 1) * image.size > BATCH_PIXELS):
            yield rows, np.stack(images)
            rows, images = [], []
        rows.append(row)
        images.append(image)
    if images:
        yield rows, np.stack(images)
