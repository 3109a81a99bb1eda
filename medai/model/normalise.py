"""The range of values that published weights expect, made from the [0, 1] that the intensity step gives.

It is part of the network, so that it is trained, exported and checked with it, and so that a checkpoint says what it needs.
Zero padding inside the network then means the mean grey, as in the training of the published weights.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medai.core.error import MedaiError

# Mean and standard deviation of each colour, for values in [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's and most others'
SYMMETRIC = ((127 / 255,) * 3, (128 / 255,) * 3)  # about [-1, 1]: weights that come from TensorFlow, EfficientNet-lite among them
NORMALISATIONS = {"imagenet": IMAGENET, "symmetric": SYMMETRIC}


class Normalised(nn.Module):
    """A network that subtracts a mean from its input and divides by a standard deviation first.

    A grey image takes the colours' averages. With the first convolution summed over its colours, that is what the published
    network computes of the grey image in colour: exactly where the colours' values are equal (``symmetric``), else nearly.

    Args:
        network: Takes the normalised images.
        name: ``imagenet`` or ``symmetric``.
        channels: Channels of the images.
    """

    def __init__(self, network: nn.Module, name: str, channels: int) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        for key, values in zip(("mean", "std"), NORMALISATIONS[name], strict=True):
            colours = torch.tensor(values)
            chosen = colours if channels == len(values) else colours.mean().expand(channels).clone()
            self.register_buffer(key, chosen.view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N out"]:
        outputs: Tensor = self.network((x - self.mean) / self.std)
        return outputs


def normalised(network: nn.Module, name: str, channels: int) -> nn.Module:
    """A network behind the named normalisation; ``none`` gives it back as it is.

    Raises:
        MedaiError: there is no such normalisation.
    """
    if name == "none":
        return network
    if name not in NORMALISATIONS:
        raise MedaiError(f"model.normalise is {name!r}; allowed: none, {', '.join(NORMALISATIONS)}")
    return Normalised(network, name, channels)
