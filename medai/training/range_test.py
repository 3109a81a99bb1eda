"""The learning-rate range test: the rate grows over a hundred steps, and the loss tells which rates are good.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3: where the loss falls is the range of
a cyclical rate, and where it slows or grows ragged is its peak.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from medai.core.draw import draw_seed
from medai.core.error import MedaiError
from medai.core.file import atomic_file, write_json
from medai.core.progress import progress
from medai.evaluation.report.svg import Plot
from medai.model.freeze import freeze
from medai.training.data import Batch, loader
from medai.training.distributed import ALONE, Group, connected
from medai.training.material import Material, gather
from medai.training.optimizer import build_optimizer
from medai.training.precision import Precision, choose_precision
from medai.training.settings import TrainSettings

STEPS = 100
RANGE_ADAPTIVE, RANGE_PLAIN = (1e-5, 1.0), (1e-4, 10.0)  # of optimisers that scale their steps themselves, and of others
WIDTH = 0.04  # of the steps: standard deviation of the Gaussian that smooths the losses
OF_FALL = 0.95  # of the way down to the lowest loss: there the fall has slowed; the lowest place itself is largely chance
MOST_ABOVE = 10.0  # times the steepest rate: where the loss of few cases still falls beyond, it falls for having seen them often
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
        steepest: Rate at which the smoothed loss falls fastest, in the logarithm of the rate: for a constant rate.
        slowing: Rate at which it has made 95 % of its fall, ten times the steepest at most: for the peak of a schedule.
        lowest: Rate at which it is lowest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    slowing: float
    lowest: float

    def suggestion(self, schedule: str) -> float:
        """The rate for the optimiser under a schedule of `medai.training.schedule`."""
        return self.steepest if schedule == "constant" else self.slowing

    @property
    def words(self) -> str:
        """For a sentence."""
        fall = f"{OF_FALL:.0%} of its fall from {self.smoothed[0]:.2f} to {min(self.smoothed):.2f} at {self.slowing:.1e}"
        return f"range test of {len(self.rates)} steps: the loss falls fastest at {self.steepest:.1e} and has made {fall}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def range_test(material: Material, settings: TrainSettings, steps: int = STEPS, group: Group = ALONE) -> RangeTest:
    """Train with a growing learning rate, on training batches alone. The material's classifier is spent afterwards.

    Args:
        material: What the training is made of; see `medai.training.train.gather`.
        settings: Of the training: its optimiser, loss, augmentation and precision are those of the test.
        steps: Of the sweep from the lowest to the highest rate.
        group: Has the device to compute on.

    Raises:
        MedaiError: the loss grows from the beginning.

    Example:
        >>> range_test(gather(settings), settings).slowing
        0.0021
    """
    training, classifier = settings.training, material.checkpoint.classifier.to(group.device).train()
    freeze(classifier.network, training.frozen, 0, training.frozen_epochs)
    optimizer = build_optimizer(training.optimizer, classifier, training.layer_decay)
    factors = [float(entry["lr"]) / float(training.optimizer.get("lr") or entry["lr"]) for entry in optimizer.param_groups]
    low, high = RANGE_PLAIN if type(optimizer) is torch.optim.SGD else RANGE_ADAPTIVE
    sweep = np.geomspace(low, high, steps)
    losses: list[float] = []
    with progress("Range test", steps, "steps") as bar:
        for rate, parts in zip(sweep, _batches(material), strict=False):
            for entry, factor in zip(optimizer.param_groups, factors, strict=True):
                entry["lr"] = rate * factor
            losses.append(_backward(material, parts, settings, group, len(losses)))
            if not math.isfinite(losses[-1]) or _diverged(losses):
                losses.pop()
                break
            if training.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(classifier.parameters(), training.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            bar.advance()
    if len(losses) < FEWEST_STEPS:
        what = f"the loss grew from the first of {steps} steps on, at a learning rate of {low:g}"
        raise MedaiError(f"{what}; look at the data and the intensity step, or give training.optimizer.lr by hand")
    return evaluate(sweep[: len(losses)], np.array(losses))


def _batches(material: Material) -> Iterator[list[Batch]]:
    """Batches in their parts, over as many epochs as are wanted."""
    batches = material.batches
    while True:
        parts: list[Batch] = []
        for part in loader(material.train, batches, 0, False):
            parts.append(part)
            if len(parts) == batches.parts:
                yield parts
                parts = []
        batches.epoch += 1


def _backward(material: Material, parts: list[Batch], settings: TrainSettings, group: Group, step: int) -> float:
    precision = Precision(choose_precision(settings.training.precision, settings.training.accelerator), group.device)
    torch.manual_seed(draw_seed(settings.seed, 0, step, "range test") % 2**63)  # dropout
    total = 0.0
    for part in parts:
        batch = part.to(group.device)
        with precision.autocast():
            logit = material.checkpoint.classifier(material.prepare(batch))
        value = material.loss(logit, batch.mixture, batch.denominators)
        value.backward()
        total += float(value.detach())
    return total


def _diverged(losses: list[float]) -> bool:
    """Whether the mean of the last losses lies far above the lowest."""
    if len(losses) < 2 * FEWEST_STEPS:
        return False
    means = np.convolve(losses, np.ones(5) / 5, "valid")
    return bool(means[-1] > means.min() + DIVERGED * max(means[0] - means.min(), 0.1 * means.min()))


def evaluate(rates: Float64[np.ndarray, " k"], losses: Float64[np.ndarray, " k"]) -> RangeTest:
    """Find where the loss falls fastest, where it slows and where it is lowest.

    Args:
        rates: Growing.
        losses: At each rate.
    """
    smoothed = smooth(losses)
    lowest = int(smoothed.argmin())
    slope = np.gradient(smoothed, np.log(rates))
    steepest = int(slope[: lowest + 1].argmin())
    slowed = smoothed <= smoothed[lowest] + (1 - OF_FALL) * (smoothed[: lowest + 1].max() - smoothed[lowest])
    slowing = min(max(steepest, int(slowed.argmax())), int(np.searchsorted(rates, MOST_ABOVE * rates[steepest], "right")) - 1)
    places = (float(rates[place]) for place in (steepest, slowing, lowest))
    return RangeTest(tuple(map(float, rates)), tuple(map(float, losses)), tuple(map(float, smoothed)), *places)


def smooth(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """A Gaussian mean over neighbouring values; unlike a running mean it does not lag behind."""
    places = np.arange(len(values)) / max(WIDTH * len(values), 2.0)
    weights = np.exp(-((places[:, None] - places[None, :]) ** 2) / 2)
    result: Float64[np.ndarray, " k"] = weights @ values / weights.sum(axis=1)
    return result


def figure(test: RangeTest) -> str:
    """The test as an SVG file: the losses over the logarithm of the rate, and the marked rates."""
    x, smoothed = np.log10(test.rates), np.array(test.smoothed)
    lowest = int(smoothed.argmin())
    span = float(smoothed[: lowest + 1].max() - smoothed[lowest]) or 1.0
    low, high = float(smoothed[lowest]) - 0.25 * span, float(smoothed[lowest]) + 1.3 * span
    ends = math.floor(x[0] + 0.01), math.ceil(x[-1] - 0.01)
    plot = Plot(ends, (low, high), width=480, height=300, left=52)
    plot.axes("log10 of the learning rate", "Loss of a batch", range(ends[0], ends[1] + 1), _ticks(low, high))
    for place, loss in zip(x, test.losses, strict=True):
        if low <= loss <= high:
            plot.dot(place, loss, "raw", 1.8)
    shown = np.flatnonzero(smoothed > high)
    end = next((int(place) for place in shown if place > lowest), len(x))
    plot.line(x[:end], smoothed[:end], "curve")
    for rate, words, height, from_here in ((test.steepest, "falls fastest", 10.0, 0.3), (test.slowing, "95 % of the fall", 26.0, 0.65)):
        place = math.log10(rate)
        left = (place - ends[0]) / (ends[1] - ends[0]) > from_here  # the words stand where there is room
        plot.line([place, place], [low, high], "threshold")
        plot.note(place, high, f"{rate:.1e} {words}", anchor="end" if left else "start", shift=(-6.0 if left else 6.0, height))
    drawing = plot.svg(f"{test.words}.")
    head, _, rest = drawing.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


def _ticks(low: float, high: float) -> list[float]:
    """About four round values inside a range."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def record_range_test(settings: TrainSettings) -> tuple[Path, RangeTest]:
    """A range test on its own: writes `range_test.svg` and `range_test.json` into the run's folder, and gives the folder.

    Raises:
        MedaiError: the data or the configuration do not allow it.
    """
    folder = Path(settings.folder or Path(settings.runs) / (settings.name or "range-test"))
    with connected(settings.training.accelerator, settings.training.timeout_seconds) as group:
        found = range_test(gather(settings, group), settings, group=group)
    with atomic_file(folder / "range_test.svg") as temporary:
        temporary.write_text(figure(found), encoding="utf-8")
    write_json(folder / "range_test.json", found.to_dict())
    return folder, found
