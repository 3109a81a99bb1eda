"""From native pixels to an image with its map, in the report of a model and without one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from medai.ingest.ingest import ingest
from medai.interpretation.explain import Explainer, explainer_of
from medai.model.network import residual_small, vit
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.source.build import build_source
from medai.task.task import Decide, Head
from medai.training.checkpoint import Checkpoint
from medai.training.predictor import Classifier, Predictor

LABELS = (Label("nodule", "binary", ("absent", "present")), Label("stage", "ordinal", ("0", "1", "2")))
PLAN = PreprocessingPlan(ResizePlan(32, 40, 1), IntensityPlan("percentile", 1, 99))
PIXELS = np.random.default_rng(0).integers(0, 4096, (1, 70, 60)).astype(np.uint16)


class Sealed(nn.Module):
    """A network that computes without autograd."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3, 2), nn.Linear(4, outputs)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(self.conv(images).mean(dim=(2, 3)))
        return result


def predictor(kind: str = "residual_small") -> Predictor:
    torch.manual_seed(0)
    head = Head(LABELS)
    networks = {
        "residual_small": lambda: residual_small(1, head.inputs, 32, 40, channels=4, blocks=1),
        "vit": lambda: vit(1, head.inputs, 32, 40, patch_size=4, hidden_size=12, layers=1),
        "sealed": lambda: Sealed(head.inputs),
    }
    return Predictor(PLAN, Classifier(networks[kind](), head), Decide(LABELS, [1.0, 1.0], [0.5, 0.5])).eval().requires_grad_(False)


@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_the_image_is_what_the_network_takes_and_the_map_has_its_size(method: str) -> None:
    explained, model = Explainer(predictor(), method), predictor()
    got = explained(PIXELS, "nodule", 1)
    assert got is not None and explained.method == method and not explained.note
    expected = model.preprocessing(torch.from_numpy(PIXELS.astype(np.float32))[None])[0]
    np.testing.assert_array_equal(got.image, expected.numpy())
    assert got.saliency.shape == (32, 40)
    assert explained(PIXELS.repeat(3, axis=0), "stage", 2) is not None  # colour, for a grey network
    with pytest.raises(MedaiError, match="no label 'lung'"):
        explained(PIXELS, "lung", 0)


def test_where_gradcam_is_not_possible_integrated_gradients_take_its_place_and_it_is_said() -> None:
    explained = Explainer(predictor("vit"))
    assert explained.method == "integrated_gradients"
    assert "the network decides by tokens" in explained.note and "integrated gradients stand in its place" in explained.note
    got = explained(PIXELS, "nodule", 1)
    assert got is not None and got.saliency.max() == 1
    assert explainer_of(predictor("vit"), "gradcam", replace=False)[0] is None


def test_a_network_without_gradients_leaves_the_report_without_maps_and_with_the_reason() -> None:
    explained, said = explainer_of(predictor("sealed"), "gradcam")
    assert explained is None
    assert said.startswith("No saliency maps: the network cannot be explained (")
    with pytest.raises(MedaiError, match="no saliency method 'none'"):
        Explainer(predictor(), "none")


def test_a_picture_for_which_the_memory_does_not_suffice_goes_without_a_map(capsys: pytest.CaptureFixture[str]) -> None:
    model = predictor()
    explained = Explainer(model)

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")

    model.classifier.register_forward_pre_hook(full)
    assert explained(PIXELS, "nodule", 1) is None
    assert "No saliency map of one image: CUDA out of memory" in capsys.readouterr().err


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained checkpoint and the cohort of 30 phantoms that it says it was made from."""
    folder = tmp_path_factory.mktemp("explained")
    node = {
        "_target_": "medai.source.phantom_source.PhantomSource", "name": "phantom", "path": str(folder / "images"), "count": 30, "seed": 0,
        "split": {"test": 0.5, "validation": 0.2},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDAI_SITE_KEY", str(folder / "site.key"))
        cohort = ingest(build_source(node), folder / "cohorts", workers=0)
    torch.manual_seed(0)
    model = {"_target_": "medai.model.network.residual_small", "channels": 4, "blocks": 1}
    checkpoint = Checkpoint.fresh(cohort.labels, PLAN, model, False)
    checkpoint.thresholds = {label.name: 0.5 for label in cohort.labels}
    checkpoint.record = {
        "cohort": {"hash": cohort.hash, "name": cohort.name, "path": str(cohort.path)},
        "thresholds": {"rule": "youden", "split": "validation", "cases": 3},
    }
    checkpoint.save(folder / "run" / "checkpoint")
    return folder / "run"


def evaluated(run: Path, output: Path, **settings: str) -> str:
    given = EvaluateSettings(candidate=str(run), output=str(output), cohorts=str(run.parent / "cohorts"), replicates=10, **settings)
    return (evaluate_candidate(given) / "report.html").read_text(encoding="utf-8")


def test_the_report_of_a_checkpoint_shows_maps_unless_they_are_not_wanted(run: Path, tmp_path: Path) -> None:
    html = evaluated(run, tmp_path / "maps")
    assert "Grad-CAM (Selvaraju et al. 2017)" in html and "It does not show why" in html
    assert html.count('alt="map of') >= 8
    plain = evaluated(run, tmp_path / "none", saliency="none")
    assert "Grad-CAM" not in plain and 'alt="map of' not in plain
    with pytest.raises(MedaiError, match="saliency is 'shap'; allowed: gradcam, integrated_gradients, none"):
        EvaluateSettings(candidate="run", saliency="shap")


def test_a_folder_with_other_things_is_refused_before_the_work(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    looks = run.parent / "cohorts" / "looks"
    before = [path.read_text() for path in looks.glob("*")]
    with pytest.raises(MedaiError, match=r"exists already and holds other things; .* choose another output="):
        evaluated(run, tmp_path)
    assert [path.read_text() for path in looks.glob("*")] == before
    table = tmp_path / "scores.csv"
    table.write_text("case_id,target.x,probability.x\na,0,oops\n")  # would be refused as well, later
    with pytest.raises(MedaiError, match="holds other things"):
        evaluate_candidate(EvaluateSettings(predictions=str(table), output=str(tmp_path)))


def test_a_table_of_predictions_gets_its_report_without_maps(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("case_id,target.x,probability.x\n" + "".join(f"c{i},{i % 2},{i / 40}\n" for i in range(40)))
    folder = evaluate_candidate(EvaluateSettings(predictions=str(table), replicates=10))
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "No saliency maps: a table of predictions holds no network." in html
    assert json.loads((folder / "metrics.json").read_text())["cases"] == 40
