"""The project as a whole: what an import costs, the layers, what must not be there, what a wheel carries."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "monai",
    "mlflow",
    "lightning_fabric",
    "numpy",
    "pandas",
    "scipy",
    "polars",
    "pyarrow",
    "matplotlib",
    "hydra",
    "omegaconf",
    "onnx",
    "onnxruntime",
    "pydicom",
)


def _imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_medai_imports_nothing_heavy() -> None:
    assert not _imported_by("import medai") & set(HEAVY)


def test_the_overview_needs_nothing_heavy() -> None:
    assert not _imported_by("from medai.cli import main; main(['--help'])") & set(HEAVY)


def test_the_help_of_a_command_needs_hydra_alone() -> None:
    assert not _imported_by("from medai.cli import main; main(['train', '--help'])") & (set(HEAVY) - {"hydra", "omegaconf"})


def test_the_device_runtime_needs_the_base_installation_alone() -> None:
    imported = _imported_by("import medai.device.package, medai.device.verify, medai.info")
    assert not imported & {
        "torch",
        "monai",
        "mlflow",
        "polars",
        "pyarrow",
        "scipy",
        "pandas",
        "hydra",
        "onnx",
        "rich",
        "blosc2",
        "matplotlib",
    }


def test_the_layers_hold() -> None:
    result = subprocess.run([Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout


def test_torchvision_is_absent() -> None:
    assert importlib.util.find_spec("torchvision") is None, "torchvision breaks torchmetrics and Lightning at import; uninstall it"


def test_no_file_names_a_machine_or_a_package_host() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile("|".join([re.escape(str(ROOT)), r"/home/(?!doctor)\w+", r"/Users/\w", "index" + "-url", "pypi" + r"\.org"]))
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.stat().st_size < 1_000_000:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{name}: {match[0]}" for match in private.finditer(text)]
    assert not found


def test_the_tested_set_pins_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = {_normal(line) for group in (project["dependencies"], *extras.values()) for line in group} - {"medai"}
    pinned = {_normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")}
    assert names <= pinned
    assert "torchvision" not in pinned


def _normal(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def test_a_wheel_carries_the_configuration_and_the_data_set_cards(tmp_path: Path) -> None:
    build = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert build.returncode == 0, build.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    assert {
        "medai/_configs/train.yaml",
        "medai/_configs/experiment/quick.yaml",
        "medai/_datasets/phantom.yaml",
        "medai/_datasets/phantom.md",
    } <= names
    assert not [name for name in names if name.startswith(("configs", "datasets", "tests", "medai/_configs/local"))]
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\nfrom medai.cli import main\n"
    code += "sys.exit(main(['train', '--cfg', 'job', '-p', 'seed']))"
    outside = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (outside.returncode, outside.stdout) == (0, "0\n"), outside.stderr
