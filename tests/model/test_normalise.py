"""Images in [0, 1] reach published weights in the range that they were trained on."""

import pytest
import torch

from medai.core.error import MedaiError
from medai.model.network import build_network
from medai.model.normalise import normalised

RESNET = {"_target_": "medai.model.network.resnet18"}


def test_colours_are_normalised_one_by_one_and_grey_by_their_average() -> None:
    images = torch.rand(2, 3, 4, 4)
    expected = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert torch.allclose(normalised(torch.nn.Identity(), "imagenet", 3)(images), expected)
    grey = normalised(torch.nn.Identity(), "imagenet", 1)(torch.tensor([[[[0.449]]]]))
    assert abs(grey.item()) < 1e-6


def test_symmetric_maps_black_to_minus_one_and_white_to_one() -> None:
    mapped = normalised(torch.nn.Identity(), "symmetric", 1)(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)).flatten()
    assert mapped.tolist() == pytest.approx([-127 / 128, 1.0])


def test_a_network_without_normalisation_stays_as_it_is() -> None:
    network = torch.nn.Identity()
    assert normalised(network, "none", 1) is network


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"model\.normalise is 'imagenett'; allowed: none, imagenet, symmetric"):
        build_network(RESNET | {"normalise": "imagenett"}, in_channels=1, out_channels=1, height=28, width=28)


def test_the_constants_are_not_among_the_weights() -> None:
    plain, wrapped = (
        build_network(RESNET | {"normalise": name}, in_channels=1, out_channels=1, height=28, width=28) for name in ("none", "imagenet")
    )
    assert [f"network.{name}" for name in plain.state_dict()] == list(wrapped.state_dict())
