"""A wheel in an empty environment: the runtime alone, then the whole way. `make proof`; it installs packages."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, requirement: str) -> Path:
    """A new environment with one requirement; gives the folder of its programs."""
    venv.create(folder, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", requirement]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "bin"


def run(command: list[str | Path], folder: Path) -> str:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=plain)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_base_installation_predicts_and_verifies(wheel: Path, way: object, tmp_path: Path) -> None:
    programs = environment(tmp_path / "base", str(wheel))
    package = shutil.copytree(way.package, tmp_path / "package")  # type: ignore[attr-defined]
    image = next(way.elsewhere.rglob("*.dcm"))  # type: ignore[attr-defined]
    assert "effusion" in run([programs / "medai", "predict", package, image], tmp_path)
    assert "agree" in run([programs / "medai", "verify", package], tmp_path)
    listed = run([programs / "python", "-m", "pip", "list"], tmp_path).lower()
    assert "torch" not in listed
    assert "polars" not in listed


def test_the_whole_way_runs_outside_a_checkout(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "train", f"medai[train] @ {wheel.as_uri()}")
    told = run([programs / "medai", "train", "experiment=quick"], tmp_path)
    assert "package" in told
    (package,) = (tmp_path / "runs").glob("*/package")
    run([programs / "medai", "verify", package], tmp_path)
