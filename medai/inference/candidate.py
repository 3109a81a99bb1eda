"""Whatever predicts: a run, a checkpoint or a package, behind one interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from medai.core.error import MedaiError
from medai.core.label import Label

if TYPE_CHECKING:
    from medai.device.package import Package
    from medai.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Outputs:
    """Outputs for a batch: probability (N, P), logit (N, P), decision (N, L)."""

    probability: Float[np.ndarray, "N P"]
    logit: Float[np.ndarray, "N P"]
    decision: Int64[np.ndarray, "N L"]


class Candidate(Protocol):
    """A model that can be evaluated.

    Attributes:
        kind: ``"checkpoint"`` or ``"package"``.
        path: Where it lies.
        labels: What it predicts, in the order of its outputs.
        thresholds: Per binary label, frozen on validation.
        hash: Of its content.
        record: What it says about its making: ``cohort``, ``thresholds``, ``versions``, …
    """

    kind: str
    path: Path
    labels: tuple[Label, ...]
    thresholds: dict[str, float]
    hash: str
    record: Mapping[str, Any]

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        """Bring one image to the model's channels.

        Raises:
            Refusal: the model does not accept it.
        """

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        """Predict from native modality values."""


def open_candidate(path: Path) -> Candidate:
    """Open a run's directory, a checkpoint or a package (directory or zip).

    Raises:
        MedaiError: it is none of these.
    """
    if not path.exists():
        raise MedaiError(f"candidate {path} does not exist; give a run's directory, a checkpoint or a package")
    if path.suffix.lower() == ".zip" or (path / "package.json").is_file():
        from medai.device.package import Package

        return PackageCandidate(Package.load(path))
    if (path / "checkpoint").is_dir() or (path / "checkpoint.json").is_file():
        try:
            from medai.training.checkpoint import Checkpoint
        except ModuleNotFoundError as error:
            raise MedaiError(f"{path} is a checkpoint, which needs {error.name}: pip install 'medai[train]', or evaluate its package") from None
        return CheckpointCandidate(Checkpoint.load(path), path)
    if path.suffix.lower() == ".onnx":
        raise MedaiError(f"{path} is an ONNX file without its contract; give the package directory or zip that medai export wrote")
    raise MedaiError(f"candidate {path} is not a run, a checkpoint or a package: it has no checkpoint.json and no package.json")


class CheckpointCandidate:
    """A checkpoint, run by torch."""

    kind = "checkpoint"

    def __init__(self, checkpoint: "Checkpoint", path: Path) -> None:
        import torch

        self.path, self.labels, self.thresholds = path, checkpoint.labels, dict(checkpoint.thresholds)
        self.hash, self.record = checkpoint.hash, checkpoint.record
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._predictor = checkpoint.predictor().to(self._device)

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        return pixels.astype(np.float32)  # the network's first step brings any channels to its own

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        import torch

        with torch.inference_mode():
            outputs = self._predictor(torch.from_numpy(pixels).to(self._device))
        probability, logit, decision = (output.cpu().numpy() for output in outputs)
        return Outputs(probability, logit, decision)


class PackageCandidate:
    """An exported package, run by ONNX Runtime. No torch."""

    kind = "package"

    def __init__(self, package: "Package") -> None:
        self.path, self.labels, self.hash, self.record = package.path, package.labels, package.hash, package.record
        self.thresholds = {name: float(value) for name, value in package.record["thresholds"]["values"].items()}
        self._package = package

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        image = self._package.contract.to_input(pixels)
        self._package.contract.check_values(image)
        return image

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        outputs = self._package.predict(pixels)
        return Outputs(outputs.probability, outputs.logit, outputs.decision)
