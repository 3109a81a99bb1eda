"""Over many draws, a batch has the distribution that MONAI's transforms give image by image.

One image is transformed many times by both. What is compared, by Kolmogorov-Smirnov tests with fixed seeds, is how similar
the results are to some fixed patterns, and how often the image is left as it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from scipy.stats import ks_2samp
from torch import Tensor

from medai.augmentation.batched import BatchedAugmentation
from medai.augmentation.pipeline import Augmentation, is_transform
from medai.core.target import build

DRAWS = 400
MONAI = "monai.transforms."

# A node, and one that differs from it in one argument
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 1}, {"spatial_axis": 0}),
    ({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 1}, {"prob": 0.7}),
    ({"_target_": "RandAxisFlip", "prob": 0.8}, {"prob": 0.6}),
    ({"_target_": "RandRotate90", "prob": 0.8, "max_k": 3}, {"max_k": 2}),
    ({"_target_": "RandRotate90", "prob": 0.8, "max_k": 1}, {"spatial_axes": [1, 0]}),
    ({"_target_": "RandRotate", "prob": 1.0, "range_x": 0.4}, {"range_x": 0.6}),
    ({"_target_": "RandRotate", "prob": 1.0, "range_x": [0.1, 0.4]}, {"range_x": [-0.4, -0.1]}),
    ({"_target_": "RandZoom", "prob": 1.0, "min_zoom": 0.7, "max_zoom": 1.3}, {"min_zoom": 0.8}),
    ({"_target_": "RandZoom", "prob": 1.0, "min_zoom": [0.7, 0.9], "max_zoom": [1.0, 1.3]}, {"min_zoom": [0.9, 0.7]}),
    ({"_target_": "RandAffine", "prob": 1.0, "rotate_range": 0.3, "padding_mode": "border"}, {"rotate_range": 0.45}),
    ({"_target_": "RandAffine", "prob": 1.0, "rotate_range": [[0.1, 0.4]]}, {"rotate_range": [0.1, 0.4]}),
    ({"_target_": "RandAffine", "prob": 1.0, "translate_range": [3, 1]}, {"translate_range": [1, 3]}),
    ({"_target_": "RandAffine", "prob": 1.0, "translate_range": [[1, 4], [-2, 0]]}, {"translate_range": [[-4, -1], [-2, 0]]}),
    ({"_target_": "RandAffine", "prob": 1.0, "scale_range": [0.3, 0.3]}, {"scale_range": 0.3}),
    ({"_target_": "RandAffine", "prob": 1.0, "scale_range": [[-0.3, 0.0], [0.0, 0.3]]}, {"scale_range": [[0.0, 0.3], [-0.3, 0.0]]}),
    ({"_target_": "RandAffine", "prob": 1.0, "shear_range": [[0.1, 0.4], 0.1]}, {"shear_range": [0.1, [0.1, 0.4]]}),
    (
        {"_target_": "RandAffine", "prob": 0.9, "rotate_range": 0.2, "shear_range": 0.2, "translate_range": 3, "scale_range": [0.2, 0.2]},
        {"translate_range": 4.5},
    ),
    ({"_target_": "RandShiftIntensity", "prob": 1.0, "offsets": 0.2}, {"offsets": [0, 0.2]}),
    ({"_target_": "RandShiftIntensity", "prob": 1.0, "offsets": 0.2, "channel_wise": True}, {"channel_wise": False}),
    ({"_target_": "RandStdShiftIntensity", "prob": 1.0, "factors": 0.5}, {"factors": 0.8}),
    ({"_target_": "RandScaleIntensity", "prob": 0.9, "factors": 0.3}, {"factors": [0, 0.3]}),
    ({"_target_": "RandAdjustContrast", "prob": 1.0, "gamma": [0.7, 1.5]}, {"gamma": [0.7, 1.3]}),
    ({"_target_": "RandAdjustContrast", "prob": 1.0, "gamma": 2.0, "invert_image": True}, {"invert_image": False}),
    ({"_target_": "RandAdjustContrast", "prob": 1.0, "gamma": 2.0, "retain_stats": True}, {"gamma": 1.5}),
    ({"_target_": "RandGaussianNoise", "prob": 1.0, "std": 0.3}, {"std": 0.4}),
    ({"_target_": "RandGaussianNoise", "prob": 1.0, "mean": 0.2, "std": 0.1, "sample_std": False}, {"sample_std": True}),
    ({"_target_": "RandGaussianSmooth", "prob": 1.0}, {"sigma_x": [0.25, 2.0]}),
    ({"_target_": "RandGaussianSharpen", "prob": 1.0}, {"alpha": [10, 20]}),
    ({"_target_": "RandGaussianSharpen", "prob": 1.0, "sigma1_x": [1.0, 2.0]}, {"sigma2_x": [0.5, 0.9]}),
    ({"_target_": "RandHistogramShift", "prob": 1.0, "num_control_points": 4}, {"num_control_points": 5}),
    ({"_target_": "RandHistogramShift", "prob": 1.0, "num_control_points": [3, 9]}, {"num_control_points": 9}),
    ({"_target_": "RandBiasField", "prob": 1.0, "coeff_range": [0.0, 0.3]}, {"degree": 2}),
    ({"_target_": "RandCoarseDropout", "prob": 1.0, "holes": 2, "spatial_size": [4, 7], "fill_value": 0}, {"spatial_size": [7, 4]}),
    (
        {"_target_": "RandCoarseDropout", "prob": 1.0, "holes": 1, "spatial_size": 2, "max_holes": 4, "max_spatial_size": 9},
        {"max_spatial_size": 8, "max_holes": 3},
    ),
    ({"_target_": "RandCoarseDropout", "prob": 1.0, "holes": 1, "spatial_size": 9, "dropout_holes": False}, {"fill_value": [0, 0.9]}),
]


def picture() -> Tensor:
    """A smooth picture without any symmetry, in two channels (2, 16, 16)."""
    coarse = torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic")[0]


def statistics(images: Tensor) -> list[ndarray]:
    """Their means, deviation and roughness, and their likeness to fixed patterns: a column a case, one array a statistic."""
    flat = images.flatten(1).double()
    patterns = torch.randn(flat.shape[1], 6, generator=torch.Generator().manual_seed(5)).double()
    smooth = torch.nn.functional.avg_pool2d(patterns.T.reshape(6, 2, 16, 16), 5, 1, 2).reshape(6, -1).T
    rough = (images[..., 1:] - images[..., :-1]).flatten(1).std(1)
    parts = [images[:, 0].mean((1, 2)), images[:, 1].mean((1, 2)), flat.std(1), rough, flat @ patterns / 16, flat @ smooth / 16]
    return [column.round(decimals=5).numpy() for part in parts for column in part.reshape(len(flat), -1).T]


def with_monai(nodes: Sequence[dict[str, Any]]) -> Tensor:
    from monai.data.meta_obj import set_track_meta
    from monai.transforms import Compose

    compose = Compose([build(node, "a transform", is_transform) for node in nodes]).set_random_state(seed=0)
    set_track_meta(False)
    try:
        return torch.stack([compose(picture()) for _ in range(DRAWS)])
    finally:
        set_track_meta(True)


def in_batches(nodes: Sequence[dict[str, Any]]) -> Tensor:
    seeds = np.random.default_rng(1).integers(0, 2**64, 3 * DRAWS, dtype=np.uint64)
    return BatchedAugmentation(nodes)(picture().expand(3 * DRAWS, -1, -1, -1), seeds)


def least_likely(left: Tensor, right: Tensor) -> float:
    """The least p-value of all statistics, times their number (Bonferroni)."""
    pairs = list(zip(statistics(left), statistics(right), strict=True))
    return min(float(ks_2samp(*pair, method="asymp").pvalue) for pair in pairs) * len(pairs)


def names(case: Any) -> str:
    return str(case.get("_target_", "_".join(case)))


@pytest.mark.parametrize(("node", "change"), CASES, ids=names)
def test_a_transform_has_the_distribution_of_monai_and_a_changed_one_has_not(node: dict[str, Any], change: dict[str, Any]) -> None:
    node = node | {"_target_": MONAI + node["_target_"]}
    expected = with_monai([node])
    assert least_likely(expected, in_batches([node])) > 0.01
    assert least_likely(expected, in_batches([node | change])) < 1e-4


def test_a_list_has_the_distribution_of_monai() -> None:
    nodes = [
        {"_target_": MONAI + "RandFlip", "prob": 0.5, "spatial_axis": 1},
        {"_target_": MONAI + "RandAffine", "prob": 0.8, "rotate_range": 0.26, "scale_range": [0.15, 0.15], "translate_range": [3, 3]},
        {"_target_": MONAI + "RandAdjustContrast", "prob": 0.5, "gamma": [0.7, 1.5]},
        {"_target_": MONAI + "RandScaleIntensity", "prob": 0.5, "factors": 0.2},
        {"_target_": MONAI + "RandGaussianNoise", "prob": 0.3, "std": 0.05},
    ]
    expected = with_monai(nodes)
    assert least_likely(expected, in_batches(nodes)) > 0.01
    for place, change in enumerate([{"prob": 0.9}, {"translate_range": [6, 3]}, {"gamma": [0.7, 2.5]}, {"factors": 0.5}, {"prob": 1.0}]):
        changed = [node | (change if place == other else {}) for other, node in enumerate(nodes)]
        assert least_likely(expected, in_batches(changed)) < 0.01, change


def test_a_case_is_chosen_as_often_as_by_monai() -> None:
    nodes = [{"_target_": MONAI + "RandShiftIntensity", "prob": 0.3, "offsets": 1.0}]
    for results in (with_monai(nodes), in_batches(nodes)):
        changed = (results != picture()).flatten(1).any(dim=1).double()
        assert abs(float(changed.mean()) - 0.3) < 4 * (0.21 / len(changed)) ** 0.5


def test_both_engines_take_the_same_list() -> None:
    nodes = [{"_target_": MONAI + "RandGaussianNoise", "prob": 1.0}]
    images, seeds = torch.zeros(2, 1, 64, 64), np.array([3, 4], dtype=np.uint64)
    single, batch = Augmentation(nodes)(images, seeds), BatchedAugmentation(nodes)(images, seeds)
    assert single.shape == batch.shape and not torch.equal(single, batch)  # the same distribution, by other draws
