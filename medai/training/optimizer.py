"""The optimiser that a configuration names, with weight decay on the weights alone."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from medai.core.target import build


def is_optimizer(target: Any) -> bool:
    """Whether a configuration may name `target` as the optimiser."""
    return inspect.isclass(target) and issubclass(target, Optimizer)


def build_optimizer(node: Mapping[str, Any], module: nn.Module) -> Optimizer:
    """Build the optimiser; biases, norms and other vectors are not decayed (Goyal et al. 2017)."""
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim > 1]
    vectors = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups: Iterable[dict[str, Any]] = [
        group for group in ({"params": weights}, {"params": vectors, "weight_decay": 0.0}) if group["params"]
    ]
    optimizer: Optimizer = build(node, "an optimiser", is_optimizer, groups)
    return optimizer
