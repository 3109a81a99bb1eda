"""The learning-rate range test."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from medai.core.error import MedaiError
from medai.preprocessing.plan import IntensityPlan
from medai.tracking.settings import TrackingSettings
from medai.training.material import gather
from medai.training.range_test import RangeTest, evaluate, figure, range_test, record_range_test, smooth
from medai.training.settings import AugmentationSettings, PreprocessingSettings, TrainingSettings, TrainSettings

RATES = np.geomspace(1e-5, 1, 100)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("range")
    arrays = {}
    for split, count in (("train", 120), ("val", 40)):
        label = rng.integers(0, 2, (count, 1)).astype(np.uint8)
        images = rng.integers(0, 120, (count, 16, 16)).astype(np.uint8)
        images[:, 4:12, 4:12] += (label * 60)[:, :, None]
        arrays |= {f"{split}_images": images, f"{split}_labels": label}
    np.savez(folder / "bright.npz", **arrays)
    targets = [{"name": "bright", "kind": "binary", "classes": ["no", "yes"]}]
    return TrainSettings(
        dataset={"_target_": "medai.source.npz.NpzSource", "name": "bright", "path": str(folder / "bright.npz"), "targets": targets},
        model={"_target_": "medai.model.network.residual_small", "channels": 8, "blocks": 1, "dropout": 0.2},
        preprocessing=PreprocessingSettings(16, 16, None, IntensityPlan("window", 0, 255)),
        augmentation=AugmentationSettings([{"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1}]),
        training=TrainingSettings(batch_size=16),
        tracking=TrackingSettings(enabled=False),
        runs=str(folder / "runs"),
        cohorts=str(folder / "cohorts"),
        workers=0,
    )


def test_the_marked_rates_are_those_of_the_curve() -> None:
    logs = np.log10(RATES)
    losses = 0.7 - 0.4 / (1 + np.exp(-4 * (logs + 3))) + np.where(logs > -1.5, (logs + 1.5) ** 2, 0)
    found = evaluate(RATES, losses)
    assert 0.8e-3 < found.steepest < 1.25e-3
    assert 3e-3 < found.slowing < 2e-2
    assert found.steepest < found.slowing <= found.lowest < 0.1
    assert (found.suggestion("one_cycle"), found.suggestion("constant")) == (found.slowing, found.steepest)


def test_a_loss_that_goes_on_falling_gives_a_rate_near_the_steepest() -> None:
    logs = np.log10(RATES)
    found = evaluate(RATES, 0.7 - 0.3 / (1 + np.exp(-6 * (logs + 3))) - 0.05 * (logs + 5))
    assert 5 * found.steepest < found.slowing <= 10 * found.steepest
    assert found.lowest > 0.5


def test_noise_moves_the_suggestion_little() -> None:
    logs, rng = np.log10(RATES), np.random.default_rng(0)
    curve = 0.7 - 0.4 / (1 + np.exp(-4 * (logs + 3))) + np.where(logs > -1.5, (logs + 1.5) ** 2, 0)
    found = [evaluate(RATES, curve + rng.normal(0, 0.03, 100)).slowing for _ in range(20)]
    assert np.std(np.log10(found)) < 0.3  # within a factor of two


def test_smoothing_does_not_lag() -> None:
    step = np.where(np.arange(60) < 30, 1.0, 0.0)
    assert np.argmin(np.abs(smooth(step) - 0.5)) in (29, 30)
    assert np.allclose(smooth(np.ones(9)), 1)


def test_the_loss_of_a_training_falls(settings: TrainSettings) -> None:
    plain = replace(settings.training, optimizer={"_target_": "torch.optim.SGD", "lr": 0.1}, gradient_clip=None)
    found = range_test(gather(settings), replace(settings, training=plain), steps=60)
    assert found.rates[0] == pytest.approx(1e-4)
    assert found.smoothed[0] - min(found.smoothed) > 0.1
    assert found.rates[0] < found.steepest <= found.slowing <= found.lowest <= 10


def test_a_training_that_diverges_ends_the_test_early(settings: TrainSettings) -> None:
    model = {"_target_": "medai.model.network.vit", "patch_size": 8, "hidden_size": 12, "layers": 1, "heads": 1}
    plain = replace(settings.training, optimizer={"_target_": "torch.optim.SGD", "lr": 0.1}, gradient_clip=None)
    diverging = replace(settings, model=model, training=plain)
    found = range_test(gather(diverging), diverging, steps=60)
    assert len(found.rates) < 60
    assert found.lowest < found.rates[-1]


def test_the_same_seed_gives_the_same_test(settings: TrainSettings) -> None:
    one, other = (range_test(gather(settings), settings, steps=20) for _ in range(2))
    assert one == other
    different = replace(settings, seed=1)
    assert range_test(gather(different), different, steps=20).losses != one.losses


def test_parts_of_a_batch_make_the_same_test(settings: TrainSettings) -> None:
    """Without batch statistics it does not matter in how many parts a batch is taken."""
    model = {"_target_": "medai.model.network.vit", "patch_size": 8, "hidden_size": 12, "layers": 1, "heads": 1}
    whole = replace(settings, model=model)
    parted = replace(whole, training=replace(whole.training, micro_batch=4))
    one, other = (range_test(gather(chosen), chosen, steps=14) for chosen in (whole, parted))
    assert np.allclose(one.losses, other.losses, atol=1e-4)


def test_layers_keep_their_ratio(settings: TrainSettings) -> None:
    """With a layer decay, the swept rate is the last layer's."""
    decayed = replace(settings, training=replace(settings.training, layer_decay=0.5))
    material = gather(decayed)
    before = {name: value.detach().clone() for name, value in material.checkpoint.classifier.named_parameters()}
    range_test(material, decayed, steps=12)
    after = dict(material.checkpoint.classifier.named_parameters())
    moved = {name: float((after[name].detach() - before[name]).abs().max()) for name in before}
    assert moved["network.stem.0.weight"] < 0.5 * moved["network.classifier.weight"]


def test_a_loss_that_is_never_finite_is_told(settings: TrainSettings) -> None:
    material = gather(settings)
    with torch.no_grad():
        material.checkpoint.classifier.network.classifier.weight.fill_(float("nan"))
    with pytest.raises(MedaiError, match=r"the loss grew from the first of 30 steps on.* give training\.optimizer\.lr by hand"):
        range_test(material, settings, steps=30)


def test_the_figure_is_a_picture_with_both_rates() -> None:
    losses = (*np.linspace(0.7, 0.3, 60), *np.linspace(0.3, 3, 40))
    found = RangeTest(tuple(RATES), losses, losses, 4e-4, 2e-3, 9e-3)
    root = ElementTree.fromstring(figure(found))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "4.0e-04 falls fastest" in texts
    assert "2.0e-03 95 % of the fall" in texts


def test_on_its_own_it_leaves_its_figure_and_its_figures(settings: TrainSettings, tmp_path: Path) -> None:
    folder, found = record_range_test(replace(settings, folder=str(tmp_path / "here")))
    assert folder == tmp_path / "here"
    assert json.loads((folder / "range_test.json").read_text())["slowing"] == found.slowing
    assert (folder / "range_test.svg").read_text().startswith("<svg")
