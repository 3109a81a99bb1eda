"""The training loop."""

import copy
import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from medai.core.draw import draw_seed
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import progress, say
from medai.model.freeze import freeze
from medai.task.task import Loss
from medai.training.data import Batch, EpochBatches, Images, OrderedBatches, loader
from medai.training.distributed import ALONE, Group
from medai.training.ema import AveragedWeights
from medai.training.interruption import Interruption
from medai.training.nonfinite import culprits, message
from medai.training.optimizer import build_optimizer
from medai.training.precision import Precision, choose_precision
from medai.training.predictor import Classifier
from medai.training.prepare import Prepare
from medai.training.schedule import schedule
from medai.training.settings import TrainingSettings
from medai.training.sharded import load_whole_state, shard, sync_gradients, whole_state
from medai.training.validation import figures

MOST_SKIPPED = 10  # steps in a row whose loss is not finite
MOST_DEATHS = 3  # of worker processes, in one epoch


@dataclass
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: Counted from 1.
        step: Steps since the start of the training.
        metrics: ``train_loss``, ``validation_loss``, ``validation_auroc``, ``validation_accuracy``, ``images_per_second``.
        best: Whether this is the best epoch so far by the monitored figure.
    """

    epoch: int
    step: int
    metrics: dict[str, float]
    best: bool


class Events(Protocol):
    """What a training reports to; the first rank alone calls it."""

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        """Figures of the last steps: ``loss`` and ``learning_rate``."""

    def validated(self, result: EpochResult, classifier: Classifier) -> bool:
        """An epoch's result, and the classifier as it was validated. True ends the training."""

    def save(self, state: dict[str, Any]) -> None:
        """A state to write."""


