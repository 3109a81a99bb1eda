"""From a model and an image to what the report shows: the image as the network takes it, and its map."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor, nn

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import say
from medai.evaluation.report.overlay import Explanation
from medai.interpretation.evidence import column
from medai.interpretation.layer import Layer
from medai.interpretation.saliency import METHODS, find_layers, integrated_gradients, saliency
from medai.preprocessing.plan import PreprocessingPlan


class Explained(Protocol):
    """The parts of a predictor that a map needs: `medai.training.predictor.Predictor` has them."""

    plan: PreprocessingPlan
    preprocessing: nn.Sequential

    @property
    def classifier(self) -> nn.Module:
        """Preprocessed images to logits."""

    @property
    def labels(self) -> Sequence[Label]:
        """What it predicts, in the order of its logits."""


class Explainer:
    """Explains native pixels; made once for a model.

    Args:
        predictor: The model.
        method: ``gradcam`` or ``integrated_gradients``.
        replace: Where the network has no map that Grad-CAM can look at, let integrated gradients take its place; `note` says so.

    Attributes:
        method: What is really used.
        note: Why it is not what was asked for, or nothing.

    Raises:
        MedaiError: there is no such method, the network has no map for Grad-CAM and `replace` is false, or it gives no gradient.

    Example:
        >>> explanation = Explainer(Checkpoint.load(run).predictor())(pixels, "pneumonia", 1)
        >>> explanation.saliency.shape
        (224, 224)
    """

    def __init__(self, predictor: Explained, method: str = "gradcam", replace: bool = True) -> None:
        if method not in METHODS:
            raise MedaiError(f"there is no saliency method {method!r}; allowed: {', '.join(METHODS)}")
        self._predictor, self.method, self.note = predictor, method, ""
        self._layers: list[Layer] | None = None
        try:
            self._layers = self._find_layers(replace)
            self._probe()
        except (RuntimeError, AssertionError) as error:
            raise MedaiError(f"the network cannot be explained ({str(error).splitlines()[0]})") from None

    def __call__(self, pixels: Shaped[np.ndarray, "C H W"], label: str, index: int) -> Explanation | None:
        """Explain one image; None, with a line that says why, where the memory does not suffice.

        Args:
            pixels: Native modality values.
            label: Name of the label.
            index: The class to explain; of a binary label always the positive one, of an ordinal label a higher grade.
        """
        place = column(self._predictor.labels, label, index)
        try:
            image = self._input(pixels)
            return Explanation(image[0].cpu().numpy(), self._map(image, place))
        except RuntimeError as error:
            say(f"No saliency map of one image: {str(error).splitlines()[0]}")
            return None

    def _find_layers(self, replace: bool) -> list[Layer] | None:
        """Where Grad-CAM looks; where it cannot, the method may become integrated gradients."""
        if self.method == "gradcam":
            try:
                return find_layers(self._predictor.classifier, self._shape)
            except MedaiError as error:
                if not replace:
                    raise MedaiError(f"Grad-CAM is not possible, since {error}") from None
                self.method = "integrated_gradients"
                self.note = f"Grad-CAM is not possible, since {error}: integrated gradients stand in its place."
        return None

    def _probe(self) -> None:
        """Explain an empty image, so that what cannot work is told now."""
        empty = torch.zeros(self._shape, device=self._device)
        if self.method == "integrated_gradients":
            integrated_gradients(self._predictor.classifier, empty, self._predictor.labels, [0], steps=2)
        else:
            self._map(empty, 0)

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        size = self._predictor.plan.resize
        return 1, size.channels, size.height, size.width

    @property
    def _device(self) -> torch.device:
        return next(self._predictor.classifier.parameters(), torch.zeros(())).device

    def _input(self, pixels: Shaped[np.ndarray, "C H W"]) -> Tensor:
        native = torch.from_numpy(np.array(pixels, dtype=np.float32))[None]
        with torch.no_grad():
            image: Tensor = self._predictor.preprocessing(native.to(self._device))
        return image

    def _map(self, image: Float[Tensor, "1 C h w"], place: int) -> Float32[np.ndarray, "h w"]:
        maps = saliency(self._predictor.classifier, image, self._predictor.labels, [place], self.method, self._layers)
        return np.asarray(maps[0])


def explainer_of(predictor: Explained, method: str, replace: bool = True) -> tuple[Explainer | None, str]:
    """The explainer of a report and what the report has to say of it; or None, and why there is none."""
    try:
        made = Explainer(predictor, method, replace)
    except MedaiError as error:
        return None, f"No saliency maps: {error}."
    return made, made.note
