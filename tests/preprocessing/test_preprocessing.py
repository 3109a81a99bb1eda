"""Resize and intensity."""

import pytest
import torch

from medai.core.error import MedaiError
from medai.preprocessing.intensity import MinMax, Percentile, Window, ZScore, preprocessing
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.preprocessing.resize import Resize


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    pixels = torch.randint(0, 256, (2, 1, 28, 28)).float()
    assert torch.equal(Resize(28, 28, 1)(pixels), pixels)


def test_a_large_image_is_averaged_and_not_sampled() -> None:
    checkerboard = (torch.arange(64)[:, None] + torch.arange(64)[None]).remainder(2).float()[None, None]
    assert (Resize(16, 16, 1)(checkerboard)[..., 1:-1, 1:-1] - 0.5).abs().max() < 0.02


def test_colour_is_weighted_to_grey_and_grey_repeated() -> None:
    colour = torch.tensor([100.0, 50.0, 200.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert torch.allclose(Resize(8, 8, 1)(colour), torch.tensor(0.299 * 100 + 0.587 * 50 + 0.114 * 200))
    assert Resize(8, 8, 3)(colour[:, :1]).shape == (1, 3, 8, 8)


def test_percentiles_make_exposure_and_offset_irrelevant() -> None:
    pixels = torch.rand(3, 1, 32, 32)
    module = Percentile(1, 99)
    assert torch.allclose(module(pixels), module(pixels * 37 + 5), atol=1e-5)
    assert module(pixels).min() == 0
    assert module(pixels).max() == 1


@pytest.mark.parametrize("module", [Percentile(1, 99), MinMax(), ZScore(), Window(0, 10)])
def test_a_flat_image_gives_finite_values(module: torch.nn.Module) -> None:
    assert torch.isfinite(module(torch.full((2, 1, 8, 8), 7.0))).all()


def test_a_window_is_clipped() -> None:
    assert Window(-100, 100)(torch.tensor([-500.0, 0.0, 500.0]).view(3, 1, 1, 1)).flatten().tolist() == [0.0, 0.5, 1.0]


def test_each_image_is_scaled_by_itself() -> None:
    one, other = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16) * 9
    module = preprocessing(PreprocessingPlan(ResizePlan(8, 8, 1), IntensityPlan("zscore")))
    assert torch.allclose(module(torch.cat([one, other])), torch.cat([module(one), module(other)]))


def test_a_plan_survives_its_dictionary_and_names_its_view() -> None:
    plan = PreprocessingPlan(ResizePlan(28, 32, 1), IntensityPlan("window", -100, 300))
    assert PreprocessingPlan.from_dict(plan.to_dict()) == plan
    assert ResizePlan(28, 32, 1).hash != ResizePlan(32, 28, 1).hash


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizePlan(4, 28, 1), "at least 8 pixels"),
        (lambda: ResizePlan(28, 28, 2), "must be 1 or 3"),
        (lambda: IntensityPlan("log"), "allowed: window"),
        (lambda: IntensityPlan("window", 5, 5), "must be < upper"),
        (lambda: IntensityPlan("percentile", -1, 99), r"lie in \[0, 100\]"),
    ],
)
def test_a_wrong_plan_is_refused(make: object, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        make()  # type: ignore[operator]
