"""Maps of what the outputs of a network depend on: Grad-CAM (Selvaraju et al. 2017) and integrated gradients (Sundararajan et al. 2017)."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.interpretation.evidence import evidence
from medai.interpretation.layer import Layer, find_layer

METHODS = ("gradcam", "integrated_gradients")
STEPS = 64  # of the integral
BATCH = 16  # images at once along its path
BRIGHTEST_PERCENTILE = 99.5  # of integrated gradients, which become 1: a few pixels must not darken the rest


def saliency(
    classifier: nn.Module,
    images: Float[Tensor, "N C H W"],
    labels: Sequence[Label],
    columns: Sequence[int],
    method: str = "gradcam",
    layers: Sequence[Layer] | None = None,
) -> Float32[np.ndarray, "N H W"]:
    """Where in each image the evidence for a class lies: 0 nothing, 1 the most in that image.

    A map shows what raises the log odds of the class (`medai.interpretation.evidence`); what lowers them is 0. An image
    in which nothing raises them has an empty map. Equal images get equal maps; the classifier is left as it was.

    Args:
        classifier: Preprocessed images to logits; of an ensemble, Grad-CAM's map is the mean of its members' maps.
        images: The network's input.
        labels: The labels, in the order of the logits.
        columns: For each image the column to explain; see `medai.interpretation.evidence.column`.
        method: ``gradcam`` or ``integrated_gradients``.
        layers: Where Grad-CAM looks, of every member; None finds them (`find_layers`).

    Raises:
        MedaiError: there is no such method, or the network has no map that Grad-CAM can look at.
    """
    if method not in METHODS:
        raise MedaiError(f"there is no saliency method {method!r}; allowed: {', '.join(METHODS)}")
    size = (images.shape[2], images.shape[3])
    if method == "integrated_gradients":
        attributions = integrated_gradients(classifier, images, labels, columns).sum(dim=1)
        return _scaled(attributions, BRIGHTEST_PERCENTILE)
    found = layers if layers is not None else find_layers(classifier, images.shape)
    pairs = zip(members(classifier), found, strict=True)
    maps = [_scaled(resized(gradcam(member, images, labels, columns, layer), size)) for member, layer in pairs]
    return np.asarray(np.stack(maps).mean(axis=0), dtype=np.float32)


def find_layers(classifier: nn.Module, shape: Sequence[int]) -> list[Layer]:
    """Where Grad-CAM looks, in each member of a classifier; it depends on the network alone, not on an image.

    Args:
        classifier: Preprocessed images to logits.
        shape: Of its input, (N, C, H, W).

    Raises:
        MedaiError: see `medai.interpretation.layer.find_layer`.
    """
    noise = torch.rand((1, *shape[1:]), generator=torch.Generator().manual_seed(0))
    with _ready(classifier) as network:
        return [find_layer(member, noise.to(_device(classifier))) for member in members(network)]


def gradcam(
    classifier: nn.Module, images: Float[Tensor, "N C H W"], labels: Sequence[Label], columns: Sequence[int], layer: Layer
) -> Float[Tensor, "N h w"]:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2), at the size of the layer's map.

    The weight of a channel is the mean of its gradient over the map; the map is the positive part of the weighted sum.
    """
    from captum.attr import LayerGradCam

    with _ready(classifier) as network:
        method = LayerGradCam(_evidence_of(network, labels), network.get_submodule(layer.name))
        weighted: Tensor = method.attribute(_own(images), list(columns), relu_attributions=True)
    return weighted[:, 0].detach()


def integrated_gradients(
    classifier: nn.Module, images: Float[Tensor, "N C H W"], labels: Sequence[Label], columns: Sequence[int], steps: int = STEPS
) -> Float[Tensor, "N C H W"]:
    """Integrated gradients (Sundararajan et al. 2017, equation 1) from an image that is as dark as the darkest value everywhere.

    They are complete: their sum is the evidence for the image less that for the dark one, but for the error of the integral.
    """
    from captum.attr import IntegratedGradients

    with _ready(classifier) as network:
        images, method = _own(images), IntegratedGradients(_evidence_of(network, labels))
        parts = [
            method.attribute(image, baselines=dark(image), target=[place], n_steps=steps, internal_batch_size=BATCH)
            for image, place in zip(torch.split(images, 1), columns, strict=True)
        ]
    attributions: Tensor = torch.cat(parts).detach()
    return attributions


def dark(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Where the path of integrated gradients starts: each image's smallest value everywhere."""
    return images.amin(dim=(1, 2, 3), keepdim=True).expand_as(images).contiguous()


def resized(maps: Float[Tensor, "N h w"], size: tuple[int, int]) -> Float[Tensor, "N H W"]:
    """Maps at the size of the image, bilinear."""
    grown: Tensor = functional.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    return grown


def members(classifier: nn.Module) -> list[nn.Module]:
    """The classifiers that an ensemble averages, or the classifier alone."""
    network = getattr(classifier, "network", classifier)
    return list(getattr(network, "members", (classifier,)))


@contextmanager
def _ready(classifier: nn.Module) -> Iterator[nn.Module]:
    """The classifier in evaluation mode, with gradients, in 32 bits and without chance; afterwards it is as it was."""
    modes = [(module, module.training) for module in classifier.modules()]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(_device(classifier).type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        of_inference = any(map(torch.is_inference, chain(classifier.parameters(), classifier.buffers())))
        network = copy.deepcopy(classifier) if of_inference else classifier  # autograd takes no tensor that was made without it
        try:
            yield network.eval()
        finally:
            for module, mode in modes:
                module.training = mode


def _device(module: nn.Module) -> torch.device:
    return next(chain(module.parameters(), module.buffers()), torch.zeros(())).device


def _own(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """A copy that autograd may use, whatever mode the images were made in."""
    return images.detach().clone().float()


def _evidence_of(network: nn.Module, labels: Sequence[Label]) -> Callable[[Tensor], Tensor]:
    return lambda images: evidence(network(images.clone()), labels)  # a copy, since a first layer may work in place


def _scaled(maps: Float[Tensor, "N H W"], percentile: float = 100.0) -> Float32[np.ndarray, "N H W"]:
    """The positive part, each map over its own largest value (or a percentile of it), in [0, 1]."""
    positive = maps.clamp_min(0).cpu().numpy().astype(np.float64)
    top = np.percentile(positive, percentile, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, positive.max(axis=(1, 2), keepdims=True))
    scaled = np.divide(positive, top, out=np.zeros_like(positive), where=top > 0)
    return np.clip(scaled, 0, 1).astype(np.float32)
