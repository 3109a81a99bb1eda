"""A small package without torch: the mean of the image makes all outputs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from medai.core.label import Label
from medai.device.contract import InputContract
from medai.export.parity import OnnxRunner
from medai.export.record import PackageInput, package_record
from medai.export.vector import Vector, default_vectors
from medai.export.write import write_package

LABELS = (Label("nodule", "binary", ("no", "yes"), "a round shadow"), Label("view", "multiclass", ("ap", "pa", "lateral")))
THRESHOLDS = {"nodule": 0.5}
CONTRACT = InputContract(1, -1024.0, 3071.0, 50.0, ("DX", "CR"), ("CHEST",))
GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
predictor (float[N,{channels},H,W] {name}) => (float[N,4] probability, float[N,4] logit, int64[N,2] decision)
<int64[3] axes = {{1, 2, 3}}, int64[1] one = {{1}}, float[1,4] weight = {{0.004, 0.001, 0.002, -0.003}}, float[1,4] bias = {{-4, 0, -1, 1}},
 int64[1] s0 = {{0}}, int64[1] s1 = {{1}}, int64[1] s4 = {{4}}, float half = {{0.5}}>
{{
  mean = ReduceMean<keepdims = 0>({name}, axes)
  column = Unsqueeze(mean, one)
  scaled = Mul(column, weight)
  logit = Add(scaled, bias)
  first = Slice(logit, s0, s1, one)
  rest = Slice(logit, s1, s4, one)
  positive = Sigmoid(first)
  classes = Softmax<axis = 1>(rest)
  probability = Concat<axis = 1>(positive, classes)
  over = GreaterOrEqual(positive, half)
  yes = Cast<to = 7>(over)
  index = ArgMax<axis = 1>(classes)
  decision = Concat<axis = 1>(yes, index)
}}
"""


def phantom_pixels(index: int, shape: tuple[int, int, int], low: float, high: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng([seed, index])
    channels, height, width = shape
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    image = (
        0.3
        + 0.5 * generator.random() * np.sin(3 * rows + 5 * generator.random() * columns) ** 2
        + 0.1 * generator.random((channels, height, width))
    )
    pixels: np.ndarray = (low + np.clip(image, 0, 1) * (high - low)).astype(np.float32)
    return np.round(pixels) if high - low > 2 else pixels


def make_model(name: str = "pixels", channels: int = 1) -> bytes:
    data: bytes = onnx.parser.parse_model(GRAPH.format(name=name, channels=channels)).SerializeToString()
    return data


def make_package(folder: Path, model: bytes, contract: InputContract = CONTRACT, **changes: Any) -> Path:
    runner = OnnxRunner(make_model(channels=contract.channels), threads=1)
    vectors: list[Vector] = default_vectors(contract, LABELS, THRESHOLDS, runner, phantom_pixels=phantom_pixels)
    given = PackageInput("mean", LABELS, contract, THRESHOLDS, "the validation split, rule youden", created="2026-01-01T00:00:00+00:00")
    parity = {"cases": 0, "max_probability_difference": 0.0, "decision_flips": 0}
    record = package_record(given, parity, 18, 8) | changes
    return write_package(folder, model, record, vectors, [runner(vector.pixels) for vector in vectors])


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good package; not to be changed."""
    return make_package(tmp_path_factory.mktemp("packages") / "mean", make_model())


@pytest.fixture
def package(untouched: Path, tmp_path: Path) -> Path:
    """A copy of the package, to be spoiled."""
    return Path(shutil.copytree(untouched, tmp_path / "mean"))


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """Makes a package of another model, contract or record."""

    def make(model: bytes | None = None, contract: InputContract = CONTRACT, **changes: Any) -> Path:
        return make_package(tmp_path / "built", model or make_model(channels=contract.channels), contract, **changes)

    return make


@pytest.fixture(scope="session")
def model_bytes() -> Callable[..., bytes]:
    """The graph with another input name or number of channels."""
    return make_model


@pytest.fixture(scope="session")
def phantom() -> Callable[..., np.ndarray]:
    return phantom_pixels
