"""Export: a trained predictor to a proved package."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import nn

from medai.core.error import MedaiError
from medai.device.package import Prediction
from medai.device.record import OUTPUTS
from medai.export.graph import IR_VERSION, OPSET, export_graph, on_cpu
from medai.export.parity import LIMIT, OnnxRunner, Parity, ParityTable, TorchRunner, compare, gate, summarise
from medai.export.record import PackageInput, package_record
from medai.export.vector import COUNT, TOLERANCES, Vector, default_vectors
from medai.export.write import write_package


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: The package.
        parity: ONNX against torch on the images given.
        table: Their outputs.
        vectors: Number of vectors.
        seconds: By step: ``graph``, ``parity``, ``vectors``.
    """

    path: Path
    parity: Parity
    table: ParityTable
    vectors: int
    seconds: Mapping[str, float]


def export_package(
    predictor: nn.Module,
    output: Path,
    *,
    record: PackageInput,
    parity_images: Iterable[tuple[str, Shaped[np.ndarray, "_C _H _W"]]],
    vectors: Sequence[Vector] | None = None,
    further_parity: Callable[[ParityTable], Mapping[str, Any]] | None = None,
    replace: bool = False,
    opset: int = OPSET,
    ir_version: int = IR_VERSION,
    limit: float = LIMIT,
) -> ExportResult:
    """Export a predictor, prove that the graph computes the same as torch, and write the package. Without proof nothing is written.

    Args:
        predictor: `medai.training.predictor.Predictor`: pixels (N, C, H, W) to (probability, logit, decision).
        output: The package's directory, which must not exist unless `replace`.
        record: What the package says of the model.
        parity_images: (case id, native modality values) of the validation split.
        vectors: Inputs for the device's check; None takes phantoms. At least 8, and no patient's image, since they leave the hospital.
        further_parity: Makes more figures for package.json of the outputs, e.g. those against the view.
        replace: Take the place of a package that is there.
        opset: Version of the standard operators.
        ir_version: Version of the file format.
        limit: Largest difference of a probability.

    Raises:
        MedaiError: the model does not export, ONNX and torch differ, or `output` exists.
    """
    output = Path(output)
    if output.exists() and not replace:
        raise MedaiError(f"{output} exists already; remove it or choose another name")
    with on_cpu(predictor) as module:
        return _export(module, output, record, parity_images, vectors, further_parity, replace, opset, ir_version, limit)


def _export(
    predictor: nn.Module,
    output: Path,
    record: PackageInput,
    parity_images: Iterable[tuple[str, Shaped[np.ndarray, "_C _H _W"]]],
    vectors: Sequence[Vector] | None,
    further_parity: Callable[[ParityTable], Mapping[str, Any]] | None,
    replace: bool,
    opset: int,
    ir_version: int,
    limit: float,
) -> ExportResult:
    clock = _Clock()
    model = export_graph(predictor, record.contract.channels, opset=opset, ir_version=ir_version)
    clock.lap("graph")
    onnx, torch = OnnxRunner(model), TorchRunner(predictor)
    table = compare(onnx, torch, parity_images, record.contract)
    parity = summarise(table, limit)
    gate(parity, table, record.labels, record.thresholds)
    figures = parity.to_dict() | (dict(further_parity(table)) if further_parity is not None else {})
    clock.lap("parity")
    chosen = list(vectors) if vectors is not None else default_vectors(record.contract, record.labels, record.thresholds, torch)
    predictions = _answers(onnx, torch, chosen)
    content = package_record(record, figures, opset, ir_version)
    content["vectors"] = {"count": len(chosen), "origin": "phantom" if vectors is None else "given by the exporter"}
    write_package(output, model, content, chosen, predictions, replace=replace)
    clock.lap("vectors")
    return ExportResult(output, parity, table, len(chosen), clock.seconds)


def _answers(onnx: OnnxRunner, torch: TorchRunner, vectors: list[Vector]) -> list[Prediction]:
    """What torch answers to each vector, once ONNX was seen to answer the same at its size."""
    if len(vectors) < COUNT:
        raise MedaiError(f"a package needs at least {COUNT} vectors, got {len(vectors)}")
    answers = []
    for number, vector in enumerate(vectors):
        found, expected = onnx(vector.pixels), torch(vector.pixels)
        for name in OUTPUTS:
            got, wanted = getattr(found, name).astype(np.float64), getattr(expected, name).astype(np.float64)
            allowed = TOLERANCES[name]["absolute"] + TOLERANCES[name]["relative"] * np.abs(wanted)
            if got.shape != wanted.shape or not (np.abs(got - wanted) <= allowed).all():
                raise MedaiError(
                    f"no package is written: vector {number} of shape {vector.pixels.shape} has another {name} in ONNX than in torch"
                )
        answers.append(expected)
    return answers


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now
