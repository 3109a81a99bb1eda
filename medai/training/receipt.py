"""The receipt of a run: what is needed to do it again, and whether doing so gave the same weights."""

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from medai.cohort.cohort import Cohort
from medai.core.environment import commit, hardware
from medai.core.file import canonical_json, hash_file, hash_text, read_json
from medai.training.distributed import Group
from medai.training.precision import choose_precision
from medai.training.resume import comparable, differences
from medai.training.settings import TrainSettings

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED")
WEIGHTS = Path("checkpoint") / "model.safetensors"


def receipt(settings: TrainSettings, group: Group, cohort: Cohort) -> dict[str, Any]:
    """Code, data, configuration, packages, machine and flags of a run, as JSON has them."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": commit(),
        "changes_sha256": _changes(),
        "config_sha256": hash_text(canonical_json(comparable(settings))),
        "cohort": {"name": cohort.name, "hash": cohort.hash},
        "seed": settings.seed,
        "world_size": group.size,
        "micro_batch": settings.training.micro_batch,
        "precision": choose_precision(settings.training.precision, settings.training.accelerator),
        "deterministic": settings.training.deterministic,
        "threads": torch.get_num_threads(),
        "hardware": hardware() | {"gpu": gpu, "cuda": torch.version.cuda or ""},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {one.name: one.version for one in sorted(importlib.metadata.distributions(), key=lambda one: one.name.lower())},
    }


def compare_with(earlier: Path, folder: Path) -> dict[str, Any]:
    """Whether a run that was repeated has the same weights; if not, by how much they differ, and what in the receipts does."""
    found: dict[str, Any] = {"run": str(earlier), "same_weights": False}
    if not (earlier / WEIGHTS).is_file():
        return found | {"verdict": f"{earlier} has no weights to compare with"}
    if hash_file(earlier / WEIGHTS) == hash_file(folder / WEIGHTS):
        return found | {"same_weights": True, "verdict": f"The weights are those of {earlier}, bit for bit"}
    one, other = load_file(earlier / WEIGHTS), load_file(folder / WEIGHTS)
    shared = [(one[key].double(), other[key].double()) for key in one.keys() & other.keys() if one[key].numel()]
    largest = max((float((mine - theirs).abs().max()) for mine, theirs in shared), default=0.0)
    receipts = [read_json(path / "receipt.json") if (path / "receipt.json").is_file() else {} for path in (earlier, folder)]
    causes = [key for key in differences(*receipts) if not key.startswith(("command", "checkpoint"))]
    why = f"their receipts differ in {', '.join(causes[:8])}" if causes else "their receipts do not say why"
    verdict = f"The weights differ from those of {earlier} by up to {largest:.1e}; {why}"
    return found | {"largest_difference": largest, "differences": causes, "verdict": verdict}


def _changes() -> str:
    """SHA-256 of what the checkout's files have in addition to the commit; empty where there is nothing, or no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        diff = subprocess.run(["git", "-C", str(root), "diff", "HEAD"], capture_output=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return hashlib.sha256(diff).hexdigest() if diff else ""
