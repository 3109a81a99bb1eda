"""Batches: the same cases with the same draws, whatever the number of ranks, workers and parts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from medai.augmentation.mix import Mix
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.preprocessing.plan import IntensityPlan
from medai.store.view import VIEW_CHECKSUMS, VIEW_PIXELS, View, checksums
from medai.task.task import Loss
from medai.training.data import EpochBatches, Images, OrderedBatches, loader
from medai.training.distributed import Group
from medai.training.prepare import Prepare

LABELS = (Label("a", "binary", ("no", "yes")),)


@pytest.fixture
def view(tmp_path: Path) -> View:
    """37 images of 6 x 5 pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 1, 6, 5)).astype(np.uint8)
    pixels.tofile(tmp_path / VIEW_PIXELS)
    checksums(pixels).tofile(tmp_path / VIEW_CHECKSUMS)
    return View(tmp_path, {"shape": [37, 1, 6, 5], "dtype": "uint8", "scale": 1.0, "offset": 0.0})


def images(view: View, mix: Mix | None = None) -> Images:
    target = np.arange(37)[:, None] % 3 - 1
    names = [f"case {row}" for row in range(37)]
    return Images(view, np.arange(37), target, IntensityPlan("window", 0, 255), 7, names, mix=mix, loss=Loss(LABELS))


def seen(view: View, ranks: int, workers: int, micro_batch: int | None, mix: Mix | None = None) -> Counter[tuple[bytes, int]]:
    """What an epoch shows to the network: pixels and draws."""
    counted: Counter[tuple[bytes, int]] = Counter()
    for rank in range(ranks):
        batches = EpochBatches(37, 10, 3, Group(rank, ranks), micro_batch, mixed=mix is not None, epoch=2)
        for batch in loader(images(view, mix), batches, workers, False):
            counted.update((image.numpy().tobytes(), int(seed)) for image, seed in zip(batch.images, batch.seeds, strict=True))
    return counted


@pytest.mark.parametrize("mix", [None, Mix("mixup")])
def test_ranks_workers_and_parts_see_the_same_cases_with_the_same_draws(view: View, mix: Mix | None) -> None:
    alone = seen(view, 1, 0, None, mix)
    assert sum(alone.values()) == (60 if mix else 30)
    for ranks, workers, micro_batch in ((2, 0, None), (3, 0, None), (1, 2, None), (2, 2, 2), (1, 0, 3)):
        assert seen(view, ranks, workers, micro_batch, mix) == alone
    batches = EpochBatches(37, 10, 4, epoch=2)
    assert [key.rows.tolist() for key in batches] != [key.rows.tolist() for key in EpochBatches(37, 10, 3, epoch=2)]


def test_the_parts_of_a_batch_have_the_denominators_of_the_whole(view: View) -> None:
    logit = torch.randn(10, 1, generator=torch.Generator().manual_seed(0))
    loss = Loss(LABELS)
    (whole, *_) = loader(images(view), EpochBatches(37, 10, 3), 0, False)
    parts = [next(iter(loader(images(view), EpochBatches(37, 10, 3, Group(rank, 3)), 0, False))) for rank in range(3)]
    expected = loss(logit, whole.mixture, whole.denominators)
    added = sum(
        loss(logit[start : start + len(part)], part.mixture, part.denominators) for start, part in zip((0, 3, 6), parts, strict=True)
    )
    assert [len(part) for part in parts] == [3, 3, 4]
    assert torch.allclose(torch.as_tensor(added), expected, atol=1e-6)


def test_an_epoch_goes_on_after_the_batches_that_were_taken(view: View) -> None:
    every = [key.rows.tolist() for key in EpochBatches(37, 10, 3, epoch=1)]
    assert [key.rows.tolist() for key in EpochBatches(37, 10, 3, epoch=1, start=2)] == every[2:]


def test_weighted_cases_are_drawn_in_proportion(view: View) -> None:
    weights = np.where(np.arange(37) < 5, 4.0, 1.0)
    drawn = np.concatenate([EpochBatches(37, 37, 0, weights=weights, epoch=epoch).order(epoch) for epoch in range(200)])
    share = np.mean(drawn < 5)
    assert abs(share - 20 / 52) < 0.02


def test_validation_sees_every_case_once_on_any_number_of_ranks() -> None:
    for ranks in (1, 2, 3):
        rows = [key.rows.tolist() for rank in range(ranks) for key in OrderedBatches(37, 4, Group(rank, ranks))]
        assert sorted(row for some in rows for row in some) == list(range(37))
    assert sum(len(key.rows) for key in OrderedBatches(37, 4, limit=2)) == 8


def test_a_batch_smaller_than_the_ranks_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"training\.batch_size=2 gives 3 ranks less than an image each; enlarge it"):
        EpochBatches(37, 2, 0, Group(0, 3))


def test_a_damaged_image_is_named_when_it_is_first_read(view: View) -> None:
    data = bytearray((view.path / VIEW_PIXELS).read_bytes())
    data[30 * 11 + 4] ^= 8
    (view.path / VIEW_PIXELS).write_bytes(data)
    with pytest.raises(MedaiError, match=r"the image of case case 11 in .* was changed on the disk \(its checksum differs\); remove"):
        list(loader(images(view), EpochBatches(37, 37, 0), 0, False))


def test_the_device_prepares_what_the_view_means(view: View) -> None:
    (batch,) = loader(images(view), EpochBatches(37, 37, 0), 0, False)
    prepared = Prepare(view.encoding, IntensityPlan("window", 0, 255))(batch)
    assert torch.allclose(prepared, batch.images.float() / 255)
