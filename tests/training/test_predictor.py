"""The variants that an answer is averaged over, the ensemble, and the checkpoint that keeps them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.label import Label
from medai.evaluation.calibrator import Calibrator
from medai.export.graph import export_graph
from medai.export.parity import OnnxRunner, TorchRunner
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.training.checkpoint import Checkpoint, threshold_source
from medai.training.ensemble import combine
from medai.training.predictor import Classifier, Ensemble
from medai.training.settings import TrainingSettings
from medai.training.test_time import flip_vertical, mirror, rotate90, variant, variants_of, zoom

LABELS = (
    Label("nodule", "binary", ("no", "yes")),
    Label("view", "multiclass", ("ap", "pa", "lateral")),
    Label("stage", "ordinal", ("0", "1", "2", "3")),
)
SQUARE = PreprocessingPlan(ResizePlan(28, 28, 1), IntensityPlan("window", 0, 255))
ALL = ("mirror", "flip_vertical", "rotate90", "zoom=1.1", "zoom=0.8")
NODE = {"_target_": "medai.model.residual.ResidualSmall", "width": 4, "stages": 2, "blocks": 1, "stem_stride": 1, "dropout": 0.0}


def pictures(count: int, height: int = 28, width: int = 28, seed: int = 0) -> torch.Tensor:
    """Blobs away from the middle: no variant leaves them as they are."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 1, 9, 9), generator=generator) * 255
    return functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def model(variants: tuple[str, ...] = (), seed: int = 0, labels: tuple[Label, ...] = LABELS, temperature: float = 1.0) -> Checkpoint:
    """An untrained model whose outputs differ from image to image: its batch statistics are gathered, its last layer is scaled."""
    torch.manual_seed(seed)
    checkpoint = Checkpoint.fresh(labels, SQUARE, NODE, variants)
    network, images = checkpoint.classifier.network, checkpoint.predictor().preprocessing(pictures(24))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(images)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        raw = network.eval()(images)
        last.weight.mul_((1.5 / raw.std(dim=0))[:, None])
        last.bias.zero_().sub_(network(images).mean(dim=0))
    checkpoint.temperatures = {label.name: temperature + 0.1 * place for place, label in enumerate(labels)}
    checkpoint.thresholds = {"nodule": 0.45}
    checkpoint.record = {"thresholds": {"rule": "youden"}}
    return checkpoint


# Variants of an image


def test_the_variants_are_what_they_are_called() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert mirror(image)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert flip_vertical(image)[0, 0].tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    assert torch.equal(rotate90(image), torch.rot90(image, 1, (-2, -1)))


@pytest.mark.parametrize(("height", "width", "factor"), [(28, 28, 2.0), (29, 40, 1.1), (28, 33, 0.8), (28, 28, 0.5), (8, 9, 1.37)])
def test_zoom_is_a_bilinear_sampling_about_the_centre(height: int, width: int, factor: float) -> None:
    images = torch.rand((3, 2, height, width), generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]]).expand(3, 2, 3)
    grid = functional.affine_grid(scale, [3, 2, height, width], align_corners=False)
    expected = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    assert torch.allclose(zoom(images, factor), expected, atol=1e-5)


def test_zoom_by_one_changes_nothing() -> None:
    images = pictures(2)
    assert torch.equal(zoom(images, 1.0), images)


@pytest.mark.parametrize("name", ["mirrored", "zoom", "zoom=3", "zoom=x", "rotate180", ""])
def test_an_unknown_variant_is_refused(name: str) -> None:
    with pytest.raises(MedaiError, match=f"there is no variant {name!r} of an image; allowed: mirror, flip_vertical, rotate90, zoom="):
        variant(name)


def test_flip_average_is_the_mirror_and_none_is_named_twice() -> None:
    assert variants_of(TrainingSettings(flip_average=True, test_time=["zoom=1.1", "mirror"])) == ("mirror", "zoom=1.1")
    assert variants_of(TrainingSettings()) == ()
    assert Classifier(nn.Identity(), nn.Identity(), True).variants == ("mirror",)


# The average


def test_logits_are_averaged_over_the_image_and_its_variants() -> None:
    classifier = model(ALL).classifier.eval()
    images = pictures(4) / 255
    with torch.no_grad():
        passes = [classifier(images), *(classifier(variant(name)(images)) for name in ALL)]
        assert torch.allclose(classifier.averaged(images), torch.stack(passes).mean(dim=0), atol=1e-6)
        assert (passes[0] - classifier.averaged(images)).abs().max() > 0.1, "the variants change nothing here"


