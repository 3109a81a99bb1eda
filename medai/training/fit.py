"""The training loop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from medai.core.draw import draw_seed
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import Progress, progress
from medai.task.task import Loss, balanced_weights
from medai.training.data import Batch, EpochBatches, Images, OrderedBatches, loader
from medai.training.ema import AveragedWeights
from medai.training.optimizer import build_optimizer
from medai.training.precision import choose_precision
from medai.training.predictor import Classifier
from medai.training.schedule import schedule
from medai.training.settings import TrainingSettings
from medai.training.validation import figures


@dataclass
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: Counted from 1.
        metrics: ``train_loss``, ``validation_loss``, ``validation_auroc``, ``validation_accuracy``, ``learning_rate``,
            ``images_per_second``.
        best: Whether this is the best epoch so far by the monitored figure.
    """

    epoch: int
    metrics: dict[str, float]
    best: bool


@dataclass
class Fit:
    """Fits a classifier to one split and validates it on another.

    Attributes:
        labels: What is learned, in the order of the outputs.
        settings: How.
        seed: Decides the order, the augmentation and the dropout.
        best_score: Best monitored figure so far (higher is better).
        stale: Epochs since then.
    """

    labels: tuple[Label, ...]
    settings: TrainingSettings
    seed: int
    workers: int
    epoch: int = 0
    step: int = 0
    best_score: float = -math.inf
    stale: int = 0
    _fabric: Any = field(default=None, repr=False)

    def run(self, classifier: Classifier, train: Images, validation: Images, on_epoch: Callable[[EpochResult, Classifier], None]) -> None:
        """Train to the end or until it stops improving.

        Args:
            classifier: Changed in place.
            train: Training images.
            validation: Validation images; never augmented.
            on_epoch: Called after each epoch with its result and the classifier as it was validated (averaged where EMA is on).
        """
        settings = self.settings
        fabric = self._fabric = Fabric(
            accelerator=settings.accelerator, devices=1, precision=choose_precision(settings.precision, settings.accelerator)  # type: ignore[arg-type]
        )  # fmt: skip
        if settings.channels_last:
            classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches = EpochBatches(len(train), settings.batch_size, self.seed)
        optimizer = build_optimizer(settings.optimizer, classifier)
        factor = schedule(settings.schedule, len(batches) * settings.epochs, settings.warmup, settings.final_learning_rate)
        scheduler = LambdaLR(optimizer, factor)
        module, optimizer = fabric.setup(classifier, optimizer)
        average = AveragedWeights(classifier, settings.ema_decay) if settings.ema_decay else None
        weights = balanced_weights(self.labels, torch.from_numpy(train.target)) if settings.class_weights == "balanced" else None
        loss = Loss(self.labels, settings.label_smoothing, weights)
        training = loader(train, batches, self.workers, fabric.device.type == "cuda")
        held_out = loader(validation, OrderedBatches(len(validation), 4 * settings.batch_size), 0, False)

        with progress("Train", len(batches) * settings.epochs, "steps") as bar:
            while self.epoch < settings.epochs and not self._stopped():
                batches.epoch = self.epoch
                metrics = self._train_epoch(module, optimizer, scheduler, average, loss, training, bar)
                validated = average.module if average else classifier
                logit = self.predict(validated, held_out)
                metrics |= {f"validation_{key}": value for key, value in figures(self.labels, logit, validation.target).items()}
                self.epoch += 1
                on_epoch(EpochResult(self.epoch, metrics, self._is_best(metrics)), validated)

    def predict(self, classifier: Classifier, images: "DataLoader[Batch]") -> Float[np.ndarray, "N P"]:
        """Logits of a split as the shipped model computes them, in the stored order."""
        classifier.eval()
        with torch.inference_mode(), self._fabric.autocast():
            parts = [classifier.averaged(self._to_device(batch.images)).float().cpu() for batch in images]
        return torch.cat(parts).numpy()

    def _train_epoch(
        self, module: Any, optimizer: Any, scheduler: LambdaLR, average: AveragedWeights | None, loss: Loss,
        batches: "DataLoader[Batch]", bar: Progress,
    ) -> dict[str, float]:  # fmt: skip
        module.train()
        start, total, images = time.perf_counter(), torch.zeros((), device=self._fabric.device), 0
        rate = 0.0
        for batch in batches:
            torch.manual_seed(draw_seed(self.seed, self.epoch, self.step, "network") % 2**63)  # dropout
            rate = float(scheduler.get_last_lr()[0])
            target = batch.target.to(self._fabric.device, non_blocking=True)
            value = loss(module(self._to_device(batch.images)), target, loss.denominators(target))
            self._fabric.backward(value)
            if self.settings.gradient_clip is not None:
                self._fabric.clip_gradients(module, optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            if average:
                average.update(module.module)
            total += value.detach()
            images += len(batch.images)
            self.step += 1
            bar.advance(note=f"epoch {self.epoch + 1} of {self.settings.epochs}")
        mean = float(total) / len(batches)
        if not math.isfinite(mean):
            raise MedaiError(
                f"the loss became {mean} in epoch {self.epoch + 1}; lower training.optimizer.lr or set training.gradient_clip=1"
            )
        return {"train_loss": mean, "learning_rate": rate, "images_per_second": images / (time.perf_counter() - start)}

    def _to_device(self, images: Tensor) -> Tensor:
        images = images.to(self._fabric.device, non_blocking=True)
        return images.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else images

    def _is_best(self, metrics: dict[str, float]) -> bool:
        monitor = self.settings.monitor
        score = float(self.epoch) if monitor == "last" else metrics[f"validation_{monitor}"] * (-1 if monitor == "loss" else 1)
        better = score > self.best_score
        self.best_score, self.stale = (score, 0) if better else (self.best_score, self.stale + 1)
        return better

    def _stopped(self) -> bool:
        return self.settings.patience is not None and self.stale >= self.settings.patience


def summary(result: EpochResult) -> str:
    """One line about an epoch."""
    metrics = result.metrics
    losses = f"train loss {metrics['train_loss']:.4f}, validation loss {metrics['validation_loss']:.4f}"
    scores = f"AUROC {metrics['validation_auroc']:.4f}, accuracy {metrics['validation_accuracy']:.4f}"
    return f"epoch {result.epoch}: {losses}, {scores}, {metrics['images_per_second']:.0f} images/s" + (" (best)" if result.best else "")
