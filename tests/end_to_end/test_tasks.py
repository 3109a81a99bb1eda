"""Every kind of label goes the whole way: train, evaluate, export, predict; alone and mixed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.cli import main

SMALL = ["preprocessing.height=28", "preprocessing.width=28", "training.epochs=2", "training.batch_size=16", "workers=0", "tracking=none"]
GRADES = ["none", "mild", "severe"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Colour pictures whose brightness is their grade, and a table with every kind of label and unknown cells."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(120):
        grade = number % 3
        pixels = rng.integers(0, 60 + 60 * grade, (30, 34, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:03}.png")
        rows.append(
            {
                "file": f"{number:03}.png",
                "patient": f"p{number // 2}",
                "bright": None if number % 10 == 9 else int(grade > 0),
                "grade": GRADES[grade],
                "colour": ["red", "green", "blue"][number % 3],
            }
        )
    pl.DataFrame(rows).write_csv(tmp_path / "labels.csv")
    return tmp_path


GRADE = "{name: grade, kind: ordinal, classes: [none, mild, severe]}"
COLOUR = "{name: colour, kind: multiclass, classes: [red, green, blue]}"
TARGETS = {"ordinal": f"[{GRADE}]", "multiclass": f"[{COLOUR}]", "mixed": f"[bright, {GRADE}, {COLOUR}]"}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_task_goes_the_whole_way(
    kind: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["dataset=folder", f"dataset.path={pictures}", "dataset.labels=labels.csv", f"dataset.targets={TARGETS[kind]}"]
    assert main(["train", *data, "folder=run", *SMALL]) == 0
    assert main(["evaluate", "candidate=run", "output=by-torch"]) == 0
    assert main(["export", "candidate=run"]) == 0
    assert main(["evaluate", "candidate=run/package", "output=by-onnx"]) == 0
    found: dict[str, Any] = json.loads(Path("by-onnx/metrics.json").read_text())
    table, other = pl.read_parquet("by-onnx/predictions.parquet"), pl.read_parquet("by-torch/predictions.parquet")
    assert table.select(pl.col("^target.*$")).equals(other.select(pl.col("^target.*$")))
    for name in (column for column in table.columns if column.startswith("probability.")):
        assert np.abs(table[name] - other[name]).max() <= 1e-5
    if kind != "ordinal":
        assert found["labels"]["colour"]["kind"] == "multiclass"
    if kind != "multiclass":
        grades = table.select(pl.col(f"probability.grade.{name}") for name in GRADES).to_numpy()
        assert np.allclose(grades.sum(axis=1), 1, atol=1e-5)
        assert set(table["target.grade"]) == set(GRADES)
    if kind == "mixed":
        assert found["labels"]["bright"]["unknown"] == table["target.bright"].null_count() > 0
    capsys.readouterr()
    assert main(["predict", "run/package", str(pictures / "000.png"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert set(answer["decision"].values()) <= {*GRADES, "red", "green", "blue", "negative", "positive"}
    assert (Path("by-onnx") / "report.html").is_file()
