"""Maps lie on what decides, go away with the weights (Adebayo et al. 2018), add up, and leave the network as it was."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.interpretation.evidence import evidence
from medai.interpretation.layer import Layer
from medai.interpretation.saliency import METHODS, dark, find_layers, gradcam, integrated_gradients, saliency
from medai.model.network import densenet121, efficientnet_b0, residual_small, resnet18, vit
from medai.task.task import Head
from medai.training.predictor import Classifier, Ensemble

from .conftest import SQUARE_LABEL, Squares, make_classifier

LABELS = (
    Label("nodule", "binary", ("absent", "present")),
    Label("stage", "ordinal", ("0", "1", "2")),
    Label("view", "multiclass", ("ap", "pa", "lateral")),
)
Maps = np.ndarray


def maps_of(classifier: nn.Module, images: Tensor, method: str) -> Maps:
    return saliency(classifier, images, SQUARE_LABEL, [0] * len(images), method)


def share_inside(maps: Maps, inside: np.ndarray) -> np.ndarray:
    share: np.ndarray = (maps * inside).sum((1, 2)) / np.maximum(maps.sum((1, 2)), 1e-9)
    return share


@pytest.mark.parametrize(("method", "times"), [("gradcam", 3), ("integrated_gradients", 12)])
def test_the_maps_lie_on_the_square_that_decides(method: str, times: float, taught: Classifier, squares: Squares) -> None:
    present = squares.present
    maps = maps_of(taught, present.images, method)
    area = present.inside[0].mean()
    peaks = [present.inside[index].ravel()[each.argmax()] for index, each in enumerate(maps)]
    assert np.median(share_inside(maps, present.inside)) > times * area
    assert np.mean(peaks) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_the_maps_go_away_with_the_weights(method: str, taught: Classifier, squares: Squares) -> None:
    present = squares.present
    before, after = (maps_of(each, present.images, method) for each in (taught, make_classifier(seed=1)))
    alike = np.corrcoef(before.ravel(), after.ravel())[0, 1]
    assert alike < 0.4
    assert np.median(share_inside(after, present.inside)) < 0.5 * np.median(share_inside(before, present.inside))


def test_maps_ask_the_last_layer_too(taught: Classifier, squares: Squares) -> None:
    """With the sign of its last layer turned, what spoke for the square speaks against it: a map that only follows edges would stay."""
    turned = copy.deepcopy(taught)
    with torch.no_grad():
        turned.network.classifier.weight.neg_()
    present = squares.present
    for method in METHODS:
        assert np.median(share_inside(maps_of(turned, present.images, method), present.inside)) < 0.03


def test_integrated_gradients_add_up_to_the_difference_of_the_evidence(taught: Classifier, squares: Squares) -> None:
    images = squares.images[:8]
    total = integrated_gradients(taught, images, SQUARE_LABEL, [0] * 8).sum((1, 2, 3))
    with torch.no_grad():
        difference = (taught(images) - taught(dark(images)))[:, 0]
    assert difference.abs().min() > 1
    assert ((total - difference) / difference).abs().max() < 0.02


def test_integrated_gradients_add_up_for_classes_and_grades_too() -> None:
    torch.manual_seed(0)
    head = Head(LABELS)
    classifier = Classifier(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, head.inputs)), head)
    image = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        given, empty = (evidence(classifier(each), LABELS)[0] for each in (image, dark(image)))
    for column in range(7):
        total = integrated_gradients(classifier, image, LABELS, [column]).sum()
        torch.testing.assert_close(total, given[column] - empty[column], rtol=1e-3, atol=1e-4)


def test_gradcam_is_the_weighted_map_of_a_network_that_ends_in_a_mean(taught: Classifier, squares: Squares) -> None:
    """There the gradient of a channel is its weight over the number of positions (Selvaraju et al. 2017, section 3)."""
    images, network = squares.images[:4], taught.network
    (layer,) = find_layers(taught, images.shape)
    assert layer == Layer("network.stages", 8, 8)
    with torch.no_grad():
        features = network.stages(network.stem(images))
        expected = torch.relu(torch.einsum("nchw,c->nhw", features, network.classifier.weight[0]) / 64)
    torch.testing.assert_close(gradcam(taught, images, SQUARE_LABEL, [0] * 4, layer), expected)


@pytest.mark.parametrize("factory", [residual_small, resnet18, densenet121, efficientnet_b0])
def test_every_network_gives_maps_for_every_kind_of_label(factory: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    head = Head(LABELS)
    classifier = Classifier(factory(3, head.inputs, 32, 48), head)
    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)).expand(7, 3, 32, 48)
    maps = saliency(classifier, images, LABELS, range(7))
    assert maps.shape == (7, 32, 48) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() == 1
    assert set(maps.max(axis=(1, 2)).tolist()) <= {0.0, 1.0}
    np.testing.assert_allclose(maps[1], maps[3], atol=1e-5)  # the columns of one set of grades have one evidence


def test_a_vision_transformer_has_integrated_gradients_alone() -> None:
    torch.manual_seed(0)
    head = Head(LABELS)
    classifier, images = Classifier(vit(1, head.inputs, 28, 28, layers=2, hidden_size=24), head), torch.rand(1, 1, 28, 28)
    assert saliency(classifier, images, LABELS, [2], "integrated_gradients").max() == 1
    with pytest.raises(MedaiError, match="decides by tokens"):
        saliency(classifier, images, LABELS, [2])


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_whatever_mode_surrounds_them(method: str, taught: Classifier, squares: Squares) -> None:
    images = squares.images[:2].clone()
    expected = maps_of(taught, images, method)
    np.testing.assert_array_equal(maps_of(taught.requires_grad_(False), images, method), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(maps_of(taught, images.clone(), method), expected)
        born_there = make_classifier()
        born_there.load_state_dict(taught.state_dict())
    np.testing.assert_array_equal(maps_of(born_there.eval(), images, method), expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(maps_of(taught, images, method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_stays_as_it_was(method: str, taught: Classifier, squares: Squares) -> None:
    expected = maps_of(taught, squares.images[:2], method)
    taught.train()
    taught.network.stem.eval()
    state = copy.deepcopy(taught.state_dict())
    np.testing.assert_array_equal(maps_of(taught, squares.images[:2], method), expected)
    assert all(torch.equal(value, state[name]) for name, value in taught.state_dict().items())
    assert taught.training and taught.network.stages.training and not taught.network.stem.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in taught.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_first_layer_that_works_in_place_changes_nothing(method: str, taught: Classifier, squares: Squares) -> None:
    images = squares.images[:2].clone()
    kept, expected = images.clone(), maps_of(taught, images, method)  # of images that are not negative a ReLU changes nothing
    in_place = nn.Sequential(nn.ReLU(inplace=True), taught)
    np.testing.assert_array_equal(maps_of(in_place, images, method), expected)
    assert torch.equal(images, kept)


def test_variants_of_the_image_do_not_enter_and_an_ensemble_gives_the_mean_of_its_members(taught: Classifier, squares: Squares) -> None:
    images = squares.present.images[:2]
    expected = maps_of(taught, images, "gradcam")
    mirrored = Classifier(taught.network, taught.head, ["mirror"])
    np.testing.assert_array_equal(maps_of(mirrored, images, "gradcam"), expected)
    other = make_classifier(seed=2)
    both = Classifier(Ensemble([taught, other], torch.ones(2, 1)), nn.Identity())
    np.testing.assert_allclose(maps_of(both, images, "gradcam"), (expected + maps_of(other, images, "gradcam")) / 2, atol=1e-6)


def test_where_nothing_raises_the_evidence_the_map_is_empty() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        network[4].weight.fill_(-1)
    assert saliency(network, torch.rand(2, 1, 8, 8), SQUARE_LABEL, [0, 0]).max() == 0


def test_an_unknown_method_is_refused(taught: Classifier, squares: Squares) -> None:
    with pytest.raises(MedaiError, match="no saliency method 'lime'; allowed: gradcam, integrated_gradients"):
        maps_of(taught, squares.images[:1], "lime")
