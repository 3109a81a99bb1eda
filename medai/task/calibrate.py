"""The calibration of validation as a step of the network, so that training, export and the device apply the same numbers."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medai.core.error import MedaiError
from medai.core.label import Label, slices_of
from medai.evaluation.calibrator import Calibrator


class Calibrate(nn.Module):
    """Calibrated logits: divided by a temperature, shifted, or led along an isotonic curve. It exports to plain ONNX operators.

    Its numbers are in no state dict: they belong to the record of the checkpoint.

    Args:
        labels: The labels, in the order of the logits.
        calibrators: By label name; a label without one keeps its logits.

    Raises:
        MedaiError: a calibrator of a label that is not there, or one for binary labels at another label.

    Example:
        >>> step = Calibrate([Label("nodule", "binary", ("no", "yes"))], {"nodule": Calibrator("platt", 2.0, 0.5)})
        >>> step(torch.tensor([[1.0]]))
        tensor([[1.]])
    """

    def __init__(self, labels: Sequence[Label], calibrators: Mapping[str, Calibrator]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        names = [label.name for label in labels]
        for name in calibrators:
            if name not in names:
                raise MedaiError(f"a calibration is for label {name!r}; there are: {', '.join(names)}")
        each = [calibrators.get(label.name, Calibrator()) for label in labels]
        for label, calibrator in zip(labels, each, strict=True):
            if label.kind != "binary" and calibrator.kind in ("platt", "isotonic"):
                raise MedaiError(
                    f"label {label.name!r} is {label.kind}, and a {calibrator.kind} calibration is for binary labels; use temperature"
                )
        columns = [calibrator for label, calibrator in zip(labels, each, strict=True) for _ in label.columns]
        self.register_buffer("temperature", torch.tensor([[one.temperature for one in columns]], dtype=torch.float32), persistent=False)
        shifts = torch.tensor([[one.intercept for one in columns]], dtype=torch.float32)
        self.register_buffer("intercept", shifts if bool(shifts.any()) else None, persistent=False)
        self._curves: dict[int, int] = {}  # column of the logits -> number of its curve
        for label, calibrator in zip(labels, each, strict=True):
            if calibrator.kind == "isotonic":
                self._add_curve(slices_of(labels)[label.name].start, calibrator)

    def _add_curve(self, column: int, calibrator: Calibrator) -> None:
        number = len(self._curves)
        knots = torch.tensor(calibrator.logits, dtype=torch.float32)
        values = torch.tensor(calibrator.probabilities, dtype=torch.float32)
        self.register_buffer(f"knots_{number}", knots, persistent=False)
        self.register_buffer(f"rises_{number}", values.diff()[:, None], persistent=False)
        self.register_buffer(f"ends_{number}", torch.stack([values[0], 1 - values[-1]]), persistent=False)
        self._curves[column] = number

    def forward(self, logit: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
        """Calibrated logits, float32."""
        values = logit.float()
        scaled = values / self.get_buffer("temperature")
        if self.intercept is not None:
            scaled = scaled + self.get_buffer("intercept")
        if not self._curves:
            return scaled
        columns = [
            self._curve(values, column) if column in self._curves else scaled[:, column : column + 1] for column in range(scaled.shape[1])
        ]
        return torch.cat(columns, dim=1)

    def _curve(self, logit: Float[Tensor, "N P"], column: int) -> Float[Tensor, "N 1"]:
        number = self._curves[column]
        knots, rises = self.get_buffer(f"knots_{number}"), self.get_buffer(f"rises_{number}")
        passed = ((logit[:, column : column + 1] - knots[:-1]) / knots.diff()).clamp(0.0, 1.0)  # share of each stretch
        least, rest = self.get_buffer(f"ends_{number}")
        return torch.log(least + passed @ rises) - torch.log(rest + (1 - passed) @ rises)  # each summed from its small end
