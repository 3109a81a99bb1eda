"""The whole chain from native modality values to the decision: what is validated, exported and run."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from medai.core.label import Label
from medai.preprocessing.intensity import preprocessing
from medai.preprocessing.plan import PreprocessingPlan
from medai.task.task import Decide
from medai.training.test_time import named, variant


class Classifier(nn.Module):
    """Network and head: preprocessed images to logits, averaged over variants of the image where there are any.

    Args:
        network: Images to raw outputs.
        head: Raw outputs to logits; see `medai.task.task.Head`.
        variants: See `medai.training.test_time.variant`; True is the mirror image alone.
    """

    def __init__(self, network: nn.Module, head: nn.Module, variants: Sequence[str] | bool = ()) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.variants = named(variants)
        self._maps = [variant(name) for name in self.variants]

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        """Logits of one pass, as the loss takes them."""
        logit: Tensor = self.head(self.network(images))
        return logit

    def averaged(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        """Logits as they are validated and shipped: their mean over the image and its variants.

        A mean of logits is, as probability, the normalised geometric mean (the logarithmic opinion pool, Genest and Zidek
        1986), and it is so for every kind of label: of a binary label the logits are log odds; of a softmax they are log
        probabilities up to a constant, which cancels; of an ordinal label they are log probabilities. One temperature
        calibrates such a mean like the logits of one pass.
        """
        logit = self.forward(images)
        if not self._maps:
            return logit
        for each in self._maps:
            logit = logit + self.forward(each(images))
        return logit / (1 + len(self._maps))


class Ensemble(nn.Module):
    """Several classifiers as one network, whose outputs are the mean of their calibrated logits.

    Every member's own temperature goes in before the mean, so that none counts more for being over-confident. The mean of
    logits, and not of probabilities, because a mean of calibrated probabilities is under-confident (Ranjan and Gneiting
    2010), while one temperature more recalibrates averaged logits (Satopää et al. 2014; Rahaman and Thiery 2021), and
    because nothing is lost to rounding near 0 and 1.

    Args:
        members: Classifiers of the same labels and input.
        temperatures: Of each member, for each column of the logits.
        calibrations: Of each member, in the place of its temperatures; by default there are none.
    """

    def __init__(self, members: Sequence[Classifier], temperatures: Float[Tensor, "M P"], calibrations: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.calibrations = nn.ModuleList(calibrations)
        self.register_buffer("temperatures", temperatures, persistent=False)  # the checkpoint's record has them

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        if len(self.calibrations):
            pairs = zip(self.members, self.calibrations, strict=True)
            return torch.stack([calibrate(member.averaged(images)) for member, calibrate in pairs]).mean(dim=0)  # type: ignore[operator]
        temperatures: Tensor = self.get_buffer("temperatures")
        logits = [member.averaged(images) / temperatures[place] for place, member in enumerate(self.members)]  # type: ignore[operator]
        return torch.stack(logits).mean(dim=0)


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
