"""FSDP: weights, gradients and the optimiser's state spread over the ranks (Zhao et al. 2023)."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from medai.core.error import MedaiError
from medai.model.layers import blocks
from medai.training.predictor import Classifier
from medai.training.settings import TrainingSettings


def shard(classifier: Classifier, settings: TrainingSettings) -> None:
    """Spread a classifier over the ranks, block by block. It is then called on every rank at once.

    Raises:
        MedaiError: something is asked for that needs the whole weights on every rank.
    """
    from torch.distributed.fsdp import fully_shard

    if settings.ema_decay or settings.swa_start is not None:
        raise MedaiError("training.strategy=fsdp keeps no average of the weights; set training.ema_decay=0 or training.strategy=ddp")
    if any(parameter.ndim == 0 for parameter in classifier.parameters()):
        raise MedaiError("training.strategy=fsdp does not take ordinal labels, whose cut points are single numbers; use ddp")
    classifier.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for _, _, some in blocks(classifier.network):
        for block in some.children():
            fully_shard(block)
    fully_shard(classifier)


def sync_gradients(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass adds up the gradients of all ranks."""
    module.set_requires_gradient_sync(now)  # type: ignore[operator]


def whole_state(classifier: Classifier, optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states of a spread classifier and its optimiser, put together; every rank calls it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    model, optimiser = get_state_dict(classifier, optimizer, options=StateDictOptions(full_state_dict=True))
    return dict(model), dict(optimiser)


def load_whole_state(classifier: Classifier, optimizer: Optimizer, model: dict[str, Any], optimiser: dict[str, Any]) -> None:
    """Spread the states that `whole_state` gave; every rank calls it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    options = StateDictOptions(full_state_dict=True)
    set_state_dict(classifier, optimizer, model_state_dict=model, optim_state_dict=optimiser, options=options)
