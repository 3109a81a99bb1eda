"""Each image is transformed by its own draw, whatever else is in the batch."""

import pickle

import numpy as np
import pytest
import torch

from medai.augmentation.pipeline import Augmentation
from medai.core.error import MedaiError

NODES = [
    {"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1},
    {"_target_": "monai.transforms.RandAffine", "prob": 0.9, "rotate_range": 0.3, "padding_mode": "border"},
    {"_target_": "monai.transforms.RandGaussianNoise", "prob": 0.5},
    {"_target_": "torch.nn.Dropout", "p": 0.1},
]
SEEDS = np.array([3, 2**63 + 5, 3, 9], dtype=np.uint64)


def test_the_seed_alone_decides() -> None:
    images = torch.rand(1, 1, 16, 16).repeat(4, 1, 1, 1)
    augmentation = Augmentation(NODES)
    result = augmentation(images, SEEDS)
    assert torch.equal(result[0], result[2])
    assert not torch.equal(result[0], result[1])
    assert torch.equal(augmentation(images[1:2], SEEDS[1:2])[0], result[1])
    assert torch.equal(pickle.loads(pickle.dumps(augmentation))(images, SEEDS), result)


def test_the_result_is_a_plain_tensor_of_the_same_shape() -> None:
    result = Augmentation(NODES)(torch.rand(4, 3, 16, 20), SEEDS)
    assert type(result) is torch.Tensor
    assert result.shape == (4, 3, 16, 20)


def test_no_transforms_leave_the_images_alone() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert Augmentation([])(images, SEEDS) is images


def test_transforms_are_tried_before_they_are_needed() -> None:
    Augmentation(NODES).check((1, 16, 16))
    with pytest.raises(MedaiError, match=r"RandFlipd.* fail on an image"):
        Augmentation([{"_target_": "monai.transforms.RandFlipd", "keys": "image", "prob": 1.0}]).check((1, 16, 16))
    crop = {"_target_": "monai.transforms.RandSpatialCrop", "roi_size": [8, 8], "random_size": False}
    with pytest.raises(MedaiError, match=r"change the shape \(1, 16, 16\) to \(1, 8, 8\)"):
        Augmentation([crop]).check((1, 16, 16))


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"os\.remove is not a transform"):
        Augmentation([{"_target_": "os.remove"}]).build()
