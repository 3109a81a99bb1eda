"""From raw images to a tracked, evaluated, exported model, by the commands that people type."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.cli import main

ROOT = Path(__file__).parents[2]


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_the_run_has_its_report_its_checkpoint_and_its_package(here: Any) -> None:
    assert (here.run / "validation" / "report.html").stat().st_size > 10_000
    assert {"model.onnx", "package.json", "model_card.md", "manifest.json"} <= {path.name for path in here.package.iterdir()}
    assert (here.folder / "runs" / "mlflow.db").is_file()


def test_a_run_and_its_package_score_the_test_split_alike(here: Any) -> None:
    assert main(["evaluate", f"candidate={here.run}", "output=by-torch"]) == 0
    assert main(["evaluate", f"candidate={here.package}", "output=by-onnx"]) == 0
    by_torch, by_onnx = pl.read_parquet("by-torch/predictions.parquet"), pl.read_parquet("by-onnx/predictions.parquet")
    assert by_torch["case_id"].equals(by_onnx["case_id"])
    for label in ("nodule", "effusion", "cardiomegaly", "pneumothorax"):
        column = f"probability.{label}"
        assert np.abs(by_torch[column] - by_onnx[column]).max() <= 1e-5
    assert metrics(Path("by-onnx"))["looks_at_test"] == metrics(Path("by-torch"))["looks_at_test"] + 1
    assert set(by_torch["split"]) == {"test"}


def test_a_package_is_scored_straight_from_a_folder_of_dicom_files(here: Any) -> None:
    arguments = [f"dataset.path={here.elsewhere}", "dataset.labels=labels.csv", "output=straight"]
    assert main(["evaluate", f"candidate={here.package}", "dataset=dicom", "dataset.public=true", *arguments]) == 0
    assert metrics(Path("straight"))["cases"] == 80


def test_a_model_is_not_scored_on_images_that_it_has_seen(here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", f"candidate={here.run}", "dataset=dicom", "dataset.public=true", f"dataset.path={here.images}"]
    arguments += ["dataset.labels=labels.csv", "output=seen"]
    assert "of the 80 images are in the development set" in one_line(capsys, arguments)
    assert main([*arguments, "allow=[seen-images]"]) == 0
    assert "the figures are too good" in Path("seen/report.html").read_text()


def test_results_never_replace_other_files(here: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "holds other things" in one_line(capsys, ["evaluate", f"candidate={here.run}", f"output={tmp_path}"])
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_changed_labels_are_not_scored(here: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(here.folder / "cohorts", tmp_path / "cohorts")
    trained_on = Path(json.loads((here.run / "run.json").read_text())["cohort"]).name
    cohort = tmp_path / "cohorts" / trained_on
    table = pl.read_parquet(cohort / "labels" / "test.parquet")
    table.with_columns(effusion=1 - pl.col("effusion")).write_parquet(cohort / "labels" / "test.parquet")
    hidden = here.folder / "cohorts"
    hidden.rename(here.folder / "hidden")
    try:
        assert "was changed after the ingest" in one_line(capsys, ["evaluate", f"candidate={here.run}", f"cohorts={tmp_path / 'cohorts'}"])
    finally:
        (here.folder / "hidden").rename(hidden)


def test_scores_of_anyone_are_reported(here: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 60)
    frame = pl.DataFrame(
        {"case_id": [f"c{i}" for i in range(60)], "target.pneumonia": target, "probability.pneumonia": (target + rng.random(60)) / 2}
    )
    frame.write_csv(tmp_path / "scores.csv")
    assert main(["evaluate", f"predictions={tmp_path / 'scores.csv'}"]) == 0
    assert (tmp_path / "scores-evaluation" / "report.html").is_file()


def test_verify_and_predict_answer_from_the_package(here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(here.package)]) == 0
    image = next(here.images.rglob("*.dcm"))
    capsys.readouterr()
    assert main(["predict", str(here.package), str(image), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert set(answer["decision"]) == {"nodule", "effusion", "cardiomegaly", "pneumothorax"}


def test_the_package_predicts_without_torch_and_its_company(here: Any) -> None:
    image = next(here.images.rglob("*.dcm"))
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"torch", "monai", "onnx", "polars", "scipy", "hydra", "mlflow", "rich", "pyarrow"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from medai.cli import main
sys.exit(main(["predict", {str(here.package)!r}, {str(image)!r}]) or main(["verify", {str(here.package)!r}]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert "effusion" in result.stdout


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder a class, in a path with every awkward character, with two files that are no pictures."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "röntgen (2024), a=b 胸片"
    for label, light in (("NORMAL", 60), ("PNEUMONIA", 140)):
        (folder / label).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, light, (40, 36)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"person{number}_x_{number}.png")
    (folder / "NORMAL" / "truncated.png").write_bytes((folder / "NORMAL" / "person1_x_1.png").read_bytes()[:200])
    (folder / "PNEUMONIA" / "text.png").write_text("no picture")
    return folder


def test_a_folder_with_an_awkward_name_and_bad_files_is_trained_on(
    here: Any, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run (1), x=y"
    small = [
        "preprocessing.height=32",
        "preprocessing.width=32",
        "training.epochs=1",
        "training.batch_size=8",
        "workers=0",
        "tracking=none",
    ]
    assert (
        main(["train", "dataset=folder", f"dataset.path={pictures}", r"dataset.patient_pattern=(person\d+)_", f"folder={run}", *small]) == 0
    )
    told = capsys.readouterr().err
    assert "60 cases + 2 quarantined = 62 found" in told
    assert "unreadable-picture" in told
    assert main(["evaluate", f"candidate={run}"]) == 0
    assert (run / "evaluation").is_dir()


def one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The last line of a command that fails, which is all that it says of the fault."""
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "\n".join(lines)
    assert lines[-1].startswith("medai: ")
    return lines[-1]


