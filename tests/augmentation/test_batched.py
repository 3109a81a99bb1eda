"""A whole batch is augmented at once, and each case as if it were alone."""

import inspect
import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medai.augmentation import batched
from medai.augmentation.batched import TRANSFORMS, BatchedAugmentation, covers, not_covered
from medai.config import settings
from medai.core.error import MedaiError

MONAI = "monai.transforms."
STANDARD = [
    {"_target_": MONAI + "RandFlip", "prob": 0.5, "spatial_axis": 1},
    {"_target_": MONAI + "RandAffine", "prob": 0.8, "rotate_range": 0.3, "scale_range": [0.1, 0.1], "padding_mode": "border"},
    {"_target_": MONAI + "RandAdjustContrast", "prob": 0.5, "gamma": [0.7, 1.5]},
    {"_target_": MONAI + "RandScaleIntensity", "prob": 0.5, "factors": 0.2},
    {"_target_": MONAI + "RandGaussianNoise", "prob": 0.5, "std": 0.05},
]
EVERYTHING = [
    *STANDARD,
    {"_target_": MONAI + "RandAxisFlip", "prob": 0.5},
    {"_target_": MONAI + "RandRotate90", "prob": 0.5},
    {"_target_": MONAI + "RandRotate", "prob": 0.5, "range_x": 0.4},
    {"_target_": MONAI + "RandZoom", "prob": 0.5},
    {"_target_": MONAI + "RandAffine", "prob": 0.5, "shear_range": [0.1, 0.1], "mode": "bicubic"},
    {"_target_": MONAI + "RandShiftIntensity", "prob": 0.5, "offsets": 0.1, "channel_wise": True},
    {"_target_": MONAI + "RandStdShiftIntensity", "prob": 0.5, "factors": 0.1},
    {"_target_": MONAI + "RandAdjustContrast", "prob": 0.5, "retain_stats": True, "invert_image": True},
    {"_target_": MONAI + "RandHistogramShift", "prob": 0.5, "num_control_points": [5, 10]},
    {"_target_": MONAI + "RandBiasField", "prob": 0.5},
    {"_target_": MONAI + "RandGaussianSmooth", "prob": 0.5},
    {"_target_": MONAI + "RandGaussianSharpen", "prob": 0.5},
    {"_target_": MONAI + "RandCoarseDropout", "prob": 0.5, "holes": 2, "spatial_size": 5, "max_holes": 4},
]


def cases(count: int, size: int, channels: int = 1) -> tuple[Tensor, np.ndarray]:
    seeds = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)), seeds


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (31, 3), (200, 1)])
def test_a_case_depends_on_no_other_case_bit_for_bit(size: int, channels: int) -> None:
    images, seeds = cases(24 if size < 100 else 6, size, channels)
    augmentation = BatchedAugmentation(EVERYTHING)
    whole = augmentation(images, seeds)
    assert all(torch.equal(augmentation(images[i : i + 1], seeds[i : i + 1])[0], whole[i]) for i in range(len(images)))
    order = np.random.default_rng(1).permutation(len(images))
    assert torch.equal(augmentation(images[order], seeds[order]), whole[order])


@pytest.mark.parametrize("node", EVERYTHING, ids=lambda node: node["_target_"].rsplit(".", 1)[-1])
def test_the_number_of_threads_changes_not_one_bit(node: dict[str, Any]) -> None:
    images, seeds = cases(7, 197)
    augmentation, threads, results = BatchedAugmentation([node | {"prob": 1.0}]), torch.get_num_threads(), []
    try:
        for count in (1, 3, 5):
            torch.set_num_threads(count)
            results += [augmentation(images, seeds), torch.cat([augmentation(images[i : i + 1], seeds[i : i + 1]) for i in range(7)])]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], result) for result in results[1:])


def test_the_size_of_the_parts_changes_not_one_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    images, seeds = cases(20, 28)
    results = []
    for pixels in (1, 2000, 2**16):
        monkeypatch.setattr(batched, "CACHED_PIXELS", pixels)
        results.append(BatchedAugmentation(EVERYTHING)(images, seeds))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("node", EVERYTHING, ids=lambda node: node["_target_"].rsplit(".", 1)[-1])
def test_another_seed_gives_another_result(node: dict[str, Any]) -> None:
    images, _ = cases(1, 28)
    results = BatchedAugmentation([node | {"prob": 1.0}])(images.expand(64, -1, -1, -1), np.arange(64, dtype=np.uint64))
    different = {"RandFlip": 1, "RandAxisFlip": 2, "RandRotate90": 3, "RandZoom": 6}  # zooms end at 25 to 30 whole pixels
    assert len({result.numpy().tobytes() for result in results}) == different.get(node["_target_"].removeprefix(MONAI), 64)
    assert torch.isfinite(results).all()


