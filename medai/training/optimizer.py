"""The optimiser that a configuration names, with weight decay on the weights alone and smaller steps for earlier layers."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from medai.core.target import build, locate
from medai.model.layers import layers


def is_optimizer(target: Any) -> bool:
    """Whether a configuration may name `target` as the optimiser."""
    return inspect.isclass(target) and issubclass(target, Optimizer)


def build_optimizer(node: Mapping[str, Any], module: nn.Module, layer_decay: float = 1.0) -> Optimizer:
    """Build the optimiser over all parameters, frozen ones too: without gradient they are left as they are.

    Biases, norms and other vectors are not decayed (Goyal et al. 2017). With `layer_decay` below 1, layer k of K learns at
    ``lr * layer_decay ** (K - k)`` (Clark et al. 2020, ELECTRA); the schedule scales the rate of every group alike.

    Args:
        node: Dotted target and arguments.
        module: What is trained.
        layer_decay: Factor from each layer to the one before it; see `medai.model.layers.layers`.
    """
    factors = layer_factors(module, layer_decay)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        key = factors[name], parameter.ndim <= 1
        group = groups.setdefault(key, {"params": [], "factor": key[0]} | ({"weight_decay": 0.0} if key[1] else {}))
        group["params"].append(parameter)
    optimizer: Optimizer = build(node, "an optimiser", is_optimizer, [groups[key] for key in sorted(groups)], **_one_pass(node))
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("factor")
    return optimizer


def _one_pass(node: Mapping[str, Any]) -> dict[str, bool]:
    """Let an optimiser of torch that can do so update all its weights in one pass: the same formula, half the time for small networks."""
    target = locate(str(node.get("_target_", "")))
    ours = is_optimizer(target) and target.__module__.startswith("torch.optim.")
    able = ours and "fused" in inspect.signature(target).parameters and not {"fused", "foreach", "capturable", "differentiable"} & set(node)
    return {"fused": True} if able else {}


def layer_factors(module: nn.Module, layer_decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter, by name: 1 for the last layer."""
    if layer_decay == 1:
        return {name: 1.0 for name, _ in module.named_parameters()}
    found = layers(module)
    return {name: layer_decay ** (len(found) - 1 - index) for index, layer in enumerate(found) for name in layer}