@dataclass
class Fit:
    """Fits a classifier to one split and validates it on another.

    Attributes:
        labels: What is learned, in the order of the outputs.
        settings: How.
        seed: Decides the order, the augmentation and the dropout.
        workers: Processes that prepare batches.
        group: The ranks that share each batch.
        epoch: Epochs that are finished.
        step: Steps that are finished.
        best_score: Best monitored figure so far (higher is better).
        stale: Epochs since then.
    """

    labels: tuple[Label, ...]
    settings: TrainingSettings
    seed: int
    workers: int
    group: Group = ALONE
    interruption: Interruption = field(default_factory=Interruption)
    epoch: int = 0
    step: int = 0
    best_score: float = -math.inf
    stale: int = 0

    def run(
        self, classifier: Classifier, train: Images, validation: Images, prepare: Prepare, loss: Loss, events: Events,
        batches: EpochBatches, state: dict[str, Any] | None = None,
    ) -> bool:  # fmt: skip
        """Train to the end, until it stops improving, or until it is asked to end.

        Args:
            classifier: Changed in place.
            train: Training images.
            validation: Validation images; never augmented.
            prepare: Makes a training batch ready on the device.
            loss: Of a batch.
            events: What is told of the training.
            batches: The order of the training images.
            state: Of an earlier part of this training, to go on from.

        Returns:
            Whether it came to its end; False: it was interrupted, and its state was given to ``events.save``.
        """
        self._set_up(classifier, train, validation, prepare, loss, events, batches)
        if state:
            self._restore(state)
        self._wrap()
        with progress("Train", self._last_step, "steps") as bar:
            bar.advance(self.step)
            self._bar = bar
            while self.epoch < self.settings.epochs and (self.step < self._last_step or batches.start) and not self._stopped():
                if not self._train_epoch():
                    self._save()
                    return False
                if self._validate():
                    break
        return True

    def predict(self, classifier: Classifier, batches: Iterable[Batch], prepare: Prepare) -> Float[np.ndarray, "N P"]:
        """Logits of a split as the shipped model computes them, in the stored order; on the first rank, elsewhere empty."""
        classifier.eval()
        with torch.inference_mode(), self._precision.autocast():
            parts = [classifier.averaged(prepare(batch.to(self._device))).float().cpu().numpy() for batch in batches]
        return _interleave(self.group.gather(parts))

    def _set_up(
        self, classifier: Classifier, train: Images, validation: Images, prepare: Prepare, loss: Loss, events: Events, batches: EpochBatches
    ) -> None:
        settings, self._device = self.settings, self.group.device
        self._classifier, self._train, self._validation, self._prepare, self._loss = classifier, train, validation, prepare, loss
        self._events, self._batches = events, batches
        classifier.to(self._device).to(memory_format=prepare.format)  # type: ignore[call-overload]
        self._precision = Precision(choose_precision(settings.precision, settings.accelerator), self._device)
        self._whole: Classifier | None = None  # under FSDP, a copy that is put together to be judged and shipped
        if settings.strategy == "fsdp" and self.group.size > 1:
            self._whole = copy.deepcopy(classifier)
            shard(classifier, settings)
        self._optimizer: Optimizer = build_optimizer(settings.optimizer, classifier, settings.layer_decay)
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._last_step = min(batches.steps * settings.epochs, settings.max_steps or batches.steps * settings.epochs)
        self._factor = schedule(settings.schedule, self._last_step, settings.warmup, settings.final_learning_rate)
        averaged = settings.ema_decay or settings.swa_start is not None
        self._average = AveragedWeights(classifier, settings.ema_decay or None) if averaged else None
        self._plain = Prepare(validation.view.encoding, validation.plan, channels_last=prepare.format == torch.channels_last)
        held_out = OrderedBatches(len(validation), 4 * settings.batch_size, self.group, settings.limit_batches)
        self._held_out = loader(validation, held_out, 0, False)
        self._validation_target = validation.target[: held_out.count]
        self._total = torch.zeros((), dtype=torch.float64, device=self._device)  # of the loss, since the epoch's start, on this rank
        self._logged_total, self._logged_step, self._skipped, self._deaths = 0.0, 0, 0, 0
        self._bad_step = torch.full((), torch.iinfo(torch.int64).max, device=self._device)
        self._saved = time.monotonic()
        if settings.compile:
            classifier.network.compile()

    def _wrap(self) -> None:
        """Freeze what this epoch freezes, and connect the ranks' gradients."""
        settings = self.settings
        self._classifier.train()
        freeze(self._classifier.network, settings.frozen, self.epoch, settings.frozen_epochs)
        self._module: nn.Module = self._classifier
        if self.group.size > 1 and self._whole is None:
            devices = [self._device.index] if self._device.type == "cuda" else None
            self._module = DistributedDataParallel(self._classifier, device_ids=devices, gradient_as_bucket_view=True)
        self._loader = loader(self._train, self._batches, self.workers, self._device.type == "cuda")

    def _train_epoch(self) -> bool:
        """Train to the end of the epoch; False if the training was interrupted."""
        self._batches.epoch = self.epoch
        self._classifier.train()
        freeze(self._classifier.network, self.settings.frozen, self.epoch, self.settings.frozen_epochs)
        self._started, self._images = time.perf_counter(), 0
        for parts in self._steps():
            self._step(parts)
            end = self._batches.start == self._batches.steps or self.step == self._last_step
            if self.step % self.settings.log_steps == 0 or end:
                self._log()
            interrupted, due = self.group.any(self.interruption.number > 0, self._is_due() and not end)
            if interrupted:
                return False
            if due:  # at the end of the epoch it is saved anyway
                self._save()
            if self.step >= self._last_step:
                break
        return True

    def _steps(self) -> Iterator[list[Batch]]:
        """This rank's parts of every batch of the epoch. Workers that die are replaced, and the next batch is the same."""
        batches = self._batches
        while batches.start < batches.steps:
            try:
                parts: list[Batch] = []
                iterator = iter(self._loader)
                self._leave_dead_workers_to_the_loader()
                for part in iterator:
                    parts.append(part)
                    if len(parts) == batches.parts:
                        batches.start += 1
                        yield parts
                        parts = []
            except (RuntimeError, ConnectionError, EOFError) as error:  # the last two from a batch whose worker is gone
                if not self.workers or (isinstance(error, RuntimeError) and "DataLoader worker" not in str(error)):
                    raise
                self._deaths += 1
                if self._deaths > MOST_DEATHS:
                    raise MedaiError(
                        f"worker processes ended {self._deaths} times, perhaps for want of memory; set workers={self.workers // 2}"
                    ) from None
                say(f"a worker process ended ({str(error).splitlines()[0]}); new ones go on with batch {batches.start + 1} of the epoch")
                self._loader = loader(self._train, batches, self.workers, self._device.type == "cuda")

    def _leave_dead_workers_to_the_loader(self) -> None:
        """The handler of torch would raise in the middle of a step; without it the loader notices between two batches, within seconds."""
        if self.workers and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _step(self, parts: Sequence[Batch]) -> None:
        factor = self._factor(self.step)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        kept = [buffer.clone() for buffer in self._classifier.buffers()] if self.settings.on_nonfinite == "skip" else None
        values = [self._backward(part, number, last=number + 1 == len(parts)) for number, part in enumerate(parts)]
        if self._finish_gradients(kept):
            self._update()
            for value in values:
                self._total += value
        self._optimizer.zero_grad(set_to_none=True)
        if self._average and self.settings.ema_decay:
            self._average.update()
        self._images += self._batches.batch_size
        self.step += 1
        self._bar.advance(note=f"epoch {self.epoch + 1} of {self.settings.epochs}")

    def _backward(self, part: Batch, number: int, last: bool) -> Tensor:
        batch = part.to(self._device)
        images = self._prepare(batch)
        self._draw_network(number)
        if self._whole is not None:
            sync_gradients(self._classifier, last)
        with self._no_sync(last):
            with self._precision.autocast():
                logit = self._forward(images)
            value = self._loss(logit, batch.mixture, batch.denominators)
            self._notice(value, images, logit)
            scaled = value * self.group.size if self.group.size > 1 else value  # since the ranks' gradients are averaged
            (self._precision.scaler.scale(scaled) if self._precision.scaler else scaled).backward()
        detached: Tensor = value.detach()
        return detached

    def _forward(self, images: Tensor) -> Tensor:
        try:
            logit: Tensor = self._module(images)
        except torch.OutOfMemoryError:
            half = max(len(images) // 2, 1)
            raise MedaiError(
                f"the GPU's memory is too small for {len(images)} images at once; set training.micro_batch={half} (the same training, "
                "in smaller parts) or training.gradient_checkpointing=true"
            ) from None
        return logit

    def _draw_network(self, number: int) -> None:
        """Seed what the network draws (dropout): by step, rank and part, so that a resumed training draws the same."""
        seed = draw_seed(self.seed, self.epoch, self.step, f"network/{self.group.rank}/{number}") % 2**63
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _no_sync(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last or not isinstance(self._module, DistributedDataParallel) else self._module.no_sync()

    def _notice(self, value: Tensor, images: Tensor, logit: Tensor) -> None:
        """Notice a loss that is not finite: at once on a processor, at the next record on a GPU, which would have to wait."""
        if self.settings.on_nonfinite == "skip":
            return
        if self._device.type == "cuda":
            self._bad_step = torch.where(torch.isfinite(value), self._bad_step, self._bad_step.clamp_max(self.step))
        elif not math.isfinite(float(value.detach())):
            raise MedaiError(self._not_finite(float(value.detach()), self.step, images, logit))

    def _not_finite(self, value: float, step: int, images: Tensor | None = None, logit: Tensor | None = None) -> str:
        rows = self._batches.rows(self.epoch, step - self.epoch * self._batches.steps)
        own = np.array([rows[place] for place in self.group.part(len(rows))])
        wrong, what = None, "the batch held the cases"
        if images is not None and logit is not None and len(images) == len(own):  # else it came in several parts
            wrong, what = culprits(images, logit)
        return message(value, step + 1, self.epoch + 1, what, self._train.names(own if wrong is None else own[wrong]))

    def _finish_gradients(self, kept: list[Tensor] | None) -> bool:
        """Clip the gradients; False if they are not finite and the step is to be left out. They are the same on every rank."""
        settings, scaler = self.settings, self._precision.scaler
        if settings.gradient_clip is None and kept is None:
            return True
        if scaler:
            scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._classifier.parameters(), settings.gradient_clip or math.inf)
        if kept is None or math.isfinite(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)):
            self._skipped = 0
            return True
        self._skipped += 1
        if self._skipped > MOST_SKIPPED:
            raise MedaiError(f"{MOST_SKIPPED} steps in a row had no finite gradient; lower training.optimizer.lr")
        say(f"step {self.step + 1} is left out: its gradient is not finite")
        with torch.no_grad():
            for buffer, value in zip(self._classifier.buffers(), kept, strict=True):
                buffer.copy_(value)  # batch statistics of that batch
        return False

    def _update(self) -> None:
        if self._precision.scaler:
            self._precision.scaler.step(self._optimizer)
            self._precision.scaler.update()
        else:
            self._optimizer.step()

    def _is_due(self) -> bool:
        every = self.settings.checkpoint_steps
        return bool(every and self.step % every == 0) or time.monotonic() - self._saved > 60 * self.settings.checkpoint_minutes

    def _log(self) -> None:
        if self._device.type == "cuda" and int(self._bad_step) <= self.step:
            raise MedaiError(self._not_finite(math.nan, int(self._bad_step)))
        total = float(self.group.sum(self._total.clone()))
        steps = self.step - self._logged_step
        mean = (total - self._logged_total) / max(steps, 1)
        self._logged_total, self._logged_step = total, self.step
        if self.group.first:
            rate = self._optimizer.param_groups[0]["lr"]
            self._events.logged(self.step, {"loss": mean, "learning_rate": float(rate)})

    def _validate(self) -> bool:
        """Close the epoch: validate, tell, save. Gives whether the training is to end."""
        metrics = {
            "train_loss": self._logged_total / max(self._batches.start, 1),
            "images_per_second": self._images / max(time.perf_counter() - self._started, 1e-9),
        }
        validated = self._validated()
        self.group.copy_from_first(list(validated.buffers()))  # each rank saw other images
        logit = self.predict(validated, self._held_out, self._plain)
        measured = figures(self.labels, logit, self._validation_target) if self.group.first else {}
        metrics |= {f"validation_{key}": value for key, value in self.group.broadcast(measured).items()}
        self.epoch += 1
        result = EpochResult(self.epoch, self.step, metrics, self._is_best(metrics))
        ended = self.group.broadcast(self.group.first and self._events.validated(result, validated))
        self._batches.start, self._logged_total, self._deaths = 0, 0.0, 0
        self._total.zero_()
        self._save()
        if self.settings.frozen and self.epoch == self.settings.frozen_epochs:
            self._wrap()
        return ended

    def _validated(self) -> Classifier:
        """The weights that are judged and shipped: averaged ones where there are any."""
        if self._whole is not None:
            self._whole.load_state_dict(whole_state(self._classifier, self._optimizer)[0])
            return self._whole
        if self._average is None:
            return self._classifier
        if self.settings.swa_start is not None:
            if self.step < self.settings.swa_start * self._last_step:
                return self._classifier
            self._average.update()
        averaged: Classifier = self._average.module
        return averaged

    def _save(self) -> None:
        self._saved = time.monotonic()
        total = float(self.group.sum(self._total.clone()))
        if self._whole is not None:
            model, optimizer = whole_state(self._classifier, self._optimizer)
        else:
            model, optimizer = self._classifier.state_dict(), self._optimizer.state_dict()
        if self.group.first:
            self._events.save(self._state(total, model, optimizer))

    def _state(self, total: float, model: dict[str, Any], optimizer: dict[str, Any]) -> dict[str, Any]:
        scaler = self._precision.scaler
        return {
            "epoch": self.epoch,
            "step": self.step,
            "batch": self._batches.start,
            "model": model,
            "optimizer": optimizer,
            "average": self._average.state_dict() if self._average else None,
            "scaler": scaler.state_dict() if scaler else None,
            "best_score": self.best_score,
            "stale": self.stale,
            "skipped": self._skipped,
            "total": total,
            "logged_total": self._logged_total,
            "logged_step": self._logged_step,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if self._whole is not None:
            load_whole_state(self._classifier, self._optimizer, state["model"], state["optimizer"])
        else:
            self._classifier.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
        if self._average and state["average"]:
            self._average.load_state_dict(state["average"])
        if self._precision.scaler and state["scaler"]:
            self._precision.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self._batches.start = state["epoch"], state["step"], state["batch"]
        self.best_score, self.stale, self._skipped = state["best_score"], state["stale"], state["skipped"]
        self._logged_total, self._logged_step = state["logged_total"], state["logged_step"]
        if self.group.first:
            self._total.fill_(state["total"])

    def _is_best(self, metrics: dict[str, float]) -> bool:
        monitor = self.settings.monitor
        score = float(self.epoch) if monitor == "last" else metrics[f"validation_{monitor}"] * (-1 if monitor == "loss" else 1)
        better = score > self.best_score
        self.best_score, self.stale = (score, 0) if better else (self.best_score, self.stale + 1)
        return better

    def _stopped(self) -> bool:
        return self.settings.patience is not None and self.stale >= self.settings.patience


def _interleave(ranks: Sequence[Sequence[np.ndarray]]) -> Float[np.ndarray, "N P"]:
    """Put the ranks' batches, dealt in turn, back into their order."""
    ordered = [ranks[number % len(ranks)][number // len(ranks)] for number in range(sum(map(len, ranks)))] if ranks else []
    return np.concatenate(ordered) if ordered else np.zeros((0, 0), dtype=np.float32)


def summary(result: EpochResult) -> str:
    """One line about an epoch."""
    metrics = result.metrics
    losses = f"train loss {metrics['train_loss']:.4f}, validation loss {metrics['validation_loss']:.4f}"
    scores = f"AUROC {metrics['validation_auroc']:.4f}, accuracy {metrics['validation_accuracy']:.4f}"
    return f"epoch {result.epoch}: {losses}, {scores}, {metrics['images_per_second']:.0f} images/s" + (" (best)" if result.best else "")
