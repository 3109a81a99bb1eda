"""A small predictor of every kind of label, with weights that give outputs spread over (0, 1).

A network fresh from its initialisation gives nearly the same output for every image; parity of that proves nothing. So
the statistics of its batch norm are gathered, and its last layer is scaled and centred on the images that it is tested with.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medai.core.label import Label
from medai.device.contract import InputContract
from medai.export import export
from medai.export.export import ExportResult, export_package
from medai.export.graph import export_graph
from medai.export.record import PackageInput
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.task.task import Decide, Head
from medai.training.predictor import Classifier, Predictor

LABELS = (
    Label("nodule", "binary", ("no", "yes"), "a round shadow"),
    Label("view", "multiclass", ("ap", "pa", "lateral")),
    Label("stage", "ordinal", ("0", "1", "2", "3")),
)
THRESHOLDS = {"nodule": 0.4}
LOW, HIGH = -1024.0, 3071.0
SIZES = ((83, 71), (28, 28), (131, 200), (64, 64), (90, 90), (90, 90))


class Network(nn.Module):
    """Two convolutions, as small as a network with batch norm can be."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.out = nn.Linear(16, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.features(images).mean(dim=(2, 3)))
        return result


def phantom_pixels(index: int, shape: tuple[int, int, int], low: float, high: float, seed: int = 0) -> np.ndarray:
    """Soft discs and noise."""
    generator = np.random.default_rng([seed, index])
    channels, height, width = shape
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    image = 0.02 * generator.normal(size=(channels, height, width))
    for _ in range(8):
        x, y, radius, depth = *generator.random(2), 0.05 + 0.3 * generator.random(), generator.normal()
        image += depth * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))
    image = (image - image.min()) / (image.max() - image.min())
    pixels: np.ndarray = (low + image * (high - low)).astype(np.float32)
    return np.round(pixels) if high - low > 2 else pixels


def make_images(count: int, channels: int = 1) -> list[tuple[str, np.ndarray]]:
    shapes = [(channels, *SIZES[index % len(SIZES)]) for index in range(count)]
    return [(f"case-{index}", phantom_pixels(1000 + index, shape, LOW, HIGH)) for index, shape in enumerate(shapes)]


def make_predictor(size: int = 28, channels: int = 1, method: str = "percentile", flip_average: bool = True) -> Predictor:
    torch.manual_seed(0)
    head = Head(LABELS)
    network = Network(channels, head.inputs)
    plan = PreprocessingPlan(ResizePlan(size, size + 4, channels), IntensityPlan(method, 1, 99))
    predictor = Predictor(plan, Classifier(network, head, flip_average), Decide(LABELS, [1.3, 0.8, 1.1], [0.4, 0.5, 0.5]))
    inputs = torch.cat([predictor.preprocessing(torch.from_numpy(image[None])) for _, image in make_images(24)])
    with torch.no_grad():
        for _ in range(20):
            network.train()(inputs)
        raw = network.eval()(inputs)
        network.out.weight.mul_((1.5 / raw.std(dim=0))[:, None])
        network.out.bias.zero_().sub_(network(inputs).mean(dim=0))
    return predictor.eval().requires_grad_(False)


def make_input(channels: int = 1) -> PackageInput:
    figure = {"value": 0.912, "low": 0.88, "high": 0.94, "n": 240, "method": "DeLong"}
    return PackageInput(
        "phantom-tiny", LABELS, InputContract(channels, LOW, HIGH, 50.0, ("DX", "CR"), ("CHEST",)), THRESHOLDS,
        "validation split of phantom-1a2b3c4d, rule youden", {"method": "temperature", "fitted_on": "validation"},
        hashes={"cohort": "c" * 64, "checkpoint": "d" * 64}, versions={"medai": "0.1.0"},
        data={"name": "phantom", "counts": {"train": 1000}},
        measured={"test": {"cases": 240, "confidence": 0.95, "labels": {"nodule": {"auroc": figure, "accuracy": figure}}}},
        limits=("Trained on simulated images only.",), created="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return make_predictor()


@pytest.fixture(scope="session")
def graph(predictor: Predictor) -> bytes:
    """Its exported graph."""
    return export_graph(predictor, 1)


@pytest.fixture(scope="session")
def exported(predictor: Predictor, graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """Its package, of the graph that is there already."""
    output = tmp_path_factory.mktemp("exported") / "phantom-tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "export_graph", lambda *arguments, **keywords: graph)
        return export_package(predictor, output, record=make_input(), parity_images=make_images(20))


@pytest.fixture(scope="session")
def images() -> Callable[..., list[tuple[str, np.ndarray]]]:
    return make_images


@pytest.fixture(scope="session")
def given() -> PackageInput:
    return make_input()


@pytest.fixture(scope="session")
def build() -> Callable[..., Predictor]:
    return make_predictor


@pytest.fixture(scope="session")
def phantom() -> Callable[..., np.ndarray]:
    return phantom_pixels


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "packages" / "phantom-tiny"
