"""The calibration step gives in torch and in ONNX what was fitted in numpy."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.calibrator import Calibrator, fit_calibrator
from medai.task.calibrate import Calibrate

LABELS = (
    Label("nodule", "binary", ("no", "yes")),
    Label("grade", "ordinal", ("a", "b", "c")),
    Label("edema", "binary", ("no", "yes")),
    Label("mass", "binary", ("no", "yes")),
)


def fitted() -> dict[str, Calibrator]:
    generator = np.random.default_rng(0)
    logit = 2 * generator.normal(size=3000) + 0.5
    truth = generator.random(3000) < 1 / (1 + np.exp(-logit / 2))
    return {
        "nodule": fit_calibrator("isotonic", logit, truth),
        "grade": Calibrator("temperature", 1.5),
        "edema": fit_calibrator("platt", logit, truth),
        "mass": fit_calibrator("isotonic", logit[:200], truth[:200]),
    }


def logits() -> torch.Tensor:
    values = 4 * torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    values[:3] = torch.tensor([-1e4, 1e4, 0.0])[:, None]
    return values


def expected(values: np.ndarray, calibrators: dict[str, Calibrator]) -> np.ndarray:
    parts = {"nodule": slice(0, 1), "grade": slice(1, 4), "edema": slice(4, 5), "mass": slice(5, 6)}
    return np.concatenate([calibrators.get(name, Calibrator()).apply(values[:, part]) for name, part in parts.items()], axis=1)


@pytest.mark.parametrize("names", [(), ("grade",), ("edema", "grade"), ("nodule", "grade", "edema", "mass")])
def test_torch_gives_what_numpy_gives(names: tuple[str, ...]) -> None:
    calibrators = {name: fitted()[name] for name in names}
    values = logits()
    found = Calibrate(LABELS, calibrators)(values)
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(expected(values.double().numpy(), calibrators), rel=1e-5, abs=1e-4)
    probability = 1 / (1 + np.exp(-np.clip(found.double().numpy(), -700, 700)))
    truth = 1 / (1 + np.exp(-np.clip(expected(values.double().numpy(), calibrators), -700, 700)))
    assert probability == pytest.approx(truth, abs=1e-6)


def test_a_temperature_alone_is_the_plain_division() -> None:
    values = logits()
    found = Calibrate(LABELS, {label.name: Calibrator("temperature", float(np.float32(1.7))) for label in LABELS})(values)
    assert torch.equal(found, values / torch.tensor(1.7, dtype=torch.float32))


def test_onnx_gives_what_torch_gives(tmp_path: Path) -> None:
    step, values = Calibrate(LABELS, fitted()).eval(), logits()
    path = tmp_path / "calibrate.onnx"
    batch = {0: torch.export.Dim("n", min=1)}
    torch.onnx.export(
        step,
        (values[:4],),
        path,
        input_names=["logit"],
        output_names=["calibrated"],
        dynamo=True,
        dynamic_shapes=(batch,),
        opset_version=18,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in (1, 4, 500):
        (found,) = session.run(None, {"logit": values[:size].numpy()})
        assert found == pytest.approx(step(values[:size]).numpy(), rel=1e-6, abs=1e-5)


def test_a_rounding_of_the_logits_moves_no_isotonic_probability_past_the_limit_of_an_export() -> None:
    generator = np.random.default_rng(0)
    logit = 0.3 * generator.normal(size=300)
    truth = generator.random(300) < 1 / (1 + np.exp(-4 * logit))
    step = Calibrate(LABELS[:1], {"nodule": fit_calibrator("isotonic", logit, truth)})
    values = torch.linspace(-1, 1, 20_001)[:, None]
    moved = (step(values + 1e-6).sigmoid() - step(values).sigmoid()).abs().max()
    assert float(moved) < 1e-5


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(MedaiError, match="a calibration is for label 'hernia'; there are: nodule, grade, edema, mass"):
        Calibrate(LABELS, {"hernia": Calibrator()})
    with pytest.raises(MedaiError, match="label 'grade' is ordinal, and a platt calibration is for binary labels; use temperature"):
        Calibrate(LABELS, {"grade": Calibrator("platt", 1.0, 0.5)})
