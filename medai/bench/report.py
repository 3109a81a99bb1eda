"""What a benchmark says: a table for people, a dictionary for programs, and advice in plain words."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from medai.bench.loading import InputFound
from medai.bench.network import ModelFound
from medai.bench.stage import Stage

BAR = 24  # characters
WIDTH = 100  # of a line of advice
SMALL = 0.005  # of a stall ratio: less is noise


@dataclass(frozen=True)
class Report:
    """All figures of one call.

    Attributes:
        facts: What was measured: data, network, batch, machine.
        input: Of the loader; None where it was not asked for.
        model: Of the network on synthetic tensors, likewise.
        train: Images a second of the whole training, likewise.
        advice: Sentences.
    """

    facts: dict[str, Any]
    input: InputFound | None = None
    model: ModelFound | None = None
    train: float | None = None
    advice: tuple[str, ...] = field(default=())

    @property
    def stall(self) -> float | None:
        """Share of the time in which the network waits: 1 - end-to-end rate / rate on synthetic tensors, not below 0."""
        if self.model is None or self.train is None:
            return None
        return max(0.0, 1 - self.train / self.model.rate)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: seconds a batch, images a second."""
        found: dict[str, Any] = {"facts": self.facts}
        if self.input:
            found["input"] = {
                "batch_images": self.input.batch_images,
                "stages": [asdict(stage) for stage in self.input.stages],
                "images_per_second": {str(workers): rate for workers, rate in self.input.rates.items()},
            }
        if self.model:
            found["model"] = {
                "batch_images": self.model.batch_images,
                "stages": [asdict(stage) for stage in self.model.stages],
                "images_per_second": self.model.rate,
                "gpu_memory_bytes": self.model.memory_bytes,
            }
        if self.train is not None:
            found["train"] = {"images_per_second": self.train, "stall_ratio": self.stall}
        return found | {"advice": list(self.advice)}

    def text(self) -> str:
        """For people."""
        parts = ["\n".join(f"{name:<12} {value}" for name, value in self.facts.items())]
        if self.input:
            parts.append(_table("Input, stage by stage in one process", self.input.stages, self.input.batch_images))
            rates = [f"  workers={workers:<4} {rate:>12,.0f} images/s" for workers, rate in self.input.rates.items()]
            parts.append("\n".join(["Input, ready for the network", *rates]))
        if self.model:
            parts.append(_table("Network on synthetic tensors", self.model.stages, self.model.batch_images))
        if self.model or self.train is not None:
            parts.append("\n".join(self._rates()))
        if self.advice:
            wrapped = [textwrap.fill(sentence, WIDTH, initial_indent="  - ", subsequent_indent="    ") for sentence in self.advice]
            parts.append("\n".join(["Advice", *wrapped]))
        return "\n\n".join(parts)

    def _rates(self) -> list[str]:
        lines = ["Training"]
        if self.model:
            lines.append(f"  synthetic tensors {self.model.rate:>12,.1f} images/s")
            if self.model.memory_bytes is not None:
                lines.append(f"  GPU memory        {self.model.memory_bytes / 2**30:>12,.1f} GiB")
        if self.train is not None and self.stall is not None:
            lines.append(f"  end to end        {self.train:>12,.1f} images/s")
            lines.append(f"  stall ratio       {self.stall:>12.1%}" + ("  (none)" if self.stall < SMALL else ""))
        return lines


def _table(title: str, stages: Sequence[Stage], images: int) -> str:
    whole = sum(stage.seconds for stage in stages)
    lines = [title, f"  {'stage':<30} {'ms/batch':>9} {'images/s':>11} {'share':>6}"]
    for stage in stages:
        share = stage.seconds / whole if whole else 0.0
        rate = f"{images / stage.seconds:>11,.0f}" if stage.seconds > 1e-6 else f"{'':>11}"
        lines.append(f"  {stage.name:<30} {1e3 * stage.seconds:>9.2f} {rate} {share:>6.0%}  {'█' * round(BAR * share)}")
    lines.append(f"  {'all, one after the other':<30} {1e3 * whole:>9.2f} {images / max(whole, 1e-9):>11,.0f}")
    return "\n".join(lines)
