"""Whatever predicts: a run, a checkpoint, a package or a model of someone else, behind one interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from medai.core.error import MedaiError
from medai.core.label import Label

WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")

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
        kind: ``"checkpoint"``, ``"package"``, ``"onnx"`` or ``"torch"``.
        path: Where it lies.
        labels: What it predicts, in the order of its outputs.
        thresholds: Per binary label, frozen on validation.
        hash: Of its content.
        cohort: Hash, name and (where known) place of the cohort that it was made from; empty texts where that is not known.
        threshold_source: Where the thresholds come from.
        intended_use: One or two sentences, or nothing.
        facts: More facts for people.
        seen: What it may have been trained on of its own cohort: ``"train"``, or all of ``"development"`` (a cross-validation).
    """

    kind: str
    path: Path
    labels: tuple[Label, ...]
    thresholds: dict[str, float]
    hash: str
    cohort: tuple[str, str, str | None]
    threshold_source: str
    intended_use: str
    facts: dict[str, str]
    seen: str

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        """Bring one image to the model's channels.

        Raises:
            Refusal: the model does not accept it.
        """

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        """Predict from native modality values."""

    def view(self, pixels: Float32[np.ndarray, "C H W"]) -> Float32[np.ndarray, "c h w"]:
        """One prepared image as the model's network sees it, or as it is given where that happens inside of the model."""

    def doubts(self) -> list[str]:
        """Sentences on what looks wrong in how the model was called, after it has predicted."""


def open_candidate(path: Path | str, *, contract: Path | str | None = None, runs: Path | str = "runs") -> Candidate:
    """Open a run's directory, a checkpoint, a package (directory or zip), an ONNX file, torch weights, or what MLflow holds.

    Args:
        path: Where it is; ``models:/NAME/VERSION``, ``models:/NAME@ALIAS`` and ``runs:/ID/PATH`` are fetched from MLflow.
        contract: How to call a model that is not ours; None takes the YAML file beside it, of the same name.
        runs: Folder of the runs, with MLflow's default store and what is fetched.

    Raises:
        MedaiError: it is none of these, or the contract does not fit it.

    Example:
        >>> open_candidate("vendor.onnx", contract="vendor.yaml").labels[0].name
        'pneumonia'
    """
    from medai.inference.mlflow_model import beside_model, fetch_model, is_mlflow, model_in

    fetched = is_mlflow(str(path))
    path = fetch_model(str(path), Path(runs)) if fetched else Path(path)
    if not path.exists():
        raise MedaiError(f"candidate {path} does not exist; give a run's directory, a checkpoint, a package or a model with its contract")
    given = Path(contract) if contract is not None else None
    if (path / "MLmodel").is_file():
        given, path = given or beside_model(path), model_in(path)
    elif (fetched or given) and (models := _models(path)):
        given, path = given or beside_model(path), _only(path, models)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from medai.inference.onnx_model import open_onnx

        return open_onnx(path, given)
    if suffix in WEIGHTS and path.is_file():
        return _weights(path, given)
    if given is not None:
        raise MedaiError(f"{path} is no .onnx file and no file of weights ({', '.join(WEIGHTS)}), and needs no contract=; leave it out")
    return _ours(path)


def _ours(path: Path) -> Candidate:
    if path.suffix.lower() == ".zip" or (path / "package.json").is_file():
        from medai.device.package import Package

        return PackageCandidate(Package.load(path))
    if (path / "checkpoint").is_dir() or (path / "checkpoint.json").is_file():
        try:
            from medai.training.checkpoint import Checkpoint
        except ModuleNotFoundError as error:
            raise MedaiError(
                f"{path} is a checkpoint, which needs {error.name}: pip install 'medai[train]', or evaluate its package"
            ) from None
        return CheckpointCandidate(Checkpoint.load(path), path)
    if models := _models(path):
        raise MedaiError(f"{path} is a folder with {models[0].name}; give the file itself: candidate={models[0]} contract=<file>.yaml")
    raise MedaiError(
        f"candidate {path} is no run, checkpoint or package (it has no checkpoint.json and no package.json), and no .onnx file"
    )


