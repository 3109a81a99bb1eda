"""What a package says of its model beside the graph: the caller's knowledge, and package.json made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from medai.core.error import MedaiError
from medai.core.label import Label, columns_of
from medai.device.contract import InputContract
from medai.device.record import OUTPUTS, SCHEMA_VERSION

INTENDED_USE = "Research use only. Not a medical device: not for diagnosis, treatment or triage of patients."


@dataclass(frozen=True)
class PackageInput:
    """What only the caller knows. Everything is data: it is written as it is, and nothing in it is run.

    Attributes:
        name: Of the model, e.g. ``"pneumonia-resnet18"``.
        labels: What it predicts, in the order of its outputs.
        contract: What it accepts.
        thresholds: Per binary label, the probability from which it decides 1.
        threshold_source: Where they were frozen, e.g. ``"validation split of phantom-1a2b3c4d, rule youden"``.
        calibration: E.g. ``{"method": "temperature", "temperatures": {"pneumonia": 1.3}, "fitted_on": "validation"}``.
        preprocessing: The plan of resize and intensity, for people; the graph holds it.
        hashes: Of ``cohort``, ``checkpoint``, ``code`` (git commit), …
        versions: Of medai, torch, onnx, ….
        intended_use: One or two sentences.
        measured: Split -> the metrics of `medai.evaluation`, e.g.
            ``{"test": {"cases": 624, "labels": {label: {figure: {value, low, high, n, method}}}}}``.
        data: The data set: ``name``, ``description``, ``licence``, ``url``, ``counts``, ….
        limits: Sentences on what the model cannot do.
        created: ISO 8601 in UTC; empty takes the present.
    """

    name: str
    labels: tuple[Label, ...]
    contract: InputContract
    thresholds: Mapping[str, float]
    threshold_source: str
    calibration: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    measured: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    created: str = ""

    def __post_init__(self) -> None:
        missing = [label.name for label in self.labels if label.kind == "binary" and label.name not in self.thresholds]
        if missing:
            raise MedaiError(f"label {missing[0]!r} has no threshold; a package decides by a threshold that was frozen on validation")
        if not self.created:
            object.__setattr__(self, "created", datetime.now(UTC).isoformat(timespec="seconds"))


def package_record(given: PackageInput, parity: Mapping[str, Any], opset: int, ir_version: int) -> dict[str, Any]:
    """The content of package.json.

    Args:
        given: From the caller.
        parity: Figures of the comparison with torch.
        opset: Of the graph.
        ir_version: Of the graph.
    """
    columns = list(columns_of(given.labels))
    names = [label.name for label in given.labels]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": given.name,
        "created": given.created,
        "intended_use": given.intended_use,
        "labels": [label.to_dict() for label in given.labels],
        "input": given.contract.to_dict(),
        "outputs": {
            output: {"dtype": "int64" if output == "decision" else "float32", "columns": names if output == "decision" else columns}
            for output in OUTPUTS
        },
        "preprocessing": dict(given.preprocessing),
        "thresholds": dict(given.thresholds),
        "threshold_source": given.threshold_source,
        "calibration": dict(given.calibration),
        "measured": dict(given.measured),
        "parity": dict(parity),
        "data": dict(given.data),
        "limits": list(given.limits),
        "hashes": dict(given.hashes),
        "versions": dict(given.versions),
        "onnx": {"opset": opset, "ir_version": ir_version},
    }
