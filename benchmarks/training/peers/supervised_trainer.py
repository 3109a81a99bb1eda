"""MONAI's SupervisedTrainer (on Ignite), with its log of the loss and Ignite's progress bar."""

import logging
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedTrainer
from monai.handlers import StatsHandler
from torch import Tensor

from training.problem import LOG_STEPS, Problem, loss, optimizer


def run(problem: Problem) -> float:
    """Steps a second."""
    logging.getLogger("monai.handlers.StatsHandler").setLevel(logging.INFO)
    network = problem.network()
    log = StatsHandler(
        iteration_log=lambda engine, step: step % LOG_STEPS == 0, tag_name="train_loss", output_transform=lambda output: output["loss"]
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=1, train_data_loader=[problem.batch(step) for step in range(problem.steps)], network=network,
        optimizer=optimizer(network), loss_function=loss, prepare_batch=_prepare, train_handlers=[log], decollate=False,
        optim_set_to_none=True,
    )  # fmt: skip
    ProgressBar().attach(trainer, output_transform=lambda output: {"loss": output["loss"]}, event_name=Events.ITERATION_COMPLETED)
    trainer.run()
    return network.rate(problem.warm)


def _prepare(batch: tuple[Tensor, Tensor], *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return batch
