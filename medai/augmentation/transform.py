"""What a batched transform is: draws for every case, and their application to the cases that were chosen."""

from typing import Protocol

from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from medai.augmentation.draws import Draws

Parameters = dict[str, ndarray]
Shape = tuple[int, int, int]


class BatchTransform(Protocol):
    """A random transform of cases (N, C, H, W); built with the arguments of the MONAI transform that it stands for.

    Attributes:
        prob: How often a case is chosen.
    """

    @property
    def prob(self) -> float: ...

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        """Draw the parameters of the chosen cases: arrays with the case as their first axis."""
        ...

    def apply(self, images: Float32[Tensor, "N C H W"], parameters: Parameters) -> Float32[Tensor, "N C H W"]:
        """Transform all images with given parameters; may work in place. A pixel depends on its own image and parameters alone."""
        ...