def test_faults_of_the_data_end_in_one_line(here: Any, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "does not exist" in one_line(capsys, ["train", "dataset=folder", "dataset.path=nowhere"])
    assert "empty" in one_line(capsys, ["train", "dataset=folder", f"dataset.path={tmp_path / 'empty'}"])
    table = tmp_path / "labels.csv"
    pl.DataFrame({"file": ["NORMAL/person1_x_1.png"], "sick": [3]}).write_csv(table)
    base = ["train", "dataset=folder", f"dataset.path={pictures}", f"dataset.labels={table}"]
    assert "sick" in one_line(capsys, [*base, "dataset.targets=[ill]"])  # names the columns that are there
    target = "dataset.targets=[{name: sick, kind: binary, classes: [no, yes]}]"
    line = one_line(capsys, [*base, target])
    assert "3" in line
    assert "sick" in line


def test_faults_of_a_file_or_a_package_end_in_one_line(
    here: Any, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncated = tmp_path / "truncated.dcm"
    truncated.write_bytes(next(here.images.rglob("*.dcm")).read_bytes()[:5000])
    assert str(truncated) in one_line(capsys, ["predict", str(here.package), str(truncated)])
    png = pictures / "NORMAL" / "truncated.png"
    assert str(png) in one_line(capsys, ["predict", str(here.package), str(png)])
    changed = tmp_path / "changed"
    shutil.copytree(here.package, changed)
    content = bytearray((changed / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (changed / "model.onnx").write_bytes(bytes(content))
    assert "model.onnx" in one_line(capsys, ["predict", str(changed), str(truncated)])
    assert "model.onnx" in one_line(capsys, ["evaluate", f"candidate={changed}"])
    bare = tmp_path / "model.onnx"
    shutil.copy(here.package / "model.onnx", bare)
    assert "contract" in one_line(capsys, ["evaluate", f"candidate={bare}"])


def test_other_labels_than_the_models_are_refused(here: Any, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = one_line(capsys, ["evaluate", f"candidate={here.package}", "dataset=folder", f"dataset.path={pictures}", "dataset.targets=[x]"])
    assert "nodule" in line


def test_the_whole_way_needs_no_network(no_network: list[str], here: Any, tmp_path: Path) -> None:
    small = ["preprocessing.height=32", "preprocessing.width=32", "training.epochs=1", "training.batch_size=16", "workers=0"]
    run = tmp_path / "runs" / "offline"
    assert main(["train", "dataset.count=80", f"dataset.path={here.images}", f"folder={run}", f"runs={tmp_path / 'runs'}", *small]) == 0
    assert main(["evaluate", f"candidate={run}"]) == 0
    assert main(["export", f"candidate={run}"]) == 0