def test_the_average_of_every_kind_of_label_is_the_normalised_geometric_mean_of_its_probabilities() -> None:
    checkpoint = model(("mirror", "zoom=1.1"))
    checkpoint.temperatures = {}
    predictor, images = checkpoint.predictor(), pictures(4)
    passes = (images, mirror(images), zoom(images, 1.1))
    plain = [predictor.decide(predictor.classifier(predictor.preprocessing(each)))[0] for each in passes]
    found = predictor(images)[0]
    mean = torch.stack(plain).log().mean(dim=0).exp()
    against = (1 - torch.stack(plain)[..., :1]).log().mean(dim=0).exp()
    assert torch.allclose(found[:, :1], mean[:, :1] / (mean[:, :1] + against), atol=1e-5)
    for columns in (slice(1, 4), slice(4, 8)):
        assert torch.allclose(found[:, columns], mean[:, columns] / mean[:, columns].sum(dim=1, keepdim=True), atol=1e-5)


def test_a_model_with_all_mirrored_variants_answers_alike_for_an_image_and_its_mirror() -> None:
    images = pictures(4)
    assert torch.allclose(model(("mirror",)).predictor()(images)[0], model(("mirror",)).predictor()(mirror(images))[0], atol=1e-5)
    assert not torch.allclose(model().predictor()(images)[0], model().predictor()(mirror(images))[0], atol=1e-2)


def test_rotation_needs_square_images() -> None:
    plan = PreprocessingPlan(ResizePlan(28, 32, 1), IntensityPlan())
    with pytest.raises(MedaiError, match="rotate90 needs square images, preprocessing makes 28 x 32 pixels of them"):
        Checkpoint.fresh(LABELS, plan, NODE, ["rotate90"])


# The ensemble


def test_an_ensemble_averages_the_calibrated_logits_of_its_members() -> None:
    members = [model(("mirror",), seed=1, temperature=2.0), model((), seed=2, temperature=0.5)]
    images = pictures(5)
    logits = [member.predictor()(images)[1] for member in members]
    found = combine(members).predictor()(images)
    assert torch.allclose(found[1], (logits[0] + logits[1]) / 2, atol=1e-5)
    uncalibrated = [member.classifier.averaged(member.predictor().preprocessing(images)) for member in members]
    assert (found[1] - (uncalibrated[0] + uncalibrated[1]) / 2).abs().max() > 0.1, "the temperatures change nothing here"


def test_an_ensemble_is_saved_and_read_like_any_checkpoint(tmp_path: Path) -> None:
    checkpoint = combine([model(("mirror",), seed=1, temperature=2.0), model(seed=2), model(("zoom=1.2",), seed=3)])
    checkpoint.record, checkpoint.temperatures, checkpoint.thresholds = {"thresholds": {}}, {"view": 0.7}, {"nodule": 0.3}
    checkpoint.save(tmp_path / "checkpoint")
    read = Checkpoint.load(tmp_path)
    assert len(read.members) == 3 and isinstance(read.classifier.network, Ensemble)
    assert [member["test_time"] for member in read.members] == [["mirror"], [], ["zoom=1.2"]]
    for one, other in zip(read.predictor()(pictures(4)), checkpoint.predictor()(pictures(4)), strict=True):
        assert torch.equal(one, other)


CURVES = {"nodule": Calibrator("isotonic", logits=(-2.0, -0.5, 0.5, 3.0), probabilities=(0.0625, 0.25, 0.25, 0.875))}


def test_a_calibrated_checkpoint_is_read_back_and_older_readers_refuse_it(tmp_path: Path) -> None:
    checkpoint = model(seed=1)
    plain = checkpoint.predictor()(pictures(6))[1]
    checkpoint.calibrators = CURVES
    checkpoint.save(tmp_path / "checkpoint")
    assert json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())["schema_version"] == "2.0"
    read = Checkpoint.load(tmp_path)
    assert read.calibrators == CURVES
    found, expected = read.predictor()(pictures(6)), checkpoint.predictor()(pictures(6))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not torch.allclose(found[1][:, 0], plain[:, 0]) and torch.equal(found[1][:, 1:], plain[:, 1:])
    raw = checkpoint.classifier.averaged(checkpoint.predictor().preprocessing(pictures(6)))[:, 0]
    assert found[1][:, 0].numpy() == pytest.approx(CURVES["nodule"].apply(raw.numpy()), abs=1e-5)


