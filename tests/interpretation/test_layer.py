"""The layer that Grad-CAM looks at, in networks of every kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medai.core.error import MedaiError
from medai.interpretation.layer import find_layer
from medai.model.network import densenet121, efficientnet_b0, residual_small, resnet18, vit


def image(height: int, width: int, channels: int = 1) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("factory", "size", "name", "grid"),
    [
        (residual_small, (28, 28), "stages", (7, 7)),
        (residual_small, (96, 128), "stages", (12, 16)),
        (resnet18, (28, 28), "layer4", (4, 4)),
        (resnet18, (64, 96), "layer3", (4, 6)),  # the last layer has 2 x 3 positions: too few
        (densenet121, (28, 28), "features.transition3.conv", (7, 7)),
        (densenet121, (128, 128), "class_layers.relu", (4, 4)),  # after its in-place step
        (efficientnet_b0, (128, 128), "_swish", (4, 4)),
    ],
)
def test_the_last_map_that_is_large_enough_is_found(
    factory: Callable[..., nn.Module], size: tuple[int, int], name: str, grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = factory(1, 3, *size).eval()
    layer = find_layer(network, image(*size))
    assert (layer.name, (layer.rows, layer.columns)) == (name, grid)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_vision_transformer_is_refused_with_the_reason() -> None:
    with pytest.raises(MedaiError, match=r"decides by tokens \(transformer\.blocks\.0\.norm1\)"):
        find_layer(vit(1, 2, 28, 28, layers=1, hidden_size=12).eval(), image(28, 28))


class Own(nn.Module):
    """A network of two convolutions with a way for every fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.first, self.second = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.pad, self.side, self.out = nn.ZeroPad2d(2), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Any:
        with torch.set_grad_enabled(self.fault != "no gradient"):
            maps = self.second(self.first(images))
            if self.fault == "in place":
                maps.mul_(2)
            maps = torch.relu_(maps)
            if self.fault == "padded":
                maps = self.pad(maps)
            if self.fault == "dead branch":
                self.side(maps)
            return self.out(maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("fault", ["", "padded", "dead branch", "in place"])
def test_what_is_padded_unused_or_changed_in_place_later_does_not_mislead(fault: str) -> None:
    assert find_layer(Own(fault), image(32, 32)).name == "second"


def test_without_a_map_or_a_gradient_the_network_is_refused() -> None:
    with pytest.raises(MedaiError, match="gives no gradient"):
        find_layer(Own("no gradient"), image(32, 32))
    with pytest.raises(MedaiError, match="no layer with a map of at least 4 x 4 positions"):
        find_layer(nn.Sequential(nn.Flatten(), nn.Linear(256, 2)), image(16, 16))
    with pytest.raises(MedaiError, match="no layer with a map"):
        find_layer(Own(""), image(32, 32), smallest=17)