def test_the_images_that_are_given_stay_as_they_are() -> None:
    images, seeds = cases(8, 28)
    before = images.clone()
    result = BatchedAugmentation(EVERYTHING)(images, seeds)
    assert torch.equal(images, before) and result.shape == images.shape and not torch.equal(result, images)


def test_the_memory_layout_stays_and_changes_no_value() -> None:
    images, seeds = cases(8, 28, 3)
    augmentation = BatchedAugmentation(EVERYTHING)
    result = augmentation(images.to(memory_format=torch.channels_last), seeds)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, augmentation(images, seeds))


def test_no_transforms_and_no_images_are_left_alone() -> None:
    images, seeds = cases(4, 8)
    assert BatchedAugmentation([])(images, seeds) is images
    assert BatchedAugmentation(STANDARD)(images[:0], seeds[:0]).shape == (0, 1, 8, 8)


def test_the_same_transform_twice_draws_twice() -> None:
    images, seeds = cases(400, 4)
    flip = {"_target_": MONAI + "RandFlip", "prob": 0.5, "spatial_axis": 1}
    same = (BatchedAugmentation([flip, flip])(images, seeds) == images).all(dim=(1, 2, 3))
    assert 0.4 < float(same.float().mean()) < 0.6


def test_what_is_not_covered_is_named() -> None:
    flip = MONAI + "RandFlip"
    assert not_covered(EVERYTHING) is None and covers(EVERYTHING)
    assert not_covered([*STANDARD, {"_target_": MONAI + "RandGibbsNoise"}]) == MONAI + "RandGibbsNoise"
    assert not_covered([{"_target_": "torch.nn.Dropout"}]) == "torch.nn.Dropout"
    assert not_covered([{"_target_": "my_package.RandFlip"}]) == "my_package.RandFlip"
    assert not_covered([{"_target_": flip, "lazy": True}]) == flip + " with the argument lazy"
    assert not_covered([{"_target_": flip, "spatial_axis": 5}]).startswith(flip + " as it is given (spatial_axis is 0")
    assert not_covered([{"_target_": MONAI + "RandShiftIntensity"}]).startswith(MONAI + "RandShiftIntensity as it is given (")
    assert not_covered([{"_target_": flip, "prob": "0.5"}]) == flip + " as it is given (prob is a number, got '0.5')"
    assert not_covered([{"prob": 1.0}]) == "a node without _target_"
    assert not covers([{"_target_": flip, "lazy": True}])


def test_what_is_not_covered_is_refused_in_one_line() -> None:
    line = r"^augmentation.engine=batched does not know monai.transforms.RandGibbsNoise; give augmentation.engine=auto or monai$"
    with pytest.raises(MedaiError, match=line):
        BatchedAugmentation([{"_target_": MONAI + "RandGibbsNoise"}])


def test_transforms_are_tried_before_they_are_needed() -> None:
    BatchedAugmentation(EVERYTHING).check((3, 28, 28))
    with pytest.raises(MedaiError, match="RandRotate90 would change the shape"):
        BatchedAugmentation([{"_target_": MONAI + "RandRotate90", "prob": 0.0}]).check((1, 28, 30))
    fails = {"_target_": MONAI + "RandCoarseDropout", "holes": 1, "spatial_size": ["5", "5"]}
    with pytest.raises(MedaiError, match=r"transforms\[0\] \(CoarseDropout\) fails on an image of shape \(1, 28, 28\): "):
        BatchedAugmentation([fails]).check((1, 28, 28))


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_arguments_are_named_and_default_as_in_monai(name: str) -> None:
    import monai.transforms

    theirs = inspect.signature(getattr(monai.transforms, name)).parameters
    for field in fields(TRANSFORMS[name]):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        assert str(theirs[field.name].default) == str(default), field.name


@pytest.mark.parametrize("name", ["light", "standard", "none"])
def test_the_recipes_are_covered(name: str) -> None:
    assert not_covered(settings("train", [f"augmentation={name}", "dataset=phantom"]).augmentation.transforms) is None


def test_the_recipe_of_the_benchmark_is_covered() -> None:
    transforms = settings("train", ["experiment=pneumoniamnist", "dataset.path=x.npz"]).augmentation.transforms
    assert not_covered(transforms) is None and len(transforms) == 5


def test_monai_is_not_imported() -> None:
    code = (
        "import sys, numpy, torch; from medai.augmentation.batched import BatchedAugmentation\n"
        f"BatchedAugmentation({STANDARD!r})(torch.rand(2, 1, 8, 8), numpy.arange(2, dtype=numpy.uint64))\n"
        "assert 'monai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
