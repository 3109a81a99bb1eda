"""Lightning's Trainer, with its CSV log and its progress bar."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from training.problem import LOG_STEPS, Problem, loss, optimizer


class Batches:
    """The batches as an iterable: a list would be taken for several loaders."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def __len__(self) -> int:
        return self._problem.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(self._problem.batch, range(self._problem.steps))


class Module(lightning.LightningModule):
    """The problem's network with its loss and its optimiser."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.network = problem.network()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, classes = batch
        value = loss(self.network(images), classes)
        self.log("loss", value, prog_bar=True)
        return value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer(self)


def run(problem: Problem) -> float:
    """Steps a second."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    module = Module(problem)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "enable_checkpointing": False}
        trainer = lightning.Trainer(
            **options, logger=CSVLogger(folder), log_every_n_steps=LOG_STEPS, enable_model_summary=False, use_distributed_sampler=False
        )
        trainer.fit(module, Batches(problem))
    return module.network.rate(problem.warm)
