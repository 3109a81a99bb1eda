"""Every command of the README runs, in a folder that holds what the README's examples name."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from medai.cli import main
from medai.cohort.cohort import Cohort

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Small numbers, so that a test is quick; the commands are the README's own.
SMALL = ["preprocessing.height=32", "preprocessing.width=32", "training.epochs=1", "training.batch_size=16", "workers=0"]
NPZ_SMALL = ["training.epochs=1", "workers=0"]
TRAINING = ("train", "plan", "sweep", "range-test", "bench")  # commands that take the settings of a training


def commands() -> list[str]:
    """The lines of the README's bash blocks, without their comments."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def place(way: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the README's reader stands: some images, a table of labels, scores, an npz file, and a network of their own."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(way.elsewhere, folder / "dicom")
    shutil.copytree(way.images, folder / "cohorts" / "phantom-files" / "80x256-seed0")
    first, second = sorted((folder / "dicom").rglob("*.dcm"))[:2]
    shutil.copy(first, folder / "image.dcm")
    shutil.copy(second, folder / "other.dcm")
    _write_pictures(folder / "images")
    files = [str(path.relative_to(folder / "images")) for path in sorted((folder / "images").rglob("*.png"))]
    pl.DataFrame({"file": files, "pneumonia": ["PNEUMONIA" in file for file in files]}).write_csv(folder / "labels.csv")
    _write_npz(folder / "pneumoniamnist.npz")
    (folder / "scores.csv").write_text("\n".join(re.findall(r"^(?:case_id|c000).*$", README, flags=re.MULTILINE)) + "\n")
    shutil.copy(folder / "scores.csv", folder / "other.csv")
    _write_vendor(folder)
    (folder / "mine" / "model").mkdir(parents=True)
    own = yaml.safe_load(next(iter(re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL))))
    (folder / "mine" / "model" / "own.yaml").write_text(yaml.safe_dump(own))
    (folder / "my_networks.py").write_text("from medai.model.residual import ResidualSmall\n\nclass MyNetwork(ResidualSmall):\n    pass\n")
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    os.chdir(before)


def _write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label, light in (("NORMAL", 80), ("PNEUMONIA", 160)):
        (folder / label).mkdir(parents=True)
        for number in range(24):
            Image.fromarray(rng.integers(0, light, (36, 36)).astype(np.uint8)).save(
                folder / label / f"person{number}{label[0]}_{number}.png"
            )


def _write_npz(path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 255, (64, 28, 28)).astype(np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (64, 1)).astype(np.uint8)
    np.savez(path, **arrays)


def _write_vendor(folder: Path) -> None:
    """Somebody's ONNX file, the mean of the image as a probability, and its contract."""
    import onnx
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 32, 32])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 1])
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    nodes += [helper.make_node("Reshape", ["mean", "shape"], ["flat"]), helper.make_node("Sigmoid", ["flat"], ["score"])]
    graph = helper.make_graph(nodes, "vendor", [image], [score], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "vendor.onnx")
    contract = {
        "input": {"layout": "NCHW", "size": [32, 32], "intensity": {"method": "window", "lower": 0, "upper": 4095}},
        "output": {"activation": "none"},
        "labels": [{"name": "effusion", "kind": "binary", "classes": ["absent", "present"], "order": ["present"]}],
    }
    (folder / "vendor.yaml").write_text(yaml.safe_dump(contract))


def small(arguments: list[str]) -> list[str]:
    """What is added to a training so that it is quick."""
    if any(argument.startswith(("resume=runs", "repeat=")) for argument in arguments):
        return []
    if any(argument.startswith("experiment=pneumoniamnist") for argument in arguments):
        return NPZ_SMALL
    phantom = [] if any(argument.startswith("dataset=") for argument in arguments) else ["dataset.count=80"]
    size = [] if "experiment=quick" not in arguments else ["dataset.size=256"]
    return [*SMALL, *phantom, *size]


def cohort_of(run: str) -> Path:
    """The cohort that a run was trained on."""
    return Path(json.loads((Path(run) / "run.json").read_text())["cohort"])


def run(command: str) -> None:
    """Run one command of the README in the current folder."""
    words = shlex.split(command)
    if words[0] == "python" and words[1] in ("train.py", "evaluate.py"):
        words = ["medai", words[1].removesuffix(".py"), *words[2:]]
    if words[0] == "medai":
        more = small(words[2:]) if words[1] in TRAINING else []
        words = [str(cohort_of("runs/first")) if word == "cohorts/NAME" else word for word in words]
        if any("cohorts/SEALED" in word for word in words) and not Path("sealed").exists():
            shutil.copytree(cohort_of("runs/first"), "sealed")
        words = [word.replace("cohorts/SEALED", "sealed") for word in words]
        words = [Cohort.open(cohort_of("runs/first")).cases()["case_id"][0] if word == "CASE" else word for word in words]
        assert main([*words[1:], *more]) == 0, command
    elif words[0] == "torchrun":
        several = [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:], *small(words[3:])]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run([str(ROOT / word) if word == "train.py" else word for word in several], check=True, env=environment)
    elif words[:2] == ["python", "benchmarks/start.py"] or words[0] in ("source", "pip"):
        assert command in ("source .venv/bin/activate", "pip install medai")
    elif words[0] == "make":
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["mlflow", "ui"]:
        assert words[3].removeprefix("sqlite:///") == "runs/mlflow.db"
        assert Path("runs/mlflow.db").is_file()
    else:
        pytest.fail(f"the README has a command that no test runs: {command}")


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_runs(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "MEDAI_SITE_KEY" in os.environ:
        monkeypatch.setenv("MEDAI_SITE_KEY", str(place / "site.key"))
    run(command)


def test_the_python_of_the_readme_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "effusion" in capsys.readouterr().out


def test_the_readmes_benchmarks_and_pictures_exist() -> None:
    for name in re.findall(r"`python (benchmarks/\w+\.py)", README):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / name).is_file(), name
    assert "@@" not in README
