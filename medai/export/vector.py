"""Vectors: phantom images with the answers of the model, so that a device can prove that it computes the same."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from medai.core.error import MedaiError, Refusal
from medai.core.label import Label, slices_of
from medai.device.contract import InputContract
from medai.device.package import Prediction
from medai.device.record import OUTPUTS
from medai.device.tensor_proto import write_tensor
from medai.export.vector_file import image_file

COUNT = 8
# Sizes (H, W) of the vectors: small, odd, wide, tall, and larger than the networks take.
SIZES = ((64, 64), (96, 128), (131, 77), (28, 28), (224, 224), (75, 301), (512, 384), (320, 257))
TRIES = 16  # phantoms looked at for one vector, until one is clear of the thresholds
CLEARANCE = 1e-3  # of a probability from its threshold, or of the best class from the next: no runtime's rounding flips it
# A runtime on another processor sums in another order. A tenth of a thousandth of a probability is nothing to a patient, and
# ten times what the gate of the export allows on one machine.
TOLERANCES = {
    "probability": {"absolute": 1e-4, "relative": 0.0},
    "logit": {"absolute": 1e-3, "relative": 1e-4},
    "decision": {"absolute": 0.0, "relative": 0.0},
}

PhantomPixels = Callable[..., Float32[np.ndarray, "C H W"]]


@dataclass(frozen=True)
class Vector:
    """One input of a model.

    Attributes:
        pixels: Modality values.
        source: Bytes of the file that gives exactly these pixels (N = 1), or None.
        suffix: Of that file: ``".dcm"``, ``".png"`` or ``".npy"``.
    """

    pixels: Float32[np.ndarray, "N C H W"]
    source: bytes | None = None
    suffix: str = ".dcm"


def default_vectors(
    contract: InputContract,
    labels: tuple[Label, ...],
    thresholds: Mapping[str, float],
    predict: Callable[[Float32[np.ndarray, "N C H W"]], Prediction],
    *,
    seed: int = 0,
    phantom_pixels: PhantomPixels | None = None,
) -> list[Vector]:
    """Eight phantoms and a batch of three, of many sizes, within the range that the model accepts; half of them as files.

    Phantoms that a threshold nearly divides, or that the contract refuses, are passed over.

    Args:
        contract: What the model accepts.
        labels: What it predicts.
        thresholds: Of the binary labels.
        predict: The model, to see how near an image is to a threshold.
        seed: Of the phantoms.
        phantom_pixels: ``(index, shape, low, high, seed) -> (C, H, W)``; by default that of `medai.source.phantom`.

    Raises:
        MedaiError: no phantom is accepted by the contract.
    """
    if phantom_pixels is None:
        from medai.source.phantom import vector as phantom

        phantom_pixels = phantom.phantom_pixels
    vectors = []
    for number, (height, width) in enumerate([*SIZES, SIZES[1]]):
        shape, batch = (contract.channels, height, width), 3 if number == len(SIZES) else 1
        pixels = _chosen(contract, labels, thresholds, predict, _phantoms(phantom_pixels, number, shape, batch, contract, seed))
        vectors.append(_with_file(pixels, contract, number // 2) if batch == 1 and number % 2 else Vector(pixels))
    return vectors


def write_vectors(folder: Path, vectors: list[Vector], predictions: list[Prediction]) -> None:
    """Write vectors in the ONNX backend-test layout.

    Args:
        folder: The package's ``vectors``, which is made.
        vectors: The inputs.
        predictions: What the model in torch answers to each.
    """
    folder.mkdir()
    (folder / "tolerances.json").write_text(json.dumps(TOLERANCES, indent=2) + "\n", encoding="utf-8")
    for number, (vector, prediction) in enumerate(zip(vectors, predictions, strict=True)):
        place = folder / f"test_data_set_{number}"
        place.mkdir()
        (place / "input_0.pb").write_bytes(write_tensor("pixels", vector.pixels))
        for index, name in enumerate(OUTPUTS):
            (place / f"output_{index}.pb").write_bytes(write_tensor(name, getattr(prediction, name)))
        if vector.source is not None:
            (place / f"source{vector.suffix}").write_bytes(vector.source)


def _phantoms(
    phantom_pixels: PhantomPixels, number: int, shape: tuple[int, int, int], batch: int, contract: InputContract, seed: int
) -> Iterator[Float32[np.ndarray, "N C H W"]]:
    # A colour image that is no wider than 8 bits is one that a PNG can hold.
    eight_bits = contract.channels == 3 and contract.low <= 0 and contract.high >= 255
    low, high = (0.0, 255.0) if eight_bits else (contract.low, contract.high)
    for attempt in range(TRIES):
        first = (number * TRIES + attempt) * 3
        images = [phantom_pixels(first + index, shape, low, high, seed=seed) for index in range(batch)]
        yield np.stack(images).astype(np.float32)


def _chosen(
    contract: InputContract,
    labels: tuple[Label, ...],
    thresholds: Mapping[str, float],
    predict: Callable[[Float32[np.ndarray, "N C H W"]], Prediction],
    candidates: Iterator[Float32[np.ndarray, "N C H W"]],
) -> Float32[np.ndarray, "N C H W"]:
    """The first candidate that is accepted and clear of the thresholds; else the clearest."""
    best, clearest = None, -1.0
    for pixels in candidates:
        try:
            for image in pixels:
                contract.check_values(image)
        except Refusal:
            continue
        distance = clearance(predict(pixels).probability, labels, thresholds)
        if distance > clearest:
            best, clearest = pixels, distance
        if distance >= CLEARANCE:
            break
    if best is None:
        raise MedaiError("no phantom lies within what the model accepts; widen input.value_range or lower input.min_contrast")
    return best


def _with_file(pixels: Float32[np.ndarray, "1 C H W"], contract: InputContract, number: int) -> Vector:
    source, suffix = image_file(pixels[0], contract, number)
    return Vector(pixels, source, suffix)


def clearance(probability: Float32[np.ndarray, "N P"], labels: tuple[Label, ...], thresholds: Mapping[str, float]) -> float:
    """How far the nearest decision is from tipping over, in probability."""
    nearest = np.inf
    for label in labels:
        part = probability[:, slices_of(labels)[label.name]]
        if label.kind == "binary":
            distance = np.abs(part - thresholds.get(label.name, 0.5))
        else:
            ordered = np.sort(part, axis=1)
            distance = ordered[:, -1] - ordered[:, -2]
        nearest = min(nearest, float(distance.min()))
    return nearest
