"""Schedule, average, order of the batches, optimiser groups, figures."""

import numpy as np
import pytest
import torch

from medai.core.label import Label
from medai.training.data import EpochBatches, OrderedBatches
from medai.training.ema import AveragedWeights
from medai.training.optimizer import build_optimizer
from medai.training.precision import choose_precision
from medai.training.schedule import schedule
from medai.training.validation import figures, freeze

BINARY = Label("effusion", "binary", ("no", "yes"))
STAGE = Label("stage", "ordinal", ("none", "mild", "severe"))


@pytest.mark.parametrize("name", ["one_cycle", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls_to_its_end(name: str) -> None:
    factors = [schedule(name, 100, 0.2, 0.01)(step) for step in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) in (19, 20)
    assert factors[0] < 0.1
    assert factors[100] == pytest.approx(0.01)
    assert factors[:20] == sorted(factors[:20])


def test_a_constant_rate_stays() -> None:
    assert {schedule("constant", 10, 0.0, 0.5)(step) for step in range(12)} == {1.0}


def test_the_average_follows_weights_and_batch_statistics() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = AveragedWeights(module, 0.9)
    before = module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight += 1
        module[1].running_mean += 5
    average.update()
    assert torch.allclose(average.module[0].weight, before + 0.9)  # the first decay is 1 / 10
    assert torch.allclose(average.module[1].running_mean, torch.tensor([4.5, 4.5]))
    for _ in range(300):
        average.update()
    assert torch.allclose(average.module[0].weight, before + 1, atol=1e-4)
    assert not average.module.training


def test_an_epoch_has_whole_batches_of_different_cases() -> None:
    batches = EpochBatches(103, 10, seed=1)
    whole = list(batches)
    rows = np.concatenate([key.rows for key in whole])
    assert len(whole) == len(batches) == 10
    assert len(set(rows)) == 100
    assert [key.position for key in whole] == list(range(0, 100, 10))


def test_fewer_cases_than_a_batch_are_one_batch() -> None:
    assert len(list(EpochBatches(5, 64, seed=0))) == 1


def test_validation_sees_every_case_once_in_order() -> None:
    assert np.concatenate([key.rows for key in OrderedBatches(25, 10)]).tolist() == list(range(25))


def test_vectors_are_not_decayed() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = build_optimizer({"_target_": "torch.optim.AdamW", "lr": 0.1, "weight_decay": 0.5}, module)
    decays = {parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decays == {4: 0.5, 1: 0.0}


def test_a_processor_computes_in_32_bits_unless_told_otherwise() -> None:
    assert choose_precision("auto", "cpu") == "32-true"
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"


def test_figures_of_a_perfect_and_of_a_random_model() -> None:
    target = np.array([[0, 0], [1, 1], [1, 2], [0, -1]])
    perfect = np.array([[-9, 9, 0, 0], [9, 0, 9, 0], [9, 0, 0, 9], [-9, 0, 0, 0]], dtype=np.float32)
    found = figures([BINARY, STAGE], perfect, target)
    assert found["auroc"] == found["accuracy"] == 1.0
    assert found["loss"] < 1e-3
    assert figures([BINARY], np.zeros((4, 1), np.float32), target[:, :1])["auroc"] == 0.5


def test_validation_freezes_a_temperature_and_a_threshold_that_the_graph_can_hold() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (400, 1))
    logit = ((target - 0.5) * 6 + rng.normal(size=(400, 1)) * 6).astype(np.float32)
    frozen = freeze([BINARY], logit, target, "temperature", "youden")
    assert frozen.temperatures["effusion"] > 1.2
    assert frozen.thresholds["effusion"] == np.float32(frozen.thresholds["effusion"])
    assert freeze([BINARY], logit, target, "none", "0.25").temperatures == {"effusion": 1.0}
    assert freeze([BINARY], logit, target, "none", "0.25").thresholds == {"effusion": 0.25}


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_validation_freezes_a_line_or_a_curve_for_binary_labels_and_a_temperature_for_others(kind: str) -> None:
    rng = np.random.default_rng(0)
    target = np.stack([rng.integers(0, 2, 600), rng.integers(0, 3, 600)], axis=1)
    logit = rng.normal(size=(600, 4)).astype(np.float32) * 3 + 1
    logit[:, 0] += 3 * target[:, 0]
    logit[np.arange(600), 1 + target[:, 1]] += 2
    frozen = freeze([BINARY, STAGE], logit, target, kind, "cost=1:5@0.1")
    assert {name: one.kind for name, one in frozen.calibrators.items()} == {"effusion": kind}
    assert frozen.temperatures["stage"] > 1.2
    one_class = freeze([BINARY], logit[:, :1], np.ones((600, 1), dtype=np.int64), kind, "youden")
    assert (one_class.calibrators, one_class.temperatures, one_class.assumed) == ({}, {"effusion": 1.0}, ("effusion",))
