"""From a configuration to a run: ingest, view, fit, freeze, record. The test split is never opened here."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int64

from medai.augmentation.pipeline import Augmentation
from medai.cohort.cohort import Cohort
from medai.core.environment import commit, hardware, versions
from medai.core.error import MedaiError
from medai.core.file import write_json
from medai.core.label import Label
from medai.core.progress import say
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.preprocessing.plan import PreprocessingPlan, ResizePlan
from medai.source.build import build_source
from medai.store.view import View
from medai.task.task import UNKNOWN
from medai.tracking.run import Tracker, start_run
from medai.training.checkpoint import Checkpoint
from medai.training.data import Images, OrderedBatches, loader
from medai.training.fit import EpochResult, Fit, summary
from medai.training.predictor import Classifier
from medai.training.report import validation_report
from medai.training.settings import TrainSettings
from medai.training.validation import freeze


def train(settings: TrainSettings) -> Path:
    """Train one model.

    Args:
        settings: See `TrainSettings`.

    Returns:
        The run's directory: `config.json`, `run.json`, `metrics.jsonl`, `checkpoint/` and `validation/`.

    Raises:
        MedaiError: the data, the configuration or the surroundings do not allow it.
    """
    started = time.time()
    _make_deterministic(settings.seed)
    cohort = ingest(build_source(settings.dataset), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    plan = _plan(settings, cohort)
    view = ensure_view(cohort, plan.resize, settings.workers)
    checkpoint = Checkpoint.fresh(cohort.labels, plan, settings.model, settings.training.flip_average)
    checkpoint.record = _record(settings, cohort, checkpoint)
    folder = _folder(settings, cohort)
    splits = {name: _images(settings, cohort, view, plan, name) for name in ("train", "validation")}
    write_json(folder / "config.json", asdict(settings))
    with _tracked(settings, folder, checkpoint.record) as tracker:
        run: dict[str, Any] = {
            "status": "running",
            "cohort": str(cohort.path),
            "cohort_hash": cohort.hash,
            "mlflow_run_id": tracker.run_id,
            "started": started,
        }
        write_json(folder / "run.json", run)
        best = _fit(settings, folder, checkpoint, splits, tracker)
        figures = _freeze(settings, cohort, folder, best, splits["validation"])
        run |= {"status": "finished", "seconds": time.time() - started, "checkpoint_hash": best.hash, "validation": figures}
        write_json(folder / "run.json", run)
        tracker.metrics({f"best_{key}": value for key, value in figures.items()}, settings.training.epochs)
        for name in ("config.json", "checkpoint", "validation"):
            tracker.artifact(folder / name)
    return folder


def _fit(settings: TrainSettings, folder: Path, checkpoint: Checkpoint, splits: dict[str, Images], tracker: Tracker) -> Checkpoint:
    """Train, keep the best epoch on disk, and read it back."""

    def on_epoch(result: EpochResult, classifier: Classifier) -> None:
        say(summary(result))
        tracker.metrics(result.metrics, result.epoch)
        with open(folder / "metrics.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"epoch": result.epoch} | result.metrics) + "\n")
        if result.best:
            checkpoint.record["epoch"] = result.epoch
            Checkpoint(
                checkpoint.labels, checkpoint.plan, checkpoint.model, checkpoint.flip_average, classifier, record=checkpoint.record
            ).save(folder / "checkpoint")  # fmt: skip

    fit = Fit(checkpoint.labels, settings.training, settings.seed, settings.workers)
    fit.run(checkpoint.classifier, splits["train"], splits["validation"], on_epoch)
    return Checkpoint.load(folder)


def _freeze(settings: TrainSettings, cohort: Cohort, folder: Path, best: Checkpoint, validation: Images) -> dict[str, float]:
    """Fit the calibration and choose the thresholds on validation, save them with the weights, and write the report."""
    batches = loader(validation, OrderedBatches(len(validation), 4 * settings.training.batch_size), 0, False)
    best.classifier.eval()
    with torch.inference_mode():
        raw = torch.cat([best.classifier.averaged(batch.images) for batch in batches]).float().numpy()
    frozen = freeze(best.labels, raw, validation.target, settings.training.calibration, settings.training.threshold)
    best.temperatures, best.thresholds = frozen.temperatures, frozen.thresholds
    best.record["thresholds"] = {
        "rule": settings.training.threshold,
        "split": "validation",
        "cases": len(validation),
        "cohort_hash": cohort.hash,
    }
    with torch.inference_mode():
        probability, logit, _ = best.predictor().decide(torch.from_numpy(raw))
    figures, metrics = validation_report(cohort, best, probability.numpy(), logit.numpy(), folder / "validation")
    best.record["validation"] = metrics
    best.save(folder / "checkpoint")
    best.hash = Checkpoint.load(folder).hash
    return figures


def _plan(settings: TrainSettings, cohort: Cohort) -> PreprocessingPlan:
    chosen = settings.preprocessing
    channels = chosen.channels or int(cohort.cases()["shape"].list.get(0).max())  # type: ignore[arg-type]
    return PreprocessingPlan(ResizePlan(chosen.height, chosen.width, channels), chosen.intensity)


def _images(settings: TrainSettings, cohort: Cohort, view: View, plan: PreprocessingPlan, split: str) -> Images:
    cases = cohort.select(split)
    if cases.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {split} cases; give the data set a split (dataset.split.validation=0.15)")
    target = target_matrix(cases, cohort.labels)
    for index, label in enumerate(cohort.labels):
        if split == "train" and len(np.unique(target[:, index][target[:, index] != UNKNOWN])) < 2:
            raise MedaiError(
                f"label {label.name!r} has a single class among the {len(cases)} training cases; there is nothing to learn from it"
            )
    augmentation = Augmentation(settings.augmentation.transforms) if split == "train" and settings.augmentation.transforms else None
    if augmentation:
        augmentation.build()  # a wrong name is found now, not in a worker
    return Images(view, cases["ordinal"].to_numpy().astype(np.int64), target, plan.intensity, augmentation, settings.seed)


def target_matrix(cases: pl.DataFrame, labels: tuple[Label, ...]) -> Int64[np.ndarray, "n L"]:
    """Class indices, -1 where unknown."""
    columns = [cases[label.name].cast(pl.Int64).fill_null(UNKNOWN).to_numpy() for label in labels]
    return np.stack(columns, axis=1).astype(np.int64)


def _folder(settings: TrainSettings, cohort: Cohort) -> Path:
    name = settings.name or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{cohort.name}_{model_name(settings.model)}_s{settings.seed}"
    folder = Path(settings.folder) if settings.folder else Path(settings.runs) / name
    if (folder / "checkpoint").exists():
        raise MedaiError(f"{folder} holds a run already; choose another name=…, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedaiError(
            f"the run's folder {folder} cannot be made ({error.strerror}); set runs=… to a folder that can be written"
        ) from None
    return folder


def model_name(model: dict[str, Any]) -> str:
    """The network's short name."""
    return str(model.get("_target_", "network")).rsplit(".", 1)[-1]


