import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medai.bench.bench import bench
from medai.bench.loading import measure_input
from medai.bench.network import Step, measure_model, measure_training
from medai.cli import main
from medai.core.error import MedaiError
from medai.training.data import Batch
from medai.training.distributed import Group
from medai.training.material import Material, gather
from medai.training.settings import AugmentationSettings, TrainSettings

CPU = torch.device("cpu")


def test_the_whole_benchmark_measures_input_network_and_training_and_leaves_no_run(settings: TrainSettings) -> None:
    report = bench("train", settings, seconds=0.6)
    assert report.input and report.model and report.train
    assert 0 <= report.stall < 1  # type: ignore[operator]
    assert set(report.input.rates) >= {0} and all(rate > 0 for rate in report.input.rates.values())
    assert [stage.name for stage in report.model.stages] == ["forward", "loss", "backward", "optimiser"]
    assert report.advice
    assert not Path(settings.runs).exists()


def test_a_slow_input_shows_as_stall(settings: TrainSettings, material: Material) -> None:
    model = measure_model(Step(material, settings, Group()), 0.3)
    slow = _Slow(material.prepare, seconds=3 * 8 / model.rate)
    rate = measure_training(replace(material, prepare=slow), settings, Group(), 0.5, steps=20)  # type: ignore[arg-type]
    assert 0.1 < rate / model.rate < 0.45  # a step and three times its time asleep: about a quarter


def test_the_time_between_epochs_is_not_counted(settings: TrainSettings, material: Material) -> None:
    model = measure_model(Step(material, settings, Group()), 0.3)
    material.validation.augmentation = _Asleep(0.5)  # type: ignore[assignment]
    start = time.perf_counter()
    rate = measure_training(material, settings, Group(), 60, steps=24)  # of 8 an epoch
    assert time.perf_counter() - start > 1.5  # three validations took that long
    assert rate > 0.2 * model.rate


def test_stages_of_the_input_are_named_and_add_up(settings: TrainSettings, material: Material) -> None:
    found = measure_input(material, CPU, (0,), 0.2)
    names = [stage.name for stage in found.stages]
    assert names == ["gather from the view", "targets and draws", "decode and intensity", "augmentation, batched", "memory layout"]
    assert found.batch_images == 8 and found.seconds == pytest.approx(sum(stage.seconds for stage in found.stages))


def test_transforms_image_by_image_are_a_stage_of_the_workers(settings: TrainSettings) -> None:
    settings.augmentation = AugmentationSettings(settings.augmentation.transforms, engine="monai")
    stages = {stage.name: stage for stage in measure_input(gather(settings), CPU, (0,), 0.2).stages}
    assert stages["augmentation, image by image"].place == "worker"
    assert "augmentation, batched" not in stages


def test_a_slow_stage_has_the_largest_share(settings: TrainSettings, material: Material) -> None:
    augmentation = material.prepare.augmentation
    assert augmentation is not None
    quick = augmentation.in_place
    augmentation.in_place = lambda images, seeds: (time.sleep(0.05), quick(images, seeds))[1]  # type: ignore[method-assign]
    found = measure_input(material, CPU, (0,), 0.3)
    slow = next(stage for stage in found.stages if stage.name == "augmentation, batched")
    assert slow.seconds / found.seconds > 0.8
    assert found.rates[0] < 8 / 0.05


def test_a_step_in_parts_has_the_gradient_of_the_whole_batch(settings: TrainSettings) -> None:
    settings.model = {"_target_": "medai.model.network.vit", "patch_size": 8, "hidden_size": 12, "layers": 1, "heads": 1}
    settings.training = replace(settings.training, optimizer={"_target_": "torch.optim.SGD", "lr": 1.0}, gradient_clip=None, ema_decay=0.0)
    whole = _weights_after_a_step(settings)
    settings.training = replace(settings.training, micro_batch=4)
    torch.testing.assert_close(_weights_after_a_step(settings), whole, rtol=1e-5, atol=1e-6)


def _weights_after_a_step(settings: TrainSettings) -> list[Tensor]:
    step = Step(gather(settings), settings, Group())
    before = [weight.detach().clone() for weight in step.classifier.parameters()]
    step()
    after = [weight.detach() for weight in step.classifier.parameters()]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    return after


def test_a_wrong_part_or_time_is_refused(settings: TrainSettings) -> None:
    with pytest.raises(MedaiError, match="measures input, model, train; got 'loader'"):
        bench("loader", settings)
    with pytest.raises(MedaiError, match="--seconds is 0; it must lie in"):
        bench("model", settings, 0.0)


def test_the_command_prints_json_and_writes_it(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "dataset=pneumoniamnist", f"dataset.path={pictures}", "dataset.targets=[finding]", "model.channels=8", "model.blocks=1",
        "training.batch_size=8", f"cohorts={tmp_path / 'cohorts'}", f"runs={tmp_path / 'runs'}", "tracking=none",
        "preprocessing.height=16", "preprocessing.width=16",
    ]  # fmt: skip
    output = tmp_path / "found.json"
    assert main(["bench", "model", *arguments, "--seconds", "0.2", "--json", "--output", str(output)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"]["images_per_second"] > 0 and printed["seed"] == 0 and printed["versions"]["torch"]
    assert json.loads(output.read_text())["facts"] == printed["facts"]
    assert "input" not in printed and not (tmp_path / "runs").exists()


def test_the_command_explains_itself_and_refuses_what_it_does_not_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0 and "stall ratio" in capsys.readouterr().out
    assert main(["bench", "loader"]) == 2 and "invalid choice: 'loader'" in capsys.readouterr().err


class _Slow:
    """Prepares batches, each so many seconds late."""

    def __init__(self, prepare: Any, seconds: float) -> None:
        self.prepare, self.seconds, self.format = prepare, seconds, prepare.format

    def __call__(self, batch: Batch) -> Tensor:
        time.sleep(self.seconds)
        images: Tensor = self.prepare(batch)
        return images


class _Asleep:
    """Leaves images as they are, after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, images: Tensor, _: Any) -> Tensor:
        time.sleep(self.seconds)
        return images
