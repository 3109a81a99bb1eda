"""Every network takes small and large images, one and three channels."""

import pytest
import torch

from medai.core.error import MedaiError
from medai.model.network import build_network


@pytest.mark.parametrize("name", ["residual_small", "resnet18", "densenet121", "efficientnet_b0", "efficientnet_lite0", "vit"])
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 96)])
def test_a_network_maps_a_batch_to_its_outputs_and_learns(name: str, channels: int, size: int) -> None:
    node = {"_target_": f"medai.model.network.{name}"}
    network = build_network(node, in_channels=channels, out_channels=5, height=size, width=size)
    outputs = network(torch.rand(2, channels, size, size))
    assert outputs.shape == (2, 5)
    outputs.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


def test_the_small_residual_net_has_about_three_hundred_thousand_parameters() -> None:
    network = build_network({"_target_": "medai.model.network.residual_small"}, in_channels=1, out_channels=1, height=28, width=28)
    assert 0.2e6 < sum(parameter.numel() for parameter in network.parameters()) < 0.4e6


def test_small_images_are_not_halved_by_the_stem() -> None:
    network = build_network({"_target_": "medai.model.network.resnet18"}, in_channels=1, out_channels=1, height=28, width=28)
    assert network.bn1(network.conv1(torch.rand(1, 1, 28, 28))).shape[-1] == 28


def test_a_class_of_your_own_gets_what_its_signature_asks_for() -> None:
    node = {"_target_": "medai.model.residual.ResidualSmall", "width": 8, "blocks": 1}
    assert build_network(node, in_channels=3, out_channels=2, height=32, width=32)(torch.rand(1, 3, 32, 32)).shape == (1, 2)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"torch\.load is not a network"):
        build_network({"_target_": "torch.load", "f": "weights.pt"}, in_channels=1, out_channels=1, height=28, width=28)


def test_a_network_with_other_outputs_is_refused_before_it_is_trained() -> None:
    node = {"_target_": "torch.nn.Flatten"}
    with pytest.raises(MedaiError, match=r"gives \(1, 784\) for one image; expected \(1, 2\)"):
        build_network(node, in_channels=1, out_channels=2, height=28, width=28)
    with pytest.raises(MedaiError, match="does not take images of shape"):
        build_network(
            {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, in_channels=1, out_channels=2, height=28, width=28
        )


def test_a_vit_that_cannot_be_cut_says_so() -> None:
    with pytest.raises(MedaiError, match="choose a preprocessing size"):
        build_network({"_target_": "medai.model.network.vit"}, in_channels=1, out_channels=1, height=29, width=31)
