"""What a run says about its making: cohort, input, code, versions, machine."""

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch

from medai.cohort.cohort import Cohort
from medai.cohort.fold import fold_record
from medai.core.environment import commit, hardware, versions
from medai.training.checkpoint import Checkpoint
from medai.training.precision import choose_precision
from medai.training.settings import TrainSettings


def checkpoint_record(settings: TrainSettings, cohort: Cohort, checkpoint: Checkpoint) -> dict[str, Any]:
    """The record of a checkpoint before it is trained; epoch, thresholds and validation follow."""
    cases = cohort.cases()
    machine = {"threads": torch.get_num_threads(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else ""}
    return {
        "cohort": {"name": cohort.name, "hash": cohort.hash, "path": str(cohort.path.resolve()), "counts": cohort.counts},
        "input": _input_contract(cases.filter(pl.col("partition") == "development")),
        "seed": settings.seed,
        "fold": None if settings.fold is None else fold_record(cohort, settings.fold, settings.folds, settings.seed),
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware() | machine,
        "precision": choose_precision(settings.training.precision, settings.training.accelerator),
        "allow": list(settings.allow),
        "parameters": sum(parameter.numel() for parameter in checkpoint.classifier.parameters()),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def tracking_tags(record: dict[str, Any], folder: Path) -> dict[str, str]:
    """Facts about code, data and machine, as the tracking takes them."""
    return {
        "medai.commit": record["commit"],
        "medai.cohort": record["cohort"]["name"],
        "medai.cohort_hash": record["cohort"]["hash"],
        "medai.counts": json.dumps(record["cohort"]["counts"]),
        "medai.versions": json.dumps(record["versions"]),
        "medai.hardware": json.dumps(record["hardware"]),
        "medai.folder": str(folder.resolve()),
    }


def _input_contract(cases: pl.DataFrame) -> dict[str, Any]:
    """What the development images were like: a device refuses what is far from it."""
    low, high = cases.select(pl.col("pixel_min").min(), pl.col("pixel_max").max()).row(0)
    return {
        "modality": sorted(cases["modality"].drop_nulls().unique()),
        "body_part": sorted(cases["body_part"].drop_nulls().unique()),
        "pixel_min": float(low),
        "pixel_max": float(high),
        "channels": sorted(int(value) for value in cases["shape"].list.get(0).unique()),
    }
