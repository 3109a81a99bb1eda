"""The learning-rate range test: the rate grows over a hundred steps, and where the loss falls fastest is a good peak.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from medai.core.draw import draw_seed
from medai.core.error import MedaiError
from medai.core.progress import progress
from medai.evaluation.report.svg import Plot
from medai.model.freeze import freeze
from medai.training.data import Batch, loader
from medai.training.distributed import Group
from medai.training.optimizer import build_optimizer
from medai.training.precision import Precision, choose_precision
from medai.training.settings import TrainSettings
from medai.training.train import Material

STEPS = 100
RANGE_ADAPTIVE, RANGE_PLAIN = (1e-5, 1.0), (1e-4, 10.0)  # of optimisers that scale their steps themselves, and of others
WIDTH = 3.0  # steps: standard deviation of the Gaussian that smooths the losses
DIVERGED = 3.0  # times the span from the first to the lowest loss above the lowest: the test ends
FEWEST_STEPS = 12
STYLE = """\
text{font-family:system-ui,sans-serif;fill:#66727a}.tick{font-size:10.5px}.name{font-size:11.5px}.note{font-size:11px}\
polyline{fill:none}.grid{stroke:#edefef}.axis{stroke:#aab3b6}.curve{stroke:#0d6b75;stroke-width:2.2;stroke-linejoin:round}\
.raw{fill:#0d6b75;opacity:.3}.point{fill:#0d6b75}.threshold{stroke:#1d2529;stroke-width:1.2;stroke-dasharray:3 3}"""


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: Learning rate of each step.
        losses: Of each step's batch, before the step.
        smoothed: The losses, smoothed over neighbouring steps.
        steepest: Rate at which the smoothed loss falls fastest, in the logarithm of the rate.
        lowest: Rate at which the smoothed loss is lowest.
        suggestion: For the peak of a schedule.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    lowest: float
    suggestion: float

    @property
    def words(self) -> str:
        """For a sentence."""
        fall = f"from {self.smoothed[0]:.3f} to {min(self.smoothed):.3f} at {self.lowest:.1e}"
        return f"range test of {len(self.rates)} steps: the loss falls fastest at {self.steepest:.1e} ({fall})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def range_test(material: Material, settings: TrainSettings, steps: int = STEPS, device: torch.device | None = None) -> RangeTest:
    """Train with a growing learning rate, on training batches alone. The material's classifier is spent afterwards.

    Args:
        material: What the training is made of; see `medai.training.train.gather`.
        settings: Of the training: its optimiser, loss, augmentation and precision are those of the test.
        steps: Of the sweep from the lowest to the highest rate.
        device: Where to compute.

    Raises:
        MedaiError: the loss is not finite from the beginning.
    """
    device = device or torch.device("cpu")
    training = settings.training
    classifier = material.checkpoint.classifier.to(device).train()
    freeze(classifier.network, training.frozen, 0, training.frozen_epochs)
    optimizer = build_optimizer(training.optimizer, classifier, training.layer_decay)
    base = [float(group["lr"]) for group in optimizer.param_groups]
    low, high = RANGE_PLAIN if str(training.optimizer.get("_target_", "")).endswith(".SGD") else RANGE_ADAPTIVE
    sweep = np.geomspace(low, high, steps)
    precision = Precision(choose_precision(training.precision, training.accelerator), device)
    losses: list[float] = []
    with progress("Range test", steps, "steps") as bar:
        for rate, parts in zip(sweep, _batches(material, settings), strict=False):
            for group, own in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * own / max(base)
            torch.manual_seed(draw_seed(settings.seed, 0, len(losses), "range test") % 2**63)  # dropout
            value = sum(_backward(material, part.to(device), precision) for part in parts)
            if not math.isfinite(value) or _diverged([*losses, value]):
                break
            losses.append(value)
            if training.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(classifier.parameters(), training.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            bar.advance()
    if len(losses) < FEWEST_STEPS:
        raise MedaiError(f"the loss grew from the first of {steps} steps on, at a learning rate of {low:g}; give training.optimizer.lr by hand")
    return evaluate(sweep[: len(losses)], np.array(losses))


def _batches(material: Material, settings: TrainSettings) -> Iterator[list[Batch]]:
    """Batches in their parts, over as many epochs as are wanted."""
    batches = material.batches
    found = loader(material.train, batches, 0, False)
    while True:
        parts: list[Batch] = []
        for part in found:
            parts.append(part)
            if len(parts) == batches.parts:
                yield parts
                parts = []
        batches.epoch += 1


def _backward(material: Material, batch: Batch, precision: Precision) -> float:
    with precision.autocast():
        logit = material.checkpoint.classifier(material.prepare(batch))
    value = material.loss(logit, batch.mixture, batch.denominators)
    value.backward()  # type: ignore[no-untyped-call]
    return float(value.detach())


def _diverged(losses: list[float]) -> bool:
    """Whether the mean of the last losses lies far above the lowest."""
    if len(losses) < 2 * FEWEST_STEPS:
        return False
    means = np.convolve(losses, np.ones(5) / 5, "valid")
    return bool(means[-1] > means.min() + DIVERGED * max(means[0] - means.min(), 0.1 * means.min()))


def evaluate(rates: Float64[np.ndarray, " k"], losses: Float64[np.ndarray, " k"]) -> RangeTest:
    """Find the steepest descent.

    Args:
        rates: Growing.
        losses: At each rate.
    """
    smoothed = smooth(losses)
    lowest = int(smoothed.argmin())
    slope = np.gradient(smoothed, np.log(rates))
    steepest = int(slope[: max(lowest, 1)].argmin())
    return RangeTest(
        tuple(map(float, rates)), tuple(map(float, losses)), tuple(map(float, smoothed)),
        float(rates[steepest]), float(rates[lowest]), float(rates[steepest]),
    )  # fmt: skip


def smooth(values: Float64[np.ndarray, " k"], width: float = WIDTH) -> Float64[np.ndarray, " k"]:
    """A Gaussian mean over neighbouring values; unlike a running mean it does not lag behind."""
    places = np.arange(len(values))
    weights = np.exp(-(((places[:, None] - places[None, :]) / width) ** 2) / 2)
    result: Float64[np.ndarray, " k"] = weights @ values / weights.sum(axis=1)
    return result


def figure(test: RangeTest) -> str:
    """The test as an SVG file: the losses over the logarithm of the rate, and the suggestion."""
    x, smoothed = np.log10(test.rates), np.array(test.smoothed)
    low = float(min(smoothed)) - 0.05
    high = float(max(smoothed[0], smoothed[: smoothed.argmin() + 1].max())) * 1.1
    plot = Plot((math.floor(x[0]), math.ceil(x[-1])), (low, high), width=480, height=300)
    plot.axes("log10 of the learning rate", "Loss", range(math.floor(x[0]), math.ceil(x[-1]) + 1), list(np.round(np.linspace(low + 0.05, high, 5), 2)))
    inside = smoothed <= high
    for place, loss in zip(x, test.losses, strict=True):
        if low <= loss <= high:
            plot.dot(place, loss, "raw", 1.8)
    plot.line(x[inside], smoothed[inside], "curve")
    chosen = math.log10(test.suggestion)
    plot.line([chosen, chosen], [low, high], "threshold")
    plot.note(chosen, high, f"{test.suggestion:.1e}", shift=(6.0, 10.0))
    drawing = plot.svg(f"Range test: the loss falls fastest at a learning rate of {test.steepest:.1e}")
    head, _, rest = drawing.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def test_learning_rates(settings: TrainSettings, material: Material, group: Group = Group()) -> RangeTest:
    """A range test on the device that the training would use."""
    return range_test(material, settings, STEPS, group.device)
