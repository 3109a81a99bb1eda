"""Checkpointing changes the memory that a network takes, and nothing else."""

import copy

import pytest
import torch
from torch import nn

from medai.core.error import MedaiError
from medai.model.checkpointing import enable_checkpointing
from medai.model.network import build_network


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    node = {"_target_": f"medai.model.network.{name}"} | ({"dropout": 0.3} if name in ("vit", "densenet121") else {})
    return build_network(node, in_channels=1, out_channels=2, height=64, width=64)


def _step(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)  # of the dropout
    network(images).square().mean().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("name", ["residual_small", "resnet18", "densenet121", "efficientnet_b0", "efficientnet_lite0", "vit"])
def test_gradients_draws_names_and_batch_statistics_are_as_without_it(name: str) -> None:
    plain = _network(name)
    checkpointed = copy.deepcopy(plain)
    assert enable_checkpointing(checkpointed) >= 7
    assert list(checkpointed.state_dict()) == list(plain.state_dict())
    images = torch.randn(3, 1, 64, 64)
    for network in (plain, checkpointed):
        network.train()
    expected, found = _step(plain, images), _step(checkpointed, images)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert all(torch.equal(value, checkpointed.state_dict()[key]) for key, value in plain.state_dict().items())


def test_a_compiled_network_gives_the_same_too() -> None:
    plain = _network("residual_small")
    checkpointed = copy.deepcopy(plain)
    enable_checkpointing(checkpointed)
    checkpointed.compile(backend="aot_eager")
    images = torch.randn(3, 1, 64, 64)
    expected, found = _step(plain.train(), images), _step(checkpointed.train(), images)
    assert all(torch.allclose(expected[key], found[key], atol=1e-5) for key in expected)
    assert all(torch.allclose(value, checkpointed.state_dict()[key], atol=1e-5) for key, value in plain.state_dict().items())


def test_activations_inside_the_blocks_are_not_kept() -> None:
    def kept(network: nn.Module) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
            network(torch.randn(2, 1, 64, 64))
        return sum(sizes)

    plain, checkpointed = _network("residual_small"), _network("residual_small")
    enable_checkpointing(checkpointed)
    assert kept(checkpointed) < 0.5 * kept(plain)


def test_a_network_in_use_computes_once() -> None:
    network = _network("residual_small")
    enable_checkpointing(network)
    calls = []
    network.stages[0].register_forward_pre_hook(lambda *_: calls.append(1))
    _step(network.train(), torch.randn(2, 1, 64, 64))
    assert len(calls) == 2
    with torch.inference_mode():
        network.eval()(torch.randn(2, 1, 64, 64))
    assert len(calls) == 3


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(MedaiError, match="Linear has none; set it to false"):
        enable_checkpointing(nn.Linear(2, 2))
