"""Weights that stay as they are, for some epochs or for ever."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from medai.core.error import MedaiError
from medai.model.layers import core


def freeze(network: nn.Module, patterns: Sequence[str], epoch: int, frozen_epochs: int | None) -> int:
    """Freeze or release the weights whose names match, as a function of the epoch alone.

    To be called at the start of every epoch, after ``train()``: frozen batch norms are put into evaluation mode, so that their
    statistics stay too. Parameters without gradient are skipped by the optimiser, which may hold them all.

    Args:
        network: Changed in place; the names are those inside of what only wraps the network.
        patterns: As of the shell, e.g. ``["stem.*", "blocks.0.*"]``; ``*`` passes over dots.
        epoch: Counted from 0.
        frozen_epochs: Epochs for which they stay; None for ever.

    Returns:
        Number of values that are frozen in this epoch.

    Raises:
        MedaiError: a pattern matches nothing, or nothing is left to train.
    """
    if not patterns:
        return 0
    _, inner = core(network)
    parameters = dict(inner.named_parameters())
    _check(parameters, patterns)
    stays = frozen_epochs is None or epoch < frozen_epochs
    matched = [parameter for name, parameter in parameters.items() if matches(name, patterns)]
    for parameter in matched:
        parameter.requires_grad_(not stays)
    for name, module in inner.named_modules():
        if stays and isinstance(module, _NormBase) and all(matches(f"{name}.{key}", patterns) for key in module.state_dict()):
            module.eval()
    return sum(parameter.numel() for parameter in matched) if stays else 0


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check(parameters: dict[str, nn.Parameter], patterns: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            first, last = next(iter(parameters)), list(parameters)[-1]
            raise MedaiError(f"training.frozen has {pattern!r}, which matches no weight; their names go from {first} to {last}")
    if all(matches(name, patterns) for name in parameters):
        raise MedaiError("training.frozen matches every weight of the network, so there is nothing to train; leave the last layer out")