def test_the_members_curves_go_in_before_the_mean_and_through_the_export(tmp_path: Path) -> None:
    members = [model(("mirror",), seed=1, temperature=2.0), model(seed=2)]
    members[0].calibrators = CURVES
    logits = [member.predictor()(pictures(5))[1] for member in members]
    checkpoint = combine(members)
    assert torch.allclose(checkpoint.predictor()(pictures(5))[1], (logits[0] + logits[1]) / 2, atol=1e-5)
    checkpoint.record, checkpoint.calibrators = {"thresholds": {}}, {"nodule": Calibrator("platt", 1.5, -0.25)}
    checkpoint.save(tmp_path / "checkpoint")
    predictor = Checkpoint.load(tmp_path).predictor()
    graph, pixels = export_graph(predictor, 1), pictures(7).numpy()
    found, expected = OnnxRunner(graph, threads=1)(pixels), TorchRunner(predictor)(pixels)
    np.testing.assert_allclose(found.probability, expected.probability, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.decision, expected.decision)
    assert expected.probability[:, 0].std() > 0.05, "degenerate outputs prove nothing"


# The exported graph


def test_an_ensemble_of_members_with_every_variant_exports_at_any_batch() -> None:
    checkpoint = combine([model(ALL[:2], seed=1, temperature=2.0), model(ALL[2:], seed=2)])
    checkpoint.temperatures, checkpoint.thresholds = {"nodule": 0.8, "view": 1.2, "stage": 0.9}, {"nodule": 0.45}
    predictor, seen = checkpoint.predictor(), []
    graph = export_graph(predictor, 1)
    for count, height, width in ((1, 28, 28), (7, 28, 28), (3, 61, 90)):
        pixels = pictures(count, height, width, seed=count).numpy()
        found, expected = OnnxRunner(graph, threads=1)(pixels), TorchRunner(predictor)(pixels)
        np.testing.assert_allclose(found.probability, expected.probability, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.decision, expected.decision)
        seen.append(expected.probability)
    assert np.concatenate(seen)[:, 0].std() > 0.05, "degenerate outputs prove nothing"


# The checkpoint


def rewrite(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change a checkpoint's record as another version of medai would have written it."""
    description = json.loads((path / "checkpoint.json").read_text())
    del description["hash"]
    change(description)
    (path / "checkpoint.json").write_text(json.dumps(description | {"hash": hash_text(canonical_json(description))}))


@pytest.mark.parametrize("flip_average", [False, True])
def test_a_checkpoint_of_schema_1_0_is_read_as_it_was_meant(tmp_path: Path, flip_average: bool) -> None:
    checkpoint = model(("mirror",) if flip_average else ())
    checkpoint.save(tmp_path / "checkpoint")

    def old(description: dict[str, object]) -> None:
        del description["test_time"]
        description |= {"schema_version": "1.0", "flip_average": flip_average}

    rewrite(tmp_path / "checkpoint", old)
    read = Checkpoint.load(tmp_path)
    assert read.variants == (("mirror",) if flip_average else ())
    assert torch.equal(read.predictor()(pictures(3))[0], checkpoint.predictor()(pictures(3))[0])


def test_variants_are_saved_with_the_checkpoint(tmp_path: Path) -> None:
    model(ALL).save(tmp_path / "checkpoint")
    description = json.loads((tmp_path / "checkpoint" / "checkpoint.json").read_text())
    assert (description["schema_version"], description["test_time"]) == ("1.1", list(ALL))
    assert torch.equal(Checkpoint.load(tmp_path).predictor()(pictures(3))[0], model(ALL).predictor()(pictures(3))[0])


def test_a_checkpoint_of_a_newer_major_schema_is_refused(tmp_path: Path) -> None:
    model().save(tmp_path / "checkpoint")
    rewrite(tmp_path / "checkpoint", lambda description: description.update(schema_version="3.0"))
    with pytest.raises(MedaiError, match="has checkpoint schema 3.0, this medai reads 2.0"):
        Checkpoint.load(tmp_path)


def test_the_source_of_the_thresholds_says_on_what_they_were_chosen() -> None:
    frozen = {"rule": "youden", "cases": 40, "assumed": []}
    assert threshold_source(frozen, "chest") == "validation split of chest (40 cases), rule youden"
    assert threshold_source(frozen | {"part": "out-of-fold predictions"}, "chest").startswith("out-of-fold predictions of chest (40")
