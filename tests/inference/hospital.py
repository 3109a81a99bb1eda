"""A hospital's small cohort, made once a process and copied for each test, and commands as people type them."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from medai.cli import evaluate, main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.progress import say
from medai.inference.settings import EvaluateSettings
from medai.ingest.ingest import ingest
from medai.source.npz import NpzSource

COUNTS = {"train": 40, "val": 40, "test": 160}
SICK = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}
QUICK = ["replicates=40", "language=en", "saliency=none"]
SCALE: dict[str, Any] = {"intensity": {"to": [-4, 4]}, "output": {"activation": "sigmoid"}}  # of a contract: sigmoid of the mean
_MADE: dict[str, Path] = {}


def arrays(seed: int = 0) -> dict[str, Any]:
    """Grey images of 16 x 16 pixels by split; the sick ones are brighter on the whole."""
    random = np.random.default_rng(seed)
    made: dict[str, Any] = {}
    for split, count in COUNTS.items():
        sick = (random.random(count) < 0.4).astype(np.uint8)
        light = 95 + 40 * sick + random.normal(0, 30, count)
        images = light[:, None, None] + random.normal(0, 60, (count, 16, 16))
        made |= {f"{split}_images": images.clip(0, 255).astype(np.uint8), f"{split}_labels": sick[:, None]}
    return made


def cohort_in(folder: Path) -> Cohort:
    """The cohort `set` in `folder`/cohorts: 160 test cases, 40 of validation."""
    key = os.environ["MEDAI_SITE_KEY"]
    if key not in _MADE:
        made = Path(tempfile.mkdtemp(dir=Path(key).parent))
        np.savez(made / "set.npz", **arrays())
        ingest(NpzSource("set", str(made / "set.npz"), [SICK], public=True), made / "cohorts", workers=0)
        _MADE[key] = made
    shutil.copytree(_MADE[key] / "cohorts", folder / "cohorts", dirs_exist_ok=True)
    return Cohort.open(next((folder / "cohorts").glob("set-*")))


def scores_of(cohort: Cohort, split: str = "test", strength: float = 1.5, seed: int = 0) -> pl.DataFrame:
    """Somebody's scores with the truth: the better, the larger `strength`."""
    cases = cohort.select(split)
    logit = np.random.default_rng(seed).normal(size=len(cases)) + strength * (cases["sick"].to_numpy() - 0.5)
    return cases.select(
        "case_id", pl.col("sick").cast(pl.Int8).alias("target.sick"), pl.Series("probability.sick", 1 / (1 + np.exp(-logit)))
    )


def metrics_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def auroc_of(table: pl.DataFrame, label: str = "sick") -> float:
    """By counting pairs."""
    score, truth = table[f"probability.{label}"].to_numpy(), table[f"target.{label}"].to_numpy() == 1
    better = score[truth][:, None] - score[~truth][None, :]
    return float(((better > 0) + 0.5 * (better == 0)).mean())


def command(words: list[str]) -> int:
    """As `medai.cli.main`, but an evaluation's settings are read without Hydra, whose composing takes longer than the evaluation."""
    if words[0] != "evaluate":
        return main(words)
    try:
        given = OmegaConf.merge(OmegaConf.structured(EvaluateSettings), OmegaConf.from_dotlist(words[1:]))
        evaluate(cast(EvaluateSettings, OmegaConf.to_object(given)))
    except MedaiError as error:
        say(f"medai: {error}")
        return 2
    return 0


def line_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The last line of a command that fails, which is all that it says of the fault."""
    capsys.readouterr()
    assert command(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "\n".join(lines) and lines[-1].startswith("medai: ")
    return lines[-1]
