"""Groups of the optimiser: no decay of vectors, smaller steps for earlier layers, under any schedule."""

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from medai.core.error import MedaiError
from medai.model.layers import layers
from medai.model.residual import ResidualSmall
from medai.training.optimizer import build_optimizer

ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.5}


def _rates(optimizer: torch.optim.Optimizer, module: torch.nn.Module) -> dict[str, float]:
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}


def test_without_layer_decay_there_are_two_groups_of_one_rate() -> None:
    module = ResidualSmall(1, 2, width=4)
    weights, vectors = build_optimizer(ADAMW, module).param_groups
    assert weights["lr"] == vectors["lr"] == 0.1
    assert (weights["weight_decay"], vectors["weight_decay"]) == (0.5, 0.0)
    assert all(parameter.ndim > 1 for parameter in weights["params"])
    assert len(weights["params"]) + len(vectors["params"]) == len(list(module.parameters()))


def test_each_layer_learns_slower_than_the_next_by_the_factor() -> None:
    module = ResidualSmall(1, 2, width=4, stages=2, blocks=1)
    rates = _rates(build_optimizer(ADAMW, module, 0.5), module)
    assert rates["classifier.weight"] == rates["classifier.bias"] == pytest.approx(0.1)
    assert rates["stages.1.conv2.weight"] == rates["stages.1.norm2.bias"] == pytest.approx(0.05)
    assert rates["stages.0.conv1.weight"] == pytest.approx(0.025)
    assert rates["stem.0.weight"] == rates["stem.1.weight"] == pytest.approx(0.0125)
    assert len(layers(module)) == 4


def test_the_schedule_scales_the_rate_of_every_layer() -> None:
    module = ResidualSmall(1, 2, width=4, stages=2, blocks=1)
    optimizer = build_optimizer(ADAMW, module, 0.5)
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    before = _rates(optimizer, module)
    optimizer.step()
    scheduler.step()
    assert _rates(optimizer, module) == pytest.approx({name: rate / 2 for name, rate in before.items()})


def test_decayed_and_other_parameters_of_a_layer_share_its_rate_and_every_one_is_in_one_group() -> None:
    module = ResidualSmall(1, 2, width=4)
    groups = build_optimizer(ADAMW, module, 0.8).param_groups
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == len(list(module.parameters()))
    assert all((group["weight_decay"] == 0) == all(parameter.ndim <= 1 for parameter in group["params"]) for group in groups)
    assert all("factor" not in group for group in groups)


def test_frozen_parameters_are_held_and_left_as_they_are() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    module[0].requires_grad_(False)
    optimizer = build_optimizer(ADAMW, module)
    before = module[0].weight.clone()
    module(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(module[0].weight, before)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_what_is_no_optimiser_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"torch\.load is not an optimiser"):
        build_optimizer({"_target_": "torch.load"}, torch.nn.Linear(1, 1))