def _models(path: Path) -> list[Path]:
    """The ONNX files of a folder that is nothing of ours."""
    ours = any((path / name).exists() for name in ("checkpoint", "checkpoint.json", "package.json"))
    return [] if ours or not path.is_dir() else sorted(path.glob("*.onnx"))


def _only(path: Path, models: list[Path]) -> Path:
    if len(models) > 1:
        raise MedaiError(f"{path} holds {', '.join(file.name for file in models)}; name one of them, as …/{models[0].name}")
    return models[0]


def _weights(path: Path, contract: Path | None) -> Candidate:
    try:
        from medai.inference.torch_model import open_torch
    except ModuleNotFoundError as error:
        raise MedaiError(f"{path} holds weights, which need {error.name}: pip install 'medai[train]', or ask for an ONNX file") from None
    return open_torch(path, contract)


class CheckpointCandidate:
    """A checkpoint, run by torch."""

    kind = "checkpoint"

    def __init__(self, checkpoint: "Checkpoint", path: Path) -> None:
        import torch

        from medai.training.checkpoint import threshold_source

        self.path, self.labels, self.thresholds = path, checkpoint.labels, dict(checkpoint.thresholds)
        self.hash, self.intended_use = checkpoint.hash, ""
        cohort, thresholds = checkpoint.record.get("cohort", {}), checkpoint.record.get("thresholds", {})
        self.cohort = (str(cohort.get("hash", "")), str(cohort.get("name", "")), cohort.get("path"))
        self.threshold_source = threshold_source(thresholds, self.cohort[1])
        self.facts = {"Code": str(checkpoint.record.get("commit", ""))[:16]}
        self.seen = "development" if checkpoint.cross_validated else "train"
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.allow_tf32 = False  # thresholds were frozen in 32 bits
        self.predictor = checkpoint.predictor().to(self._device)

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        return pixels.astype(np.float32)  # the network's first step brings any channels to its own

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        import torch

        with torch.inference_mode():
            outputs = self.predictor(torch.from_numpy(pixels).to(self._device))
        probability, logit, decision = (output.cpu().numpy() for output in outputs)
        return Outputs(probability, logit, decision)

    def view(self, pixels: Float32[np.ndarray, "C H W"]) -> Float32[np.ndarray, "c h w"]:
        import torch

        with torch.inference_mode():
            seen = self.predictor.preprocessing(torch.from_numpy(pixels[None]).to(self._device))
        image: Float32[np.ndarray, "c h w"] = seen[0].cpu().numpy()
        return image

    def doubts(self) -> list[str]:
        return []


class PackageCandidate:
    """An exported package, run by ONNX Runtime. No torch."""

    kind = "package"

    def __init__(self, package: "Package") -> None:
        self.path, self.labels, self.hash = package.path, package.labels, package.hash
        record: Mapping[str, Any] = package.record
        self.thresholds = {name: float(value) for name, value in record["thresholds"].items()}
        self.cohort: tuple[str, str, str | None] = (str(record["hashes"].get("cohort", "")), str(record["data"].get("name", "")), None)
        self.threshold_source, self.intended_use = str(record["threshold_source"]), str(record["intended_use"])
        self.checkpoint = str(record["hashes"].get("checkpoint", ""))
        self.facts = {"Name": str(record["name"]), "Checkpoint": self.checkpoint[:16]}
        self.seen = str(record["data"].get("seen", "train"))
        self._package = package

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        image = self._package.contract.to_input(pixels)
        self._package.contract.check_values(image)
        return image

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        outputs = self._package.predict(pixels)
        return Outputs(outputs.probability, outputs.logit, outputs.decision)

    def view(self, pixels: Float32[np.ndarray, "C H W"]) -> Float32[np.ndarray, "c h w"]:
        return pixels  # its graph resizes and scales

    def doubts(self) -> list[str]:
        return []
