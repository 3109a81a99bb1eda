"""A model that is not ours, run as its contract says: the same steps around ONNX Runtime and around torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32, Shaped

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.inference.candidate import Outputs
from medai.inference.contract import ACTIVATIONS, SCALED, VendorContract
from medai.inference.vendor_input import Prepared, arranged, prepared
from medai.inference.vendor_output import read_outputs

BATCH_VALUES = 4_000_000  # of one call: an input of 3 x 224 x 224 goes 26 at a time
MUCH_CLIPPED = 0.9
LITTLE_USED = 0.05


class Runner(Protocol):
    """What runs the network itself.

    Attributes:
        kind: ``"onnx"`` or ``"torch"``.
        channels: Of the image.
        dtype: numpy's name of the input's type.
        batch: The only number of images that it takes at once; None for any.
        facts: For people.
        doubts: What looks half right before any image.
    """

    kind: str
    channels: int
    dtype: str
    batch: int | None
    facts: dict[str, str]

    @property
    def doubts(self) -> Sequence[str]: ...

    def run(self, batch: Shaped[np.ndarray, "..."]) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The outputs that the contract names, by name."""


class VendorCandidate:
    """A stranger's model behind the interface of `medai.inference.candidate.Candidate`.

    Args:
        path: The file of the model.
        contract: How to call it.
        runner: Runs it.
        hashes: SHA-256 of every file of the model, by name.

    Example:
        >>> candidate = open_candidate("vendor.onnx", contract=Path("vendor.yaml"))
        >>> candidate.predict(candidate.prepare(pixels)[None]).probability
        array([[0.83]])
    """

    seen = "train"

    def __init__(self, path: Path, contract: VendorContract, runner: Runner, hashes: Mapping[str, str]) -> None:
        self.path, self.kind, self.contract = path, runner.kind, contract
        self.labels = tuple(entry.label for entry in contract.labels)
        self.thresholds, self.threshold_source, self.intended_use = contract.frozen, contract.origin, contract.intended_use
        self.hash = hash_text(canonical_json({"model": dict(hashes), "contract": contract.hash}))
        self.cohort: tuple[str, str, str | None] = ("", "", None)
        facts = {"Name": contract.name, "Contract": f"{contract.path.name} {contract.hash[:16]}"}
        self.facts = facts | runner.facts
        contract.input.check_channels(runner.channels)
        contract.input.check_dtype(runner.dtype)
        self._accepted = contract.input.accepted(runner.channels)
        self._runner = runner
        self._raw: dict[str, tuple[float, float]] = {}
        self._clipped: list[float] = []
        self._used: list[float] = []

    def prepare(self, pixels: Shaped[np.ndarray, "C H W"]) -> Float32[np.ndarray, "C H W"]:
        """Bring one image to the model's channels.

        Raises:
            Refusal: colour for a grey model, values beyond the contract's range, or too little contrast.
        """
        image = self._accepted.to_input(pixels)
        self._accepted.check_values(image)
        return image

    def view(self, pixels: Float32[np.ndarray, "C H W"]) -> Float32[np.ndarray, "c h w"]:
        """The image as the model sees it: its size, its values, its order of colours."""
        return self._prepared(pixels).values

    def describe(self, pixels: Float32[np.ndarray, "C H W"]) -> Prepared:
        """The image as the model sees it, with what was cut off of it."""
        return prepared(pixels, self.contract.input)

    def raw(self, images: Float32[np.ndarray, "N c h w"]) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The model's own outputs, before activation and order, for images as it sees them."""
        step = self._step(images[0])
        parts = [self._run(images[start : start + step], step) for start in range(0, len(images), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def predict(self, pixels: Float32[np.ndarray, "N C H W"]) -> Outputs:
        """Predict from native modality values.

        Raises:
            MedaiError: the model failed, or its outputs are not as the contract says.
        """
        first = self._prepared(pixels[0]).values
        step, parts = self._step(first), []
        for start in range(0, len(pixels), step):  # prepared images are often far larger than stored ones
            views = [
                first if start + place == 0 else self._prepared(image).values for place, image in enumerate(pixels[start : start + step])
            ]
            parts.append(self._run(np.stack(views), step))
        raw = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        try:
            outputs = read_outputs(raw, self.contract, len(pixels))
        except MedaiError as error:
            raise MedaiError(f"{self.contract.path}: {error}") from None
        for name, values in raw.items():
            low, high = self._raw.get(name, (np.inf, -np.inf))
            self._raw[name] = min(low, float(values.min())), max(high, float(values.max()))
        return outputs

    def _step(self, image: Float32[np.ndarray, "c h w"]) -> int:
        """How many images go into one call."""
        if "N" not in self.contract.input.layout:
            return 1
        return self._runner.batch or max(1, BATCH_VALUES // image.size)

    def doubts(self) -> list[str]:
        """What looks as though the contract were half right, of all images that were predicted."""
        doubts = [*self._runner.doubts, *self._doubts_of_input()]
        for name, (low, high) in self._raw.items():
            applied = {entry.activation for entry in self.contract.labels if entry.output in (None, name)} - {ACTIVATIONS[0]}
            if applied and low >= 0 and high <= 1:
                what = f"Every value of the output {name!r} lies in [{low:.3g}, {high:.3g}], and the contract applies {min(applied)} to it"
                doubts.append(f"{what}: if the model has done so itself, activation is none.")
        return doubts

    def _doubts_of_input(self) -> list[str]:
        if not self._clipped:
            return []
        doubts, given = [], self.contract.input.intensity
        clipped, used = float(np.median(self._clipped)), max(float(np.median(self._used)), 0.001)
        if given.method in SCALED and clipped > MUCH_CLIPPED:
            doubts.append(f"In half of the images {min(clipped, 0.99):.0%} or more of the pixels lie beyond the window and are cut off.")
        if given.method in SCALED and used < LITTLE_USED:
            doubts.append(f"Half of the images fill {used:.1%} or less of the model's scale: the window may be of another range.")
        return doubts

    def _prepared(self, pixels: Float32[np.ndarray, "C H W"]) -> Prepared:
        found = self.describe(pixels)
        self._clipped.append(found.clipped_low + found.clipped_high)
        self._used.append(found.used)
        return found

    def _run(self, part: Float32[np.ndarray, "n c h w"], step: int) -> dict[str, Shaped[np.ndarray, "..."]]:
        """One call. A model of a fixed batch gets the last image again, until its batch is full."""
        count = len(part)
        if self._runner.batch and count < step:
            part = np.concatenate([part, np.repeat(part[-1:], step - count, axis=0)])
        try:
            outputs = self._runner.run(arranged(part, self.contract.input, self._runner.dtype))
        except MedaiError as error:
            raise MedaiError(f"{self.path}: {error}") from None
        if "N" not in self.contract.input.layout:
            return {name: np.asarray(values).reshape(1, -1) for name, values in outputs.items()}
        for name, values in outputs.items():
            if np.ndim(values) == 0 or len(values) != len(part):
                shape = np.shape(values)
                raise MedaiError(f"{self.contract.path}: output {name!r} has shape {shape} for {len(part)} images; expected a row an image")
        return {name: values[:count] for name, values in outputs.items()}
