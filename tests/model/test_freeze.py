"""Frozen weights stay, with the statistics of their norms, and are released by the epoch alone."""

from typing import Any

import pytest
import torch

from medai.core.error import MedaiError
from medai.model.freeze import freeze
from medai.model.residual import ResidualSmall
from medai.training.optimizer import build_optimizer

PATTERNS = ["stem.*", "stages.0.*"]
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.5}


def _network() -> ResidualSmall:
    torch.manual_seed(0)
    return ResidualSmall(1, 2, width=4, stages=2, blocks=1)


def _train(network: ResidualSmall, epochs: range, optimizer: Any = None) -> Any:
    optimizer = optimizer or build_optimizer(ADAMW, network)
    for epoch in epochs:
        network.train()
        freeze(network, PATTERNS, epoch, 2)
        torch.manual_seed(epoch)
        network(torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return optimizer


def _changed(before: dict[str, torch.Tensor], network: ResidualSmall) -> set[str]:
    return {name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_weights_and_their_batch_statistics_stay_and_are_released_later() -> None:
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = _train(network, range(2))
    assert _changed(before, network) == {"stages", "classifier"}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items() if name.startswith("stages.0."))
    assert not any(parameter in optimizer.state for parameter in network.stem.parameters())
    _train(network, range(2, 3), optimizer)
    assert _changed(before, network) == {"stem", "stages", "classifier"}


def test_a_run_that_is_taken_up_again_in_any_epoch_ends_with_the_same_weights() -> None:
    whole, parts, saved = _network(), _network(), None
    _train(whole, range(4))
    for epoch in range(4):  # each time as after a restart: a network and an optimiser from their saved states
        fresh = _network()
        fresh.load_state_dict(parts.state_dict())
        optimizer = build_optimizer(ADAMW, fresh)
        if saved:
            optimizer.load_state_dict(saved)
        saved = _train(fresh, range(epoch, epoch + 1), optimizer).state_dict()
        parts = fresh
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())


def test_names_are_those_inside_of_a_wrapper() -> None:
    network = _network()
    frozen = freeze(torch.nn.ModuleDict({"network": network, "head": torch.nn.Identity()}), ["stem.*"], 5, None)
    assert frozen == sum(parameter.numel() for parameter in network.stem.parameters())
    assert not any(parameter.requires_grad for parameter in network.stem.parameters())
    assert not network.stem[1].training
    assert network.stages[0].norm1.training


def test_a_pattern_without_a_match_and_a_network_without_anything_to_train_are_refused() -> None:
    with pytest.raises(MedaiError, match=r"'stm\.\*', which matches no weight; their names go from stem\.0\.weight to classifier\.bias"):
        freeze(_network(), ["stm.*"], 0, None)
    with pytest.raises(MedaiError, match="nothing to train"):
        freeze(_network(), ["*"], 0, None)
