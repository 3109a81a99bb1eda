"""Parity: the exported graph against torch on native pixels, case by case. It is a gate: without it no package is written."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import nn

from medai.core.error import MedaiError
from medai.core.label import Label, slices_of
from medai.device.contract import InputContract
from medai.device.package import Prediction
from medai.device.record import OUTPUTS
from medai.device.session import open_session, run_session

LIMIT = 1e-5  # largest difference of a probability
BATCH_PIXELS = 2**22  # pixels of a batch, so that memory stays flat whatever the size of the images
BATCH_CASES = 32


@dataclass(frozen=True)
class Parity:
    """How far ONNX is from torch over the cases.

    Attributes:
        cases: Number of cases compared.
        max_probability_difference: Largest absolute difference.
        mean_probability_difference: Mean absolute difference.
        max_logit_difference: Largest absolute difference.
        decision_flips: Decisions that differ.
        worst_case: Where the probability differs most.
        limit: What the gate allows for a probability.
        reference: What it was compared with.
    """

    cases: int
    max_probability_difference: float
    mean_probability_difference: float
    max_logit_difference: float
    decision_flips: int
    worst_case: str
    limit: float
    reference: str = "torch on native pixels"

    def to_dict(self) -> dict[str, Any]:
        """For package.json."""
        return asdict(self)


@dataclass(frozen=True)
class ParityTable:
    """The outputs that were compared.

    Attributes:
        case_ids: In the order of the rows.
        onnx: What the graph gave.
        torch: What the predictor gave.
    """

    case_ids: tuple[str, ...]
    onnx: Prediction
    torch: Prediction


class OnnxRunner:
    """The exported graph in ONNX Runtime, before there is a package."""

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        self._session = open_session(model, "the exported graph", threads=threads)

    def __call__(self, pixels: Float32[np.ndarray, "N C H W"]) -> Prediction:
        return Prediction.from_outputs(run_session(self._session, "the exported graph", OUTPUTS, pixels))


class TorchRunner:
    """The predictor, from numpy to numpy."""

    def __init__(self, predictor: nn.Module) -> None:
        self._predictor = predictor.eval()

    def __call__(self, pixels: Float32[np.ndarray, "N C H W"]) -> Prediction:
        with torch.inference_mode():
            probability, logit, decision = self._predictor(torch.from_numpy(pixels))
        return Prediction(probability.numpy(), logit.numpy(), decision.numpy())


def compare(
    onnx: OnnxRunner, reference: TorchRunner, images: Iterable[tuple[str, Shaped[np.ndarray, "_C _H _W"]]], contract: InputContract
) -> ParityTable:
    """Run both on every image; equal shapes that follow each other are run together.

    Args:
        onnx: The graph.
        reference: The predictor.
        images: (case id, modality values) in any dtype and of any size.
        contract: Brings the images to the model's channels.

    Raises:
        MedaiError: there is no image.
    """
    case_ids: list[str] = []
    found: list[Prediction] = []
    expected: list[Prediction] = []
    for names, pixels in _batches(images, contract):
        case_ids += names
        found.append(onnx(pixels))
        expected.append(reference(pixels))
    if not case_ids:
        raise MedaiError("there are no images to prove parity on; give the validation split")
    return ParityTable(tuple(case_ids), _joined(found), _joined(expected))


def summarise(table: ParityTable, limit: float = LIMIT) -> Parity:
    """The figures of a comparison."""
    difference = np.abs(table.onnx.probability.astype(np.float64) - table.torch.probability)
    logits = np.abs(table.onnx.logit.astype(np.float64) - table.torch.logit)
    worst = int(np.argmax(np.nan_to_num(difference, nan=np.inf).max(axis=1)))
    return Parity(
        len(table.case_ids), float(difference.max()), float(difference.mean()), float(logits.max()),
        int((table.onnx.decision != table.torch.decision).sum()), table.case_ids[worst], limit,
    )  # fmt: skip


def gate(parity: Parity, table: ParityTable, labels: tuple[Label, ...], thresholds: Mapping[str, float]) -> None:
    """Refuse a graph that is not the model.

    Raises:
        MedaiError: a probability beyond the limit, one that is no number, or a decision that flips.
    """
    if not np.isfinite(table.torch.probability).all() or not np.isfinite(table.onnx.probability).all():
        raise MedaiError(f"no package is written: a probability is not finite, first at case {_first_bad(table)}")
    if parity.max_probability_difference > parity.limit:
        raise MedaiError(
            f"no package is written: ONNX differs from torch by {parity.max_probability_difference:.2e} in probability at case "
            f"{parity.worst_case} ({parity.cases} cases), allowed {parity.limit:g}"
        )
    if parity.decision_flips:
        row, column = (int(index) for index in np.argwhere(table.onnx.decision != table.torch.decision)[0])
        label = labels[column]
        found, expected = (part.probability[row, slices_of(labels)[label.name]] for part in (table.onnx, table.torch))
        near = f"probability {found.max():.7g} against {expected.max():.7g}"
        near += f", threshold {thresholds[label.name]:.7g}" if label.kind == "binary" else ""
        raise MedaiError(
            f"no package is written: {parity.decision_flips} decisions of {parity.cases} cases flip between torch and ONNX, first "
            f"{label.name} of case {table.case_ids[row]} ({near}); put the threshold midway between two cases"
        )


def _first_bad(table: ParityTable) -> str:
    good = np.isfinite(table.torch.probability).all(axis=1) & np.isfinite(table.onnx.probability).all(axis=1)
    return table.case_ids[int(np.argmin(good))]


def _batches(
    images: Iterable[tuple[str, Shaped[np.ndarray, "_C _H _W"]]], contract: InputContract
) -> Iterator[tuple[list[str], Float32[np.ndarray, "_N _C _H _W"]]]:
    names: list[str] = []
    waiting: list[Float32[np.ndarray, "_C _H _W"]] = []
    for name, image in images:
        pixels = contract.to_input(image)
        if waiting and (pixels.shape != waiting[0].shape or len(waiting) >= BATCH_CASES or len(waiting) * pixels.size >= BATCH_PIXELS):
            yield names, np.stack(waiting)
            names, waiting = [], []
        names.append(str(name))
        waiting.append(pixels)
    if waiting:
        yield names, np.stack(waiting)


def _joined(parts: list[Prediction]) -> Prediction:
    def joined(name: str) -> Float32[np.ndarray, "N K"] | Int64[np.ndarray, "N K"]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Prediction(*(joined(name) for name in OUTPUTS))
