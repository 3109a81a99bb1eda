"""medai.export.export: a proved package, or nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.device.contract import InputContract
from medai.device.package import Package
from medai.device.tensor_proto import read_tensor
from medai.device.verify import verify
from medai.export import export
from medai.export.export import ExportResult, export_package
from medai.export.parity import ParityTable
from medai.export.record import PackageInput
from medai.export.vector import CLEARANCE, clearance
from medai.training.predictor import Predictor

Images = Callable[..., list[tuple[str, np.ndarray]]]


class Biased(nn.Module):
    """Another model than the one that is exported."""

    def __init__(self, predictor: nn.Module, probability: float = 0.0, flip: bool = False) -> None:
        super().__init__()
        self.predictor, self.probability, self.flip = predictor, probability, flip

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        probability, logit, decision = self.predictor(pixels)
        return probability + self.probability, logit, 1 - decision if self.flip else decision


@pytest.fixture
def other_model(monkeypatch: pytest.MonkeyPatch, graph: bytes) -> None:
    """The exporter gives the graph of the unbiased predictor, whatever it is asked to export."""
    monkeypatch.setattr(export, "export_graph", lambda *arguments, **keywords: graph)


def test_outputs_are_spread_so_that_parity_proves_something(exported: ExportResult) -> None:
    probability = exported.table.torch.probability[:, 0]
    assert probability.min() < 0.2 < 0.8 < probability.max()
    assert len(set(exported.table.torch.decision[:, 0])) == 2


def test_parity_on_native_pixels_holds_and_is_recorded(exported: ExportResult) -> None:
    assert exported.parity.cases == 20
    assert exported.parity.max_probability_difference <= 1e-5
    assert exported.parity.decision_flips == 0
    recorded = Package.load(exported.path).record["parity"]
    assert recorded == exported.parity.to_dict()
    assert recorded["worst_case"].startswith("case-")


def test_the_package_predicts_what_torch_predicts(exported: ExportResult, predictor: Predictor, images: Images) -> None:
    package = Package.load(exported.path, threads=1)
    for _, image in images(6):
        probability, _, decision = predictor(torch.from_numpy(image[None]))
        found = package.predict(image[None])
        np.testing.assert_allclose(found.probability, probability.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.decision, decision.numpy())


def test_the_package_verifies(exported: ExportResult) -> None:
    result = verify(exported.path, threads=1, write=lambda line: None)
    assert len(result.vectors) == exported.vectors >= 8
    assert len({vector.shape[2:] for vector in result.vectors}) >= 8
    assert [vector.source for vector in result.vectors].count("source.dcm") == 4


def test_vectors_are_clear_of_the_thresholds(exported: ExportResult, given: PackageInput) -> None:
    for folder in (exported.path / "vectors").glob("test_data_set_*"):
        probability = read_tensor((folder / "output_0.pb").read_bytes()).array
        assert clearance(probability, given.labels, given.thresholds) >= CLEARANCE


def test_package_json_names_what_an_auditor_asks_for(exported: ExportResult) -> None:
    record = json.loads((exported.path / "package.json").read_text())
    assert record["schema_version"] == "1.0"
    assert record["outputs"]["probability"]["columns"][0] == "nodule"
    assert record["outputs"]["decision"] == {"dtype": "int64", "columns": ["nodule", "view", "stage"]}
    assert record["thresholds"] == {"nodule": 0.4}
    assert record["input"]["value_range"] == [-1024, 3071]
    assert record["onnx"] == {"opset": 18, "ir_version": 8}
    assert record["hashes"]["cohort"] == "c" * 64
    assert len(record["input"]["steps"]) >= 5
    assert record["vectors"] == {"count": 9, "origin": "phantom"}


@pytest.mark.usefixtures("other_model")
def test_further_parity_sees_the_outputs_and_is_recorded(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    def view(table: ParityTable) -> dict[str, object]:
        return {"view": {"cases": len(table.case_ids), "auc_difference": 0.0}}

    export_package(predictor, output, record=given, parity_images=images(2), further_parity=view)
    assert Package.load(output).record["parity"]["view"] == {"cases": 2, "auc_difference": 0.0}


def test_a_colour_model_has_png_sources(build: Callable[..., Predictor], output: Path, given: PackageInput, images: Images) -> None:
    colour = replace(given, contract=InputContract(3, -63.75, 318.75))
    pictures = [(name, np.clip(np.abs(image) / 12, 0, 255)) for name, image in images(2, channels=3)]
    export_package(build(channels=3), output, record=colour, parity_images=pictures)
    assert {vector.source for vector in verify(output, write=lambda line: None).vectors} == {"", "source.png"}


# The gate


@pytest.mark.usefixtures("other_model")
def test_a_difference_from_torch_writes_nothing(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    message = r"no package is written: ONNX differs from torch by 2\.\d+e-05 in probability at case case-\d+ \(3 cases\), allowed 1e-05"
    with pytest.raises(MedaiError, match=message):
        export_package(Biased(predictor, probability=2e-5), output, record=given, parity_images=images(3))
    assert not output.exists()
    assert not output.parent.exists() or not list(output.parent.iterdir())


@pytest.mark.usefixtures("other_model")
def test_a_decision_that_flips_writes_nothing(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    with pytest.raises(
        MedaiError,
        match=r"no package is written: \d+ decisions of 3 cases flip .* first nodule of case case-0 \(probability .*, threshold 0\.4\)",
    ):
        export_package(Biased(predictor, flip=True), output, record=given, parity_images=images(3))
    assert not output.exists()


@pytest.mark.usefixtures("other_model")
def test_a_probability_that_is_no_number_writes_nothing(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    with pytest.raises(MedaiError, match="a probability is not finite, first at case case-0"):
        export_package(Biased(predictor, probability=float("nan")), output, record=given, parity_images=images(3))
    assert not output.exists()


@pytest.mark.usefixtures("other_model")
def test_without_images_nothing_is_written(predictor: Predictor, output: Path, given: PackageInput) -> None:
    with pytest.raises(MedaiError, match="no images to prove parity on"):
        export_package(predictor, output, record=given, parity_images=[])
    assert not output.exists()


@pytest.mark.usefixtures("other_model")
def test_fewer_than_eight_vectors_are_refused(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    with pytest.raises(MedaiError, match="needs at least 8 vectors, got 0"):
        export_package(predictor, output, record=given, parity_images=images(1), vectors=[])
    assert not output.exists()


def test_a_package_that_is_there_is_not_overwritten(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    output.mkdir(parents=True)
    with pytest.raises(MedaiError, match="exists already"):
        export_package(predictor, output, record=given, parity_images=images(1))


@pytest.mark.usefixtures("other_model")
def test_equal_exports_give_equal_bytes(predictor: Predictor, output: Path, given: PackageInput, images: Images) -> None:
    hashes = set()
    for name in ("a", "b"):
        hashes.add(Package.load(export_package(predictor, output / name, record=given, parity_images=images(3)).path).hash)
    assert len(hashes) == 1


def test_a_binary_label_without_a_threshold_is_refused(given: PackageInput) -> None:
    with pytest.raises(MedaiError, match="label 'effusion' has no threshold"):
        replace(given, labels=(Label("effusion", "binary", ("no", "yes")),))
