"""The whole chain from native modality values to the decision: what is validated, exported and run."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from medai.core.label import Label
from medai.preprocessing.intensity import preprocessing
from medai.preprocessing.plan import PreprocessingPlan
from medai.task.task import Decide, Head


class Classifier(nn.Module):
    """Network and head: preprocessed images to logits, optionally averaged over the left-right mirror image."""

    def __init__(self, network: nn.Module, head: Head, flip_average: bool = False) -> None:
        super().__init__()
        self.network, self.head, self.flip_average = network, head, flip_average

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        """Logits of one pass, as the loss takes them."""
        logit: Tensor = self.head(self.network(images))
        return logit

    def averaged(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        """Logits as they are validated and shipped."""
        if not self.flip_average:
            return self.forward(images)
        return (self.forward(images) + self.forward(images.flip(-1))) / 2


class Predictor(nn.Module):
    """Native modality values of any size -> (probability, calibrated logit, decision).

    Args:
        plan: Resize and intensity.
        classifier: Network and head.
        decide: Calibration and thresholds.
    """

    def __init__(self, plan: PreprocessingPlan, classifier: Classifier, decide: Decide) -> None:
        super().__init__()
        self.plan = plan
        self.preprocessing = preprocessing(plan)
        self.classifier = classifier
        self.decide = decide

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.decide.labels

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N P"], Int64[Tensor, "N L"]]:
        """Predict from modality values in MONOCHROME2 polarity."""
        return self.from_resized(self.preprocessing[0](pixels))

    def from_resized(self, pixels: Float[Tensor, "N C h w"]) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N P"], Int64[Tensor, "N L"]]:
        """Predict from what a view stores: modality values that are resized already."""
        probability, logit, decision = self.decide(self.classifier.averaged(self.preprocessing[1](pixels)))
        return probability, logit, decision
