"""Where something was computed: code, versions, hardware. For records, so that a result can be traced."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import medai

PACKAGES = (
    "numpy", "torch", "monai", "pydicom", "hydra-core", "mlflow", "onnx", "onnxruntime", "optuna", "polars", "blosc2", "scipy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, medai and the packages that decide a result, as far as they are installed."""
    found = {"python": platform.python_version(), "medai": medai.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores and system; whoever uses torch adds its threads and GPU."""
    return {"machine": platform.machine(), "processor": _processor(), "cores": os.cpu_count() or 0, "system": platform.platform(terse=True)}


def commit() -> str:
    """Git commit of medai's checkout, with ``+changes`` when its files differ from it; empty for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    revision = _git(root, "rev-parse", "HEAD")
    return revision + ("+changes" if revision and _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
