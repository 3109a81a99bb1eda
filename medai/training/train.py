"""From a configuration to a run: ingest, view, fit, freeze, record. The test split is never opened here."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int64

from medai.augmentation.pipeline import Augmentation
from medai.cohort.cohort import Cohort
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
from medai.training.precision import check_accelerator
from medai.training.predictor import Classifier
from medai.training.record import checkpoint_record, tracking_tags
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
    check_accelerator(settings.training.accelerator)
    _make_deterministic(settings.seed)
    cohort = ingest(build_source(settings.dataset), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    if not cohort.labels:
        raise MedaiError(f"cohort {cohort.path} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    plan = _plan(settings, cohort)
    view = ensure_view(cohort, plan.resize, settings.workers)
    splits = {name: _images(settings, cohort, view, plan, name) for name in ("train", "validation")}
    checkpoint = Checkpoint.fresh(cohort.labels, plan, settings.model, settings.training.flip_average)
    checkpoint.record = checkpoint_record(settings, cohort, checkpoint)
    folder = _make_folder(settings, cohort)
    write_json(folder / "config.json", asdict(settings))
    facts = {"cohort": str(cohort.path), "cohort_hash": cohort.hash, "started": started}
    with _recorded(settings, folder, checkpoint.record, facts) as tracker:
        best = _fit(settings, folder, checkpoint, splits, tracker)
        figures = _freeze(settings, cohort, folder, best, splits["validation"])
        facts |= {"seconds": time.time() - started, "checkpoint_hash": best.hash, "validation": figures}
        tracker.metrics({f"best_{key}": value for key, value in figures.items()}, settings.training.epochs)
        for name in ("config.json", "checkpoint", "validation"):
            tracker.artifact(folder / name)
    return folder


def _fit(settings: TrainSettings, folder: Path, checkpoint: Checkpoint, splits: dict[str, Images], tracker: Tracker) -> Checkpoint:
    """Train, keep the best epoch on disk, and read it back."""

    def on_epoch(result: EpochResult, classifier: Classifier) -> None:
        if result.best:
            checkpoint.record["epoch"] = result.epoch
            replace(checkpoint, classifier=classifier).save(folder / "checkpoint")
        say(summary(result))
        with open(folder / "metrics.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"epoch": result.epoch} | result.metrics) + "\n")
        tracker.metrics(result.metrics, result.epoch)

    fit = Fit(checkpoint.labels, settings.training, settings.seed, settings.workers)
    fit.run(checkpoint.classifier, splits["train"], splits["validation"], on_epoch)
    return Checkpoint.load(folder, finished=False)


def _freeze(settings: TrainSettings, cohort: Cohort, folder: Path, best: Checkpoint, validation: Images) -> dict[str, float]:
    """Fit the calibration and choose the thresholds on validation, save them with the weights, and write the report."""
    batches = loader(validation, OrderedBatches(len(validation), 4 * settings.training.batch_size), 0, False)
    best.classifier.eval()
    with torch.inference_mode():
        raw = torch.cat([best.classifier.averaged(batch.images) for batch in batches]).float().numpy()
    frozen = freeze(best.labels, raw, validation.target, settings.training.calibration, settings.training.threshold)
    best.temperatures, best.thresholds = frozen.temperatures, frozen.thresholds
    chosen_on = {"split": "validation", "cases": len(validation), "assumed": list(frozen.assumed)}
    best.record["thresholds"] = {"rule": settings.training.threshold} | chosen_on
    best.record["calibration"] = {"method": settings.training.calibration} | chosen_on
    with torch.inference_mode():
        probability, logit, _ = best.predictor().decide(torch.from_numpy(raw))
    figures, best.record["validation"] = validation_report(cohort, best, probability.numpy(), logit.numpy(), folder / "validation")
    best.save(folder / "checkpoint")
    best.hash = Checkpoint.load(folder).hash
    return figures


def _plan(settings: TrainSettings, cohort: Cohort) -> PreprocessingPlan:
    chosen = settings.preprocessing
    channels = chosen.channels or int(cohort.meta["channels"])
    return PreprocessingPlan(ResizePlan(chosen.height, chosen.width, channels), chosen.intensity)


def _images(settings: TrainSettings, cohort: Cohort, view: View, plan: PreprocessingPlan, split: str) -> Images:
    cases = cohort.select(split)
    if cases.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {split} cases; give the data set a split (dataset.split.validation=0.15)")
    target = target_matrix(cases, cohort.labels)
    _check_classes(settings, cohort.labels, target, split)
    augmentation = Augmentation(settings.augmentation.transforms) if split == "train" and settings.augmentation.transforms else None
    if augmentation:
        augmentation.check(view.shape[1:])
    return Images(view, cases["ordinal"].to_numpy().astype(np.int64), target, plan.intensity, augmentation, settings.seed)


def _check_classes(settings: TrainSettings, labels: tuple[Label, ...], target: Int64[np.ndarray, "n L"], split: str) -> None:
    """Refuse what cannot be learned, or cannot be judged by the monitored figure."""
    single = [label.name for label, column in zip(labels, target.T, strict=True) if len(np.unique(column[column != UNKNOWN])) < 2]
    if split == "train" and single:
        raise MedaiError(
            f"label {single[0]!r} has a single class among the {len(target)} training cases; there is nothing to learn from it"
        )
    if split == "validation" and settings.training.monitor == "auroc" and len(single) == len(labels):
        what = f"no label has two classes among the {len(target)} validation cases"
        raise MedaiError(f"{what}, so there is no AUROC to choose by; enlarge dataset.split.validation or set training.monitor=loss")


def target_matrix(cases: pl.DataFrame, labels: tuple[Label, ...]) -> Int64[np.ndarray, "n L"]:
    """Class indices, -1 where unknown."""
    columns = [cases[label.name].cast(pl.Int64).fill_null(UNKNOWN).to_numpy() for label in labels]
    return np.stack(columns, axis=1).astype(np.int64)


def _make_folder(settings: TrainSettings, cohort: Cohort) -> Path:
    name = settings.name or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{cohort.name}"
    folder = Path(settings.folder or Path(settings.runs) / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").touch(exist_ok=False)  # of two trainings with one name, one gets the folder
    except FileExistsError:
        raise MedaiError(f"{folder} holds a run already; choose another name=…, or remove it") from None
    except OSError as error:
        raise MedaiError(
            f"the run's folder {folder} cannot be made ({error.strerror}); set runs=… to a folder that can be written"
        ) from None
    return folder


@contextmanager
def _recorded(settings: TrainSettings, folder: Path, record: dict[str, Any], facts: dict[str, Any]) -> Iterator[Tracker]:
    """Keep `run.json` and the tracking in step with the training: running, then finished, failed or interrupted."""
    tags = tracking_tags(record, folder)
    tracker = start_run(settings.tracking, Path(settings.runs), folder.name, asdict(settings), tags, settings.sweep)
    facts["mlflow_run_id"] = tracker.run_id
    write_json(folder / "run.json", {"status": "running"} | facts)
    try:
        yield tracker
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        write_json(folder / "run.json", {"status": "interrupted" if interrupted else "failed", "reason": str(error)} | facts)
        tracker.end("KILLED" if interrupted else "FAILED")
        raise
    write_json(folder / "run.json", {"status": "finished"} | facts)
    tracker.end("FINISHED")


def _make_deterministic(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
