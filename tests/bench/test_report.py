import json

import pytest
import torch

from medai.bench.advice import advise
from medai.bench.loading import BATCHED, GATHER, PREPARE, SINGLE, InputFound
from medai.bench.network import ModelFound
from medai.bench.report import Report
from medai.bench.stage import Stage, Stopwatch
from medai.training.settings import AugmentationSettings, TrainSettings

CPU = torch.device("cpu")
FLIP = {"_target_": "monai.transforms.RandFlip", "prob": 0.5}
UNKNOWN = {"_target_": "monai.transforms.RandKSpaceSpikeNoise", "prob": 0.5}


def _input(rates: dict[int, float], **seconds: float) -> InputFound:
    names = {"gather": GATHER, "prepare": PREPARE, "batched": BATCHED, "single": SINGLE}
    return InputFound(tuple(Stage(names[name], value, "device") for name, value in seconds.items()), 32, rates)


def _model(rate: float, optimiser: float = 0.01) -> ModelFound:
    stages = Stage("forward", 0.3, "device"), Stage("backward", 0.6, "device"), Stage("optimiser", optimiser, "device")
    return ModelFound(stages, 32, rate, None)


def _report(train: float | None, rate: float = 100.0, rates: dict[int, float] | None = None, **seconds: float) -> Report:
    return Report({"data": "x"}, _input(rates or {0: 150.0, 2: 150.0}, **(seconds or {"gather": 0.1})), _model(rate), train)


def _advice(report: Report, **settings: object) -> str:
    return " ".join(advise(report, TrainSettings(**settings), CPU))  # type: ignore[arg-type]


@pytest.mark.parametrize(("train", "stall"), [(100.0, 0.0), (75.0, 0.25), (101.0, 0.0)])
def test_the_stall_ratio_is_the_share_of_waiting_and_never_negative(train: float, stall: float) -> None:
    assert _report(train).stall == pytest.approx(stall)


def test_where_the_network_is_the_limit_nothing_is_said_against_the_input() -> None:
    text = _advice(_report(99.0, batched=0.2, gather=0.01))
    assert text.startswith("The network is the limit: the training reaches 99 images/s, synthetic tensors reach 100.")
    assert "Augmentation takes" not in text


def test_where_the_input_is_the_limit_its_largest_stage_is_named() -> None:
    text = _advice(_report(60.0, batched=0.2, gather=0.05))
    assert "40% of the time the network waits" in text
    assert "Augmentation takes 80% of the input" in text


def test_a_stall_that_the_input_cannot_cause_is_blamed_on_the_machine() -> None:
    text = _advice(_report(60.0, rates={0: 5000.0, 2: 5000.0}, batched=0.2))
    assert "something else uses this machine" in text and "Augmentation takes" not in text


def test_percentiles_and_a_slow_disk_are_named() -> None:
    assert "percentiles sort every image" in _advice(_report(60.0, prepare=0.2))
    assert "Reading the view takes 100% of the input" in _advice(_report(60.0, gather=0.2))


def test_transforms_image_by_image_are_told_to_go_to_the_device_where_they_can() -> None:
    report = _report(60.0, single=0.9, gather=0.1)
    assert "set augmentation.engine=batched" in _advice(report, augmentation=AugmentationSettings([FLIP], engine="monai"))
    text = _advice(report, augmentation=AugmentationSettings([FLIP, UNKNOWN]))
    assert "only MONAI itself applies monai.transforms.RandKSpaceSpikeNoise" in text and "engine=batched" not in text


def test_the_number_of_workers_is_judged() -> None:
    assert "workers=0 is enough" in _advice(_report(99.0, rates={0: 5000.0, 2: 9000.0}))
    assert "Set workers=4" in _advice(_report(60.0, rates={0: 50.0, 2: 90.0, 4: 170.0}))
    assert "workers=2 is as good as any" in _advice(_report(60.0, rates={0: 50.0, 2: 90.0}))


def test_a_costly_optimiser_is_named() -> None:
    report = Report({}, None, _model(10.0, optimiser=0.9))
    assert "The optimiser takes 50% of a step" in _advice(report)


def test_the_table_shows_shares_and_the_dictionary_is_json() -> None:
    report = _report(60.0, batched=0.3, gather=0.1)
    text = report.text()
    assert "augmentation, batched             300.00         107    75%  ██████████████████\n" in text
    assert "stall ratio" in text and "40.0%" in text and "workers=0" in text
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["train"] == {"images_per_second": 60.0, "stall_ratio": pytest.approx(0.4)}
    assert found["input"]["images_per_second"] == {"0": 150.0, "2": 150.0}


def test_the_fewest_workers_within_a_twentieth_are_best() -> None:
    assert _input({0: 96.0, 2: 100.0, 4: 99.0}, gather=1.0).best_workers == 0
    assert _input({0: 50.0, 2: 96.0, 4: 100.0}, gather=1.0).best_workers == 2


def test_a_stopwatch_gives_the_median_after_the_first_laps() -> None:
    watch = Stopwatch(CPU, {"work": [9.0, 9.0, 1.0, 2.0, 3.0]})
    assert watch.stages("device") == [Stage("work", 2.0, "device")]
