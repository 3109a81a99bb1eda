"""Mixed images are what their seeds ask for, and nothing else in the batch matters."""

import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from medai.augmentation.mix import MODES, Mix, MixDraw, apply_mix
from medai.core.error import MedaiError
from medai.training.settings import AugmentationSettings

SEEDS = np.random.default_rng(0).integers(0, 2**64, 4000, dtype=np.uint64)


@pytest.mark.parametrize("mode", ["mixup", "cutmix", "both"])
def test_the_seed_alone_decides(mode: str) -> None:
    images, partners = torch.rand(6, 2, 12, 17), torch.rand(6, 2, 12, 17)
    mix, seeds = Mix(mode, 1.0, 0.8), SEEDS[:6]
    whole, part = mix(images, partners, seeds), mix(images[4:], partners[4:], seeds[4:])
    assert torch.equal(whole[0][4:], part[0]) and torch.equal(whole[1][4:], part[1])
    assert len(set(Mix(mode, 1.0).draw(SEEDS, (200, 200)).share.tolist())) > 2000


@pytest.mark.parametrize("mode", ["mixup", "cutmix", "both"])
def test_the_share_is_how_much_of_the_result_is_the_image_itself(mode: str) -> None:
    mix = Mix(mode, 1.0, 0.9)
    shape = (len(SEEDS), 1, 9, 14)
    result, share = mix(torch.ones(shape), torch.zeros(shape), SEEDS)
    assert torch.allclose(result.mean(dim=(1, 2, 3)), share, atol=1e-6)
    assert (mix.draw(SEEDS, (9, 14)).share == share.numpy()).all()


def test_mixup_adds_and_cutmix_puts_in_a_box() -> None:
    images, partners = torch.rand(50, 3, 20, 30), torch.rand(50, 3, 20, 30)
    result, share = Mix("mixup", 1.0)(images, partners, SEEDS[:50])
    own = share[:, None, None, None]
    assert torch.allclose(result, own * images + (1 - own) * partners, atol=1e-6)
    mix = Mix("cutmix", 1.0)
    result, drawn = mix(images, partners, SEEDS[:50])[0], mix.draw(SEEDS[:50], (20, 30))
    for index, ((top, bottom), (left, right)) in enumerate(drawn.box):
        expected = images[index].clone()
        expected[:, top:bottom, left:right] = partners[index, :, top:bottom, left:right]
        assert torch.equal(result[index], expected)


def test_a_share_of_one_is_no_mixing() -> None:
    images, partners = torch.randn(5, 1, 8, 8), torch.full((5, 1, 8, 8), 1e30)
    for mix in (Mix("both", 1.0, probability=0.0), Mix("none")):
        result, share = mix(images, partners, SEEDS[:5])
        assert torch.equal(result, images) and share.tolist() == [1.0] * 5
    whole = MixDraw(np.array([[[0, 8], [0, 8]]] * 5), np.ones(5, np.float32), np.ones(5, np.float32))
    assert torch.equal(apply_mix(images, partners, whole), images)


def test_shares_are_spread_as_asked() -> None:
    alike = stats.kstest(Mix("mixup", 2.0).draw(SEEDS, (8, 8)).weight.astype(float), stats.beta(2, 2).cdf)
    assert alike.pvalue > 1e-3
    drawn = Mix("both", 1.0, 0.6).draw(SEEDS, (64, 64))
    cuts, blends = drawn.weight == 0, (drawn.weight > 0) & (drawn.weight < 1)
    assert cuts.mean() == pytest.approx(0.3, abs=0.03) and blends.mean() == pytest.approx(0.3, abs=0.03)
    assert (drawn.share[~cuts & ~blends] == 1).all()


def test_boxes_lie_in_the_image_and_reach_its_borders() -> None:
    box = Mix("cutmix", 1.0).draw(SEEDS, (11, 23)).box
    assert (box[:, :, 0] <= box[:, :, 1]).all() and box.min() == 0 and box[:, :, 1].max(axis=0).tolist() == [11, 23]
    assert abs(box.mean(axis=(0, 2)) / [11, 23] - 0.5).max() < 0.02


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 100.0])
def test_every_strength_gives_finite_shares(alpha: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        share = Mix("both", alpha).draw(SEEDS, (28, 28)).share
    assert np.isfinite(share).all() and share.min() >= 0 and share.max() <= 1


def test_volumes_are_mixed_too_and_the_kind_of_number_stays() -> None:
    images, partners = torch.ones(9, 1, 6, 7, 8, dtype=torch.bfloat16), torch.zeros(9, 1, 6, 7, 8, dtype=torch.bfloat16)
    result, share = Mix("cutmix", 1.0)(images, partners, SEEDS[:9])
    assert result.dtype == torch.bfloat16 and torch.allclose(result.float().mean(dim=(1, 2, 3, 4)), share)


def test_the_draws_are_not_those_of_the_augmentation() -> None:
    from medai.augmentation.draws import Draws

    mine = Mix("mixup", 1.0).draw(SEEDS, (8, 8)).weight  # alpha 1: the uniform draw itself
    for place in range(8):
        assert abs(np.corrcoef(mine, Draws(SEEDS, place).uniform())[0, 1]) < 0.06


def test_the_modes_are_those_of_the_settings() -> None:
    for mode in MODES:
        AugmentationSettings(mix=mode)
    with pytest.raises(MedaiError, match="augmentation.mix is 'blend'; allowed: none, mixup, cutmix, both"):
        Mix("blend")
    with pytest.raises(MedaiError, match="augmentation.mix_alpha is 0"):
        Mix("mixup", 0)
