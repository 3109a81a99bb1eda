"""A package: one model with its contract, run without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from medai.core.error import Refusal
from medai.core.label import Label
from medai.device.contract import InputContract
from medai.device.intake import read_input
from medai.device.manifest import PackageFiles
from medai.device.model_proto import Signature, read_signature
from medai.device.record import NAME, OUTPUTS, Record
from medai.device.session import CPU, open_session, run_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MODEL = "model.onnx"


@dataclass(frozen=True)
class Prediction:
    """Outputs for a batch.

    Attributes:
        probability: Calibrated, a column a binary label or class.
        logit: Calibrated, likewise.
        decision: A column a label: 0 or 1 at the frozen threshold, or the index of the class.
    """

    probability: Float32[np.ndarray, "N P"]
    logit: Float32[np.ndarray, "N P"]
    decision: Int64[np.ndarray, "N L"]

    @staticmethod
    def from_outputs(outputs: Sequence[Shaped[np.ndarray, "..."]]) -> "Prediction":
        """Of what a session gives, in the order of `OUTPUTS`; its integers are C's long long, which is another type by name."""
        probability, logit, decision = outputs
        return Prediction(probability, logit, decision.astype(np.int64))


@dataclass(frozen=True)
class FilePrediction:
    """The answer for one file.

    Attributes:
        path: The file.
        size: Rows and columns of its image.
        probability: By column name, e.g. ``{"pneumonia": 0.93}`` or ``{"stage.mild": 0.2, …}``.
        logit: Likewise.
        decision: By label name, the name of the class that is decided.
    """

    path: Path
    size: tuple[int, int]
    probability: dict[str, float]
    logit: dict[str, float]
    decision: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        size, path = list(self.size), str(self.path)
        return {"path": path, "size": size, "probability": self.probability, "logit": self.logit, "decision": self.decision}


class Package:
    """A model that was exported by medai; see `Package.load`.

    Args:
        files: The files, checked against the manifest.
        providers: ONNX Runtime's execution providers, the preferred first.
        threads: Threads of one operator; None leaves it to ONNX Runtime.
    """

    def __init__(self, files: PackageFiles, providers: Sequence[str] = CPU, threads: int | None = None) -> None:
        self.path = files.path
        self.files = files
        self._providers, self._threads = tuple(providers), threads
        self._session: InferenceSession | None = None
        self._record = Record.parse(self.path, files.read(NAME))
        self.signature: Signature = read_signature(files.read(MODEL))
        self._record.check_signature(self.path, self.signature)

    @staticmethod
    def load(path: Path | str, *, providers: Sequence[str] = CPU, threads: int | None = None) -> "Package":
        """Open a package's directory or zip and check all of it: files, schema versions, inputs and outputs.

        Raises:
            MedaiError: anything is missing, changed, too new or unfit; one line that names it.

        Example:
            >>> package = Package.load("pneumonia.zip")
            >>> package.predict_file("chest.dcm").decision
            {'pneumonia': 'yes'}
        """
        return Package(PackageFiles(Path(path)), providers, threads)

    @property
    def labels(self) -> tuple[Label, ...]:
        """What is predicted."""
        return self._record.labels

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of probability and logit."""
        return self._record.columns

    @property
    def contract(self) -> InputContract:
        """What is accepted."""
        return self._record.contract

    @property
    def record(self) -> Mapping[str, Any]:
        """The whole of package.json."""
        return self._record.data

    @property
    def hash(self) -> str:
        """The hash of the manifest, which stands for every byte of the package."""
        return self.files.hash

    def predict(self, pixels: Shaped[np.ndarray, "..."]) -> Prediction:
        """Predict from modality values in MONOCHROME2 polarity, native size.

        Raises:
            Refusal: ``unsupported-shape``, or an image that the contract refuses.
            MedaiError: the runtime failed.
        """
        if pixels.ndim != 4 or pixels.shape[1] != self.contract.channels or pixels.dtype != np.float32 or pixels.size == 0:
            expected = f"float32 (N, {self.contract.channels}, H, W)"
            raise Refusal("unsupported-shape", f"pixels have dtype {pixels.dtype} and shape {pixels.shape}; this model takes {expected}")
        for index, image in enumerate(pixels):
            try:
                self.contract.check_values(image)
            except Refusal as refusal:
                raise Refusal(
                    refusal.code, f"image {index} of the batch: {refusal.message}" if len(pixels) > 1 else refusal.message
                ) from None
        return self._run(pixels)

    def predict_file(self, path: Path | str) -> FilePrediction:
        """Predict one DICOM, PNG, JPEG, TIFF, BMP or npy file.

        Raises:
            Refusal: unreadable, or not of the kind that the model was made for.
        """
        intake = read_input(Path(path), self.contract)
        prediction = self._run(intake.pixels[None])
        decided = {label.name: label.classes[int(index)] for label, index in zip(self.labels, prediction.decision[0], strict=True)}
        return FilePrediction(
            Path(path), (intake.pixels.shape[1], intake.pixels.shape[2]), self._named(prediction.probability[0]),
            self._named(prediction.logit[0]), decided,
        )  # fmt: skip

    def _named(self, row: Float32[np.ndarray, " P"]) -> dict[str, float]:
        return {column: float(value) for column, value in zip(self.columns, row, strict=True)}

    def _run(self, pixels: Float32[np.ndarray, "N C H W"]) -> Prediction:
        name = f"{self.path}: {MODEL}"
        if self._session is None:  # made when first needed: `info` needs none
            self._session = open_session(self.files.read(MODEL), name, self._providers, self._threads)
        return Prediction.from_outputs(run_session(self._session, name, OUTPUTS, pixels))
