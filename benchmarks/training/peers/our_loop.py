"""medai's own loop with what a training has: records in metrics.jsonl and MLflow, the progress bar, the checks, the seeds."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medai.core.label import Label
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.store.view import Encoding
from medai.task.target import Target
from medai.task.task import Loss
from medai.tracking.run import start_run
from medai.tracking.settings import TrackingSettings
from medai.training.checkpoint import Checkpoint
from medai.training.data import Batch, BatchKey, EpochBatches
from medai.training.fit import Fit
from medai.training.predictor import Classifier
from medai.training.prepare import Prepare
from medai.training.recorder import Recorder
from medai.training.settings import TrainingSettings
from training.problem import LEARNING_RATE, LOG_STEPS, Problem

LABEL = Label("finding", "binary", ("no", "yes"))
ENCODING, INTENSITY = Encoding("uint8"), IntensityPlan("window", 0, 255)


@dataclass
class _View:
    """What `Fit` asks of a view."""

    encoding: Encoding = ENCODING


class Memory(Dataset[Batch]):
    """The problem's batches in the place of `Images`: ready floats, as the other loops get them."""

    plan, view = INTENSITY, _View()

    def __init__(self, problem: Problem, loss: Loss, count: int) -> None:
        self.count = count
        self.target = torch.stack([classes for _, classes in problem.batches]).flatten()[:count, None].numpy()
        self._batches = [self._batch(images, classes, loss) for images, classes in problem.batches]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: BatchKey) -> Batch:
        batch = self._batches[key.position // len(self._batches[0]) % len(self._batches)]
        return (
            batch if len(key.rows) == len(batch) else Batch(batch.images[: len(key.rows)], batch.mixture, batch.denominators, batch.seeds)
        )

    @staticmethod
    def _batch(images: Tensor, classes: Tensor, loss: Loss) -> Batch:
        target = Target(classes[:, None], None, True)  # as `Images` marks it, where no label is unknown
        return Batch(images, (target,), loss.denominators(target), None)  # type: ignore[arg-type]


def run(problem: Problem) -> float:
    """Steps a second."""
    network, loss = problem.network(), Loss((LABEL,))
    images = problem.batches[0][0]
    settings = TrainingSettings(
        epochs=1, batch_size=len(images), max_steps=problem.steps, optimizer={"_target_": "torch.optim.AdamW", "lr": LEARNING_RATE},
        schedule="constant", warmup=0.0, gradient_clip=None, log_steps=LOG_STEPS, channels_last=problem.channels_last, monitor="last",
        precision="32-true", accelerator="cpu",
    )  # fmt: skip
    batches = EpochBatches(problem.steps * len(images), len(images), 0)
    classifier = Classifier(network, nn.Identity())
    with tempfile.TemporaryDirectory(dir=problem.work) as folder:
        recorder = _recorder(problem.work, Path(folder), classifier, images)
        fit = Fit((LABEL,), settings, 0, 0)
        training: Any = Memory(problem, loss, problem.steps * len(images))
        validation: Any = Memory(problem, loss, len(images))
        prepare = Prepare(ENCODING, INTENSITY, channels_last=problem.channels_last)
        torch.use_deterministic_algorithms(True, warn_only=True)  # as a training has it by default; the other loops do not
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # likewise
        try:
            fit.run(classifier, training, validation, prepare, loss, recorder, batches)
        finally:
            torch.use_deterministic_algorithms(False)
        recorder.tracker.end("FINISHED")
    return network.rate(problem.warm)


def _recorder(work: Path, folder: Path, classifier: Classifier, images: Tensor) -> Recorder:
    """What a training records with. The MLflow store is the same for all runs."""
    tracker = start_run(TrackingSettings(), work, "loop", {"loop": "medai"}, {})
    plan = PreprocessingPlan(ResizePlan(images.shape[2], images.shape[3], 1), INTENSITY)
    checkpoint = Checkpoint((LABEL,), plan, {}, (), classifier)
    return Recorder(folder, checkpoint, tracker, 1)
