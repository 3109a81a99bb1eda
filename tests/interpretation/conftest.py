"""Images whose class a bright square decides, and a small network that was taught so in a few seconds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medai.core.label import Label
from medai.model.network import residual_small
from medai.task.task import Head
from medai.training.predictor import Classifier

SIDE, SQUARE = 32, 8
SQUARE_LABEL = (Label("square", "binary", ("absent", "present")),)


@dataclass(frozen=True)
class Squares:
    """Noise with a bright square in every second image: images (N, 1, 32, 32), target (N,), where the square is (N, 32, 32)."""

    images: Tensor
    target: Tensor
    inside: np.ndarray

    @property
    def present(self) -> "Squares":
        """Only those with a square."""
        chosen = self.target == 1
        return Squares(self.images[chosen], self.target[chosen], self.inside[chosen.numpy()])


def make_squares(count: int, seed: int) -> Squares:
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.1 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    target, inside = torch.arange(count) % 2, np.zeros((count, SIDE, SIDE), dtype=bool)
    for index in np.flatnonzero(target.numpy()):
        row, column = torch.randint(0, SIDE - SQUARE, (2,), generator=generator).tolist()
        place = (slice(row, row + SQUARE), slice(column, column + SQUARE))
        images[index, 0][place] += 0.5
        inside[index][place] = True
    return Squares(images.clamp(0, 1), target, inside)


def make_classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(residual_small(1, 1, SIDE, SIDE, channels=8, blocks=1), Head(SQUARE_LABEL)).eval()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def squares() -> Squares:
    """Images that no network here was trained on."""
    return make_squares(32, 10_000)


@pytest.fixture(scope="session")
def _taught(squares: Squares) -> dict[str, Tensor]:
    classifier = make_classifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), 1e-2)
    for step in range(60):
        batch = make_squares(16, step)
        loss = nn.functional.binary_cross_entropy_with_logits(classifier.train()(batch.images)[:, 0], batch.target.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (classifier.eval()(squares.images)[:, 0] > 0) == (squares.target == 1)
    assert right.float().mean() > 0.9, "the network did not learn: its maps would prove nothing"
    return classifier.state_dict()


@pytest.fixture
def taught(_taught: dict[str, Tensor]) -> Classifier:
    """The taught network, a fresh copy for every test."""
    classifier = make_classifier()
    classifier.load_state_dict(_taught)
    return classifier