def _record(settings: TrainSettings, cohort: Cohort, checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says about its making."""
    cases = cohort.cases()
    development = cases.filter(pl.col("partition") == "development")
    return {
        "cohort": {
            "name": cohort.name,
            "hash": cohort.hash,
            "path": str(cohort.path.resolve()),
            "counts": cohort.counts,
        },
        "input": _input_contract(development),
        "seed": settings.seed,
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware(),
        "allow": list(settings.allow),
        "parameters": sum(parameter.numel() for parameter in checkpoint.classifier.parameters()),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _input_contract(cases: pl.DataFrame) -> dict[str, Any]:
    """What the development images were like: a device refuses what is far from it."""
    spans = cases["pixel_max"] - cases["pixel_min"]
    return {
        "modality": sorted(cases["modality"].drop_nulls().unique()), "body_part": sorted(cases["body_part"].drop_nulls().unique()),
        "pixel_min": float(cases["pixel_min"].min()), "pixel_max": float(cases["pixel_max"].max()), "smallest_span": float(spans.min()),  # type: ignore[arg-type]
        "channels": sorted(int(value) for value in cases["shape"].list.get(0).unique()),
        "integers": bool(cases["dtype"].str.contains("int").all()),
    }  # fmt: skip


@contextmanager
def _tracked(settings: TrainSettings, folder: Path, record: dict[str, Any]) -> Iterator[Tracker]:
    """An MLflow run that ends as the training ends."""
    tags = {
        "medai.commit": record["commit"],
        "medai.cohort": record["cohort"]["name"],
        "medai.cohort_hash": record["cohort"]["hash"],
        "medai.counts": json.dumps(record["cohort"]["counts"]),
        "medai.versions": json.dumps(record["versions"]),
        "medai.hardware": json.dumps(record["hardware"]),
        "medai.folder": str(folder.resolve()),
    }
    tracker = start_run(settings.tracking, Path(settings.runs), folder.name, asdict(settings), tags, settings.sweep)
    try:
        yield tracker
    except BaseException as error:
        tracker.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.end("FINISHED")


def _make_deterministic(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
