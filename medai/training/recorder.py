"""What a training leaves behind while it runs: `metrics.jsonl`, the best checkpoint, the states, the MLflow run."""

import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from medai.core.file import atomic_file
from medai.core.progress import say
from medai.tracking.run import Tracker
from medai.training.checkpoint import Checkpoint
from medai.training.fit import EpochResult, summary
from medai.training.predictor import Classifier
from medai.training.state import save_state

Watch = Callable[[int, dict[str, float]], None]


class Metrics:
    """The file `metrics.jsonl`: a line a record. What is once written stays: a resumed training does not write it again.

    Lines with `epoch` are an epoch's, lines with `loss` those of some steps, and the last has the final model's figures.

    Args:
        path: The file; a last line that a kill has torn is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = [line for line in map(_parse, path.read_text(encoding="utf-8").splitlines()) if line] if path.exists() else []
        self._known = {_key(line) for line in self.lines}
        if path.exists():
            with atomic_file(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    def add(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """Append a line with the time; None where a line of its kind and step is there already."""
        if _key(line) in self._known:
            return None
        line = {"step": line["step"], "time": int(time.time() * 1000)} | line
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._known.add(_key(line))
        self.lines.append(line)
        return line


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and "step" in line else None


def _key(line: Mapping[str, Any]) -> tuple[str, int]:
    return "epoch" if "epoch" in line else "steps" if "loss" in line else "final", int(line["step"])


def figures_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a line."""
    return {key: float(value) for key, value in line.items() if key not in ("step", "time")}


@dataclass
class Recorder:
    """Writes what `Fit` tells. A disk that is full is told, and the training goes on.

    Attributes:
        folder: Of the run.
        checkpoint: Its labels, plan and record; saved with the best weights.
        tracker: The MLflow run.
        keep_states: So many states are kept.
        watch: Called with the step and the figures of each epoch; may raise `Pruned`.
    """

    folder: Path
    checkpoint: Checkpoint
    tracker: Tracker
    keep_states: int
    watch: Watch | None = None
    metrics: Metrics = field(init=False)
    pruned: str | None = None
    _unsaved: Checkpoint | None = None
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.folder / "metrics.jsonl")

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        self.record({"step": step} | metrics)

    def validated(self, result: EpochResult, classifier: Classifier) -> bool:
        if result.best:
            self.checkpoint.record["epoch"] = result.epoch
            self._save_best(replace(self.checkpoint, classifier=classifier))
        say(summary(result))
        self.record({"step": result.step, "epoch": result.epoch} | result.metrics)
        if self.watch is not None:
            try:
                self.watch(result.step, result.metrics)
            except Pruned as reason:
                self.pruned = str(reason)
        return self.pruned is not None

    def save(self, state: dict[str, Any]) -> None:
        if self._unsaved is not None:
            self._save_best(self._unsaved)
        self._guarded("the state", lambda: save_state(self.folder / "state", state, self.keep_states))

    def record(self, line: dict[str, Any]) -> None:
        """Write a line and send it to the tracking, unless it was written before."""

        def write() -> None:
            written = self.metrics.add(line)
            if written:
                self.tracker.metrics(figures_of(written), written["step"], written["time"])

        self._guarded("metrics.jsonl", write)

    def send_again(self) -> None:
        """Give the tracking every line: what it has already does not change."""
        for line in self.metrics.lines:
            self.tracker.metrics(figures_of(line), line["step"], line["time"])

    def _save_best(self, checkpoint: Checkpoint) -> None:
        saved = self._guarded("the checkpoint", lambda: checkpoint.save(self.folder / "checkpoint"))
        self._unsaved = None if saved else copy.deepcopy(checkpoint)

    def _guarded(self, what: str, write: Callable[[], object]) -> bool:
        try:
            write()
        except (OSError, SafetensorError) as error:
            if what not in self._told:
                say(f"{what} of {self.folder} cannot be written ({error}); the training goes on and tries again: make room")
            self._told.add(what)
            return False
        self._told.discard(what)
        return True


class Pruned(Exception):
    """A training that its sweep gives up."""
