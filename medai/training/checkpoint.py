"""The checkpoint: a directory with the weights (safetensors) and a JSON record of all that is needed to use them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from medai.core.error import MedaiError
from medai.core.file import atomic_directory, canonical_json, hash_file, hash_text, read_json
from medai.core.label import Label
from medai.evaluation.calibrator import Calibrator
from medai.model.network import build_network
from medai.preprocessing.plan import PreprocessingPlan
from medai.task.calibrate import Calibrate
from medai.task.task import Decide, Head
from medai.training.predictor import Classifier, Ensemble, Predictor
from medai.training.test_time import named

SCHEMA_VERSION = "1.1"  # 1.0 had `flip_average`, true or false, in the place of `test_time`
CALIBRATED_VERSION = "2.0"  # with `calibrators`, which a reader of 1.1 would leave out without a word
ENSEMBLE = "medai.training.predictor.Ensemble"  # `_target_` of a model node that has `members`


@dataclass
class Checkpoint:
    """A trained model with its labels, preprocessing, calibration and thresholds.

    Attributes:
        labels: What it predicts, in the order of its outputs.
        plan: Resize and intensity.
        model: Configuration node of the network; of an ensemble, `ENSEMBLE` with a node, variants and temperatures a member.
        variants: Of the image, over which the logits are averaged; see `medai.training.test_time`.
        classifier: The network with its weights.
        temperatures: Per label name; 1 leaves the logits as they are.
        calibrators: Per name of the binary labels that have a line or a curve in the place of a temperature.
        thresholds: Per label name; of binary labels, in calibrated probability.
        record: Cohort, seed, code, versions, validation figures and how the thresholds were chosen.
    """

    labels: tuple[Label, ...]
    plan: PreprocessingPlan
    model: dict[str, Any]
    variants: tuple[str, ...]
    classifier: Classifier
    temperatures: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    hash: str = ""
    calibrators: dict[str, Calibrator] = field(default_factory=dict)

    @staticmethod
    def fresh(
        labels: tuple[Label, ...], plan: PreprocessingPlan, model: Mapping[str, Any], variants: Sequence[str] | bool = ()
    ) -> "Checkpoint":
        """An untrained model.

        Args:
            labels: What it is to predict.
            plan: Resize and intensity.
            model: Configuration node of the network, or of an ensemble.
            variants: Of the image, over which the logits are averaged; True is the mirror image alone.

        Raises:
            MedaiError: no such network or variant, or they do not fit the images.
        """
        return Checkpoint(labels, plan, dict(model), named(variants), _classifier(labels, plan, model, variants))

    @property
    def members(self) -> tuple[Mapping[str, Any], ...]:
        """The nodes of an ensemble's members; none of another model."""
        return tuple(self.model["members"]) if self.model.get("_target_") == ENSEMBLE else ()

    @property
    def _curved(self) -> bool:
        return bool(self.calibrators) or any(member.get("calibrators") for member in self.members)

    @property
    def cross_validated(self) -> bool:
        """Whether it is a fold of a cross-validation, or an ensemble of folds: then it knows cases of the cohort's validation split."""
        return bool(self.record.get("fold")) or self.record.get("thresholds", {}).get("split") == "development"

    def predictor(self) -> Predictor:
        """The whole chain, ready to predict or to export."""
        thresholds = [self.thresholds.get(label.name, 0.5) for label in self.labels]
        predictor = Predictor(
            self.plan, self.classifier, Decide(self.labels, _ordered(self.labels, self.temperatures), thresholds, self.calibrators)
        )
        return predictor.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically, in place of an older one."""
        with atomic_directory(path, replaces="checkpoint.json") as folder:
            weights = {name: value.detach().cpu().contiguous() for name, value in self.classifier.state_dict().items()}
            save_file(weights, folder / "model.safetensors")
            description = {
                "schema_version": CALIBRATED_VERSION if self._curved else SCHEMA_VERSION,
                "labels": [label.to_dict() for label in self.labels],
                "preprocessing": self.plan.to_dict(),
                "model": self.model,
                "test_time": list(self.variants),
                "temperatures": self.temperatures,
                **({"calibrators": {name: one.to_dict() for name, one in self.calibrators.items()}} if self.calibrators else {}),
                "thresholds": self.thresholds,
                "weights_sha256": hash_file(folder / "model.safetensors"),
                "record": self.record,
            }
            text = json.dumps(description | {"hash": hash_text(canonical_json(description))}, indent=2, ensure_ascii=False, allow_nan=False)
            (folder / "checkpoint.json").write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path, *, finished: bool = True) -> "Checkpoint":
        """Read a checkpoint directory, or the one in a run's directory.

        Args:
            path: The directory.
            finished: Refuse a checkpoint whose training has not ended: nothing is calibrated and frozen in it yet.

        Raises:
            MedaiError: there is none, it is damaged or unfinished, or it was written by a newer major version.
        """
        folder = path / "checkpoint" if (path / "checkpoint").is_dir() else path
        if not (folder / "checkpoint.json").is_file():
            raise MedaiError(f"{path} holds no checkpoint; give a run's directory or one with a checkpoint.json")
        description = read_json(folder / "checkpoint.json")
        version = str(description.get("schema_version", "?"))
        if version.split(".")[0] not in (SCHEMA_VERSION.split(".")[0], CALIBRATED_VERSION.split(".")[0]):
            raise MedaiError(f"{path} has checkpoint schema {version}, this medai reads {CALIBRATED_VERSION}; install a matching medai")
        digest = description.pop("hash", None)
        if digest != hash_text(canonical_json(description)) or description["weights_sha256"] != hash_file(folder / "model.safetensors"):
            raise MedaiError(f"{folder} was changed after it was written (its hash does not match); use an untouched copy")
        if finished and "thresholds" not in description["record"]:
            raise MedaiError(f"the training of {path} did not finish, so its thresholds are not frozen; train again")
        return _from_description(description, folder / "model.safetensors", digest)


def threshold_source(frozen: Mapping[str, Any], cohort: str) -> str:
    """Where the thresholds come from, in words."""
    assumed = f"; 0.5 assumed for {', '.join(frozen['assumed'])} (one class only there)" if frozen.get("assumed") else ""
    return f"{frozen.get('part', 'validation split')} of {cohort} ({frozen['cases']} cases), rule {frozen['rule']}{assumed}"


def _from_description(description: dict[str, Any], weights: Path, digest: str) -> Checkpoint:
    labels = tuple(Label.from_dict(value) for value in description["labels"])
    plan = PreprocessingPlan.from_dict(description["preprocessing"])
    variants = description["test_time"] if "test_time" in description else description["flip_average"]
    checkpoint = Checkpoint.fresh(labels, plan, description["model"], variants)
    try:
        checkpoint.classifier.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise MedaiError(f"{weights} does not fit its network: {str(error).splitlines()[0]}") from None
    checkpoint.temperatures, checkpoint.thresholds = description["temperatures"], description["thresholds"]
    checkpoint.calibrators = {name: Calibrator.from_dict(value) for name, value in description.get("calibrators", {}).items()}
    checkpoint.record, checkpoint.hash = description["record"], digest
    return checkpoint


def _classifier(labels: tuple[Label, ...], plan: PreprocessingPlan, model: Mapping[str, Any], variants: Sequence[str] | bool) -> Classifier:
    size = plan.resize
    if "rotate90" in named(variants) and size.height != size.width:
        raise MedaiError(f"the variant rotate90 needs square images, preprocessing makes {size.height} x {size.width} pixels of them")
    if model.get("_target_") == ENSEMBLE:
        return Classifier(_ensemble(labels, plan, model["members"]), nn.Identity(), variants)
    head = Head(labels)
    network = build_network(model, in_channels=size.channels, out_channels=head.inputs, height=size.height, width=size.width)
    return Classifier(network, head, variants)


def _ensemble(labels: tuple[Label, ...], plan: PreprocessingPlan, members: Sequence[Mapping[str, Any]]) -> Ensemble:
    """The members' heads are in it: what it gives are logits already."""
    classifiers = [_classifier(labels, plan, member["model"], member["test_time"]) for member in members]
    columns = [[value for label, value in zip(labels, _ordered(labels, member["temperatures"]), strict=True) for _ in label.columns]
               for member in members]  # fmt: skip
    return Ensemble(classifiers, torch.tensor(columns, dtype=torch.float32), _calibrations(labels, members))


def _calibrations(labels: tuple[Label, ...], members: Sequence[Mapping[str, Any]]) -> list[Calibrate]:
    """None where every member has temperatures alone."""
    if not any(member.get("calibrators") for member in members):
        return []
    return [
        Calibrate(
            labels,
            {name: Calibrator("temperature", value) for name, value in member["temperatures"].items()}
            | {name: Calibrator.from_dict(value) for name, value in member.get("calibrators", {}).items()},
        )
        for member in members
    ]


def _ordered(labels: Sequence[Label], temperatures: Mapping[str, float]) -> list[float]:
    return [temperatures.get(label.name, 1.0) for label in labels]
