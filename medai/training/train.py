"""From a configuration to a run: ingest, view, fit, freeze, record. The test split is never opened here."""

import copy
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Int64

from medai.augmentation.mix import Mix
from medai.cohort.cohort import Cohort
from medai.cohort.fold import cross_validation
from medai.core.error import MedaiError
from medai.core.file import hash_file, read_json, settle_directory, write_json
from medai.core.label import Label
from medai.core.lock import locked
from medai.core.progress import quiet, say
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.model.checkpointing import enable_checkpointing
from medai.model.layout import takes_channels_last
from medai.model.pretrained import LoadedWeights, load_pretrained
from medai.preprocessing.plan import PreprocessingPlan, ResizePlan
from medai.source.build import build_source
from medai.store.view import View
from medai.task.loss import build_case_loss
from medai.task.sampling import sampling_weights
from medai.task.target import UNKNOWN
from medai.task.task import Loss, balanced_weights
from medai.tracking.run import Tracker, continue_run, find_run, start_run
from medai.training.checkpoint import Checkpoint
from medai.training.data import EpochBatches, Images, OrderedBatches, loader
from medai.training.distributed import ALONE, Group, connected
from medai.training.fit import Fit
from medai.training.interruption import Interrupted, Interruption
from medai.training.precision import check_accelerator
from medai.training.prepare import Prepare, choose_augmentation
from medai.training.receipt import compare_with, receipt
from medai.training.record import checkpoint_record, tracking_tags
from medai.training.recorder import Pruned, Recorder, Watch
from medai.training.report import validation_report
from medai.training.resume import Start, find_start, resume_command
from medai.training.settings import TrainSettings
from medai.training.state import load_state
from medai.training.test_time import variants_of
from medai.training.validation import freeze

__all__ = ["Pruned", "train"]

SENT = ("config.json", "receipt.json", "plan.yaml", "pretrained.json", "checkpoint", "validation")  # to the tracking
RUN_TAG = "medai.run"  # in MLflow, so that a run is found again


@dataclass(frozen=True)
class Material:
    """What a training is made of.

    Attributes:
        cohort: Where the cases are from.
        train: Training images.
        validation: Validation images.
        cases: Of the validation split.
        prepare: Makes training batches ready on the device.
        loss: Of a batch.
        batches: The order of the training images.
        checkpoint: The untrained model.
        pretrained: What it took over from other weights.
    """

    cohort: Cohort
    train: Images
    validation: Images
    cases: pl.DataFrame
    prepare: Prepare
    loss: Loss
    batches: EpochBatches
    checkpoint: Checkpoint
    pretrained: LoadedWeights | None


def train(settings: TrainSettings, watch: Watch | None = None) -> Path:
    """Train one model. Started by torchrun, every rank calls it.

    Args:
        settings: See `TrainSettings`.
        watch: Called after each validation with the step and its figures; may raise `Pruned` to end the run.

    Returns:
        The run's directory: `config.json`, `receipt.json`, `run.json`, `metrics.jsonl`, `state/`, `checkpoint/` and `validation/`.

    Raises:
        MedaiError: the data, the configuration or the surroundings do not allow it.
        Interrupted: a signal asked the training to end; its state is saved.
    """
    started = time.time()
    check_accelerator(settings.training.accelerator)
    with connected(settings.training.accelerator, settings.training.timeout_seconds) as group:
        quiet(not group.first)
        start = group.broadcast(find_start(settings) if group.first else None)
        assert start is not None
        if start.finished:
            if group.first:
                _finish_again(start)
            return start.folder
        with locked(start.folder / ".lock", refuse=f"{start.folder} is being trained by another process") if group.first else _nothing():
            _train(start, group, started, watch)
    return start.folder


def _train(start: Start, group: Group, started: float, watch: Watch | None) -> None:
    settings, folder = start.settings, start.folder
    make_deterministic(settings)
    state = load_state(folder / "state") if start.resumed else None
    material = gather(settings, group, pretrained=state is None)
    checkpoint, cohort = material.checkpoint, material.cohort
    facts: dict[str, Any] = {"cohort": str(cohort.path), "cohort_hash": cohort.hash, "started": started}
    interruption = Interruption()
    with _recorded(start, group, material, facts) as tracker:
        recorder = Recorder(folder, checkpoint, tracker, settings.training.keep_states, watch)
        if start.resumed:
            say(f"Resumed at step {state['step']:,}, epoch {state['epoch'] + 1}" if state else "Resumed: nothing was trained yet")
            recorder.send_again()
        fit = Fit(checkpoint.labels, settings.training, settings.seed, loader_workers(settings, material.train), group, interruption)
        with interruption.watched():
            ended = fit.run(
                checkpoint.classifier, material.train, material.validation, material.prepare, material.loss, recorder,
                material.batches, state,
            )  # fmt: skip
        if not ended:
            raise Interrupted(interruption.number or signal.SIGTERM, resume_command(folder))  # another rank may have got it
        if recorder.pruned is not None:
            raise Pruned(recorder.pruned)
        if group.first:
            _finish(settings, material, recorder, fit.step, facts, group.device)


def gather(settings: TrainSettings, group: Group = ALONE, cohort: Cohort | None = None, pretrained: bool = True) -> Material:
    """Everything that a training is made of, from its settings: cohort, view, splits, loss and network.

    Args:
        settings: Of the training.
        group: The ranks that share each batch.
        cohort: Where the cases are from; None fills it from the settings' data set.
        pretrained: Load the weights that the settings name to start from; a training that goes on does without.

    Raises:
        MedaiError: something is missing or does not fit.
    """
    cohort = cohort or ingest(build_source(settings.dataset), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    if not cohort.labels:
        raise MedaiError(f"cohort {cohort.path} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    plan = _plan(settings, cohort)
    view = ensure_view(cohort, plan.resize, settings.workers)
    training = settings.training
    cases = {name: _cases(settings, cohort, name) for name in ("train", "validation")}
    splits = {name: _images(settings, cohort, view, plan, cases[name], name) for name in cases}
    images = splits["train"]
    known = images.targets(np.arange(len(images)))
    weights = balanced_weights(cohort.labels, known) if training.class_weights == "balanced" else None
    loss = Loss(cohort.labels, build_case_loss(settings.loss, cohort.labels, known), training.label_smoothing, weights)
    chosen = settings.augmentation
    single, batched = choose_augmentation(chosen, view.shape[1:])
    mix = Mix(chosen.mix, chosen.mix_alpha, chosen.mix_probability) if chosen.mix != "none" else None
    images.augmentation, images.mix, images.loss = single, mix, loss
    drawn = _drawn(settings, cohort, cases["train"], images.target)
    batches = EpochBatches(
        len(images), training.batch_size, settings.seed, group, training.micro_batch, drawn, mix is not None, training.limit_batches
    )
    torch.manual_seed(settings.seed)
    checkpoint = Checkpoint.fresh(cohort.labels, plan, settings.model, variants_of(training))
    loaded = load_pretrained(checkpoint.classifier.network, settings.pretrained) if settings.pretrained.path and pretrained else None
    channels_last = training.channels_last and takes_channels_last(checkpoint.classifier)
    prepare = Prepare(view.encoding, plan.intensity, batched, mix, channels_last)
    if training.gradient_checkpointing:
        enable_checkpointing(checkpoint.classifier)
    loss = copy.deepcopy(loss).to(group.device)
    return Material(cohort, images, splits["validation"], cases["validation"], prepare, loss, batches, checkpoint, loaded)


def loader_workers(settings: TrainSettings, images: Images) -> int:
    """How many processes prepare batches: those of the settings where images are augmented one by one, or where the view is so large
    that it is read from the disk again and again; else none, since handing over a batch costs more than gathering it.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    large = int(np.prod(images.view.shape)) * images.view.dtype.itemsize > memory / 2
    return settings.workers if images.augmentation is not None or large else 0


def _finish(
    settings: TrainSettings, material: Material, recorder: Recorder, step: int, facts: dict[str, Any], device: torch.device
) -> None:
    """Freeze what validation decides, write the report, and send everything to the tracking."""
    folder = recorder.folder
    best = Checkpoint.load(folder, finished=False)
    figures = _freeze(settings, material, folder, best, device)
    facts |= {"seconds": time.time() - facts["started"], "checkpoint_hash": best.hash, "validation": figures}
    facts["weights_sha256"] = hash_file(folder / "checkpoint" / "model.safetensors")
    if settings.repeat:
        facts["repeats"] = compare_with(Path(settings.repeat), folder)
        say(facts["repeats"]["verdict"])
    recorder.record({"step": step} | {f"best_{key}": value for key, value in figures.items()})
    for name in SENT:
        if (folder / name).exists():
            recorder.tracker.artifact(folder / name)


def _freeze(settings: TrainSettings, material: Material, folder: Path, best: Checkpoint, device: torch.device) -> dict[str, float]:
    """Fit the calibration and choose the thresholds on validation, save them with the weights, and write the report."""
    validation, training = material.validation, settings.training
    batches = loader(validation, OrderedBatches(len(validation), 4 * training.batch_size), 0, False)
    prepare = Prepare(validation.view.encoding, validation.plan, channels_last=training.channels_last)
    best.classifier.eval().to(device)
    with torch.inference_mode():
        raw = torch.cat([best.classifier.averaged(prepare(batch.to(device))) for batch in batches]).float().cpu().numpy()
    best.classifier.cpu()
    frozen = freeze(best.labels, raw, validation.target, training.calibration, training.threshold)
    best.temperatures, best.thresholds = frozen.temperatures, frozen.thresholds
    part = "validation split" if settings.fold is None else f"held-out fold {settings.fold} of {settings.folds}"
    chosen_on = {"part": part, "split": "validation", "cases": len(validation), "assumed": list(frozen.assumed)}
    best.record["thresholds"] = {"rule": training.threshold} | chosen_on
    best.record["calibration"] = {"method": training.calibration} | chosen_on
    with torch.inference_mode():
        probability, logit, _ = best.predictor().decide(torch.from_numpy(raw))
    figures, best.record["validation"] = validation_report(
        material.cohort, best, probability.numpy(), logit.numpy(), folder / "validation", material.cases
    )
    best.save(folder / "checkpoint")
    best.hash = Checkpoint.load(folder).hash
    return figures


def _finish_again(start: Start) -> None:
    """A finished run is only sent to the tracking once more, in case its server was away."""
    say(f"{start.folder} is finished already")
    record = read_json(start.folder / "run.json")
    if record.get("mlflow_run_id"):
        tracker = continue_run(start.settings.tracking, Path(start.settings.runs), record["mlflow_run_id"])
        recorder = Recorder(start.folder, None, tracker, 1)  # type: ignore[arg-type]
        recorder.send_again()
        for name in SENT:
            if (start.folder / name).exists():
                tracker.artifact(start.folder / name)
        tracker.end("FINISHED")


def _plan(settings: TrainSettings, cohort: Cohort) -> PreprocessingPlan:
    chosen = settings.preprocessing
    channels = chosen.channels or int(cohort.meta["channels"])
    return PreprocessingPlan(ResizePlan(chosen.height, chosen.width, channels), chosen.intensity)


def _cases(settings: TrainSettings, cohort: Cohort, split: str) -> pl.DataFrame:
    """The cases of a split: the cohort's own, or those of a fold."""
    if settings.fold is None:
        cases = cohort.select(split, uncertain=True)
    else:
        cases = cross_validation(cohort, settings.fold, settings.folds, settings.seed).filter(pl.col("split") == split)
    if cases.is_empty():
        advice = "give the data set a split (dataset.split.validation=0.15), or cross-validate (fold=0 folds=5)"
        raise MedaiError(f"cohort {cohort.path} has no {split} cases; {advice}")
    return cases


def _images(settings: TrainSettings, cohort: Cohort, view: View, plan: PreprocessingPlan, cases: pl.DataFrame, split: str) -> Images:
    target = target_matrix(cases, cohort.labels)
    _check_classes(settings, cohort.labels, target, split)
    return Images(
        view, cases["ordinal"].to_numpy().astype(np.int64), target, plan.intensity, settings.seed, cases["case_id"],  # type: ignore[arg-type]
        _uncertain(cases, cohort.labels), (settings.training.uncertain, settings.training.uncertain_share),
    )  # fmt: skip


def _uncertain(cases: pl.DataFrame, labels: tuple[Label, ...]) -> Bool[np.ndarray, "n L"] | None:
    names = [f"{label.name}.uncertain" for label in labels]
    if not all(name in cases.columns for name in names):
        return None
    flags = np.stack([cases[name].fill_null(False).to_numpy() for name in names], axis=1)
    return flags if flags.any() else None


def _drawn(settings: TrainSettings, cohort: Cohort, cases: pl.DataFrame, target: Int64[np.ndarray, "n L"]) -> np.ndarray | None:
    """How likely each case is drawn; None where each is visited once an epoch."""
    if settings.training.sampling == "none":
        return None
    weight = cases["weight"].to_numpy() if "weight" in cases.columns and cases["weight"].is_not_null().all() else None
    return sampling_weights(cohort.labels, target, settings.training.sampling, weight)


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


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _recorded(start: Start, group: Group, material: Material, facts: dict[str, Any]) -> Iterator[Tracker]:
    """Keep `run.json` and the tracking in step with the training: running, then finished, failed, preempted, pruned or interrupted."""
    settings, folder = start.settings, start.folder
    if not group.first:
        from medai.tracking.run import Untracked

        material.checkpoint.record |= checkpoint_record(settings, material.cohort, material.checkpoint)
        yield Untracked()
        return
    tracker = _open(start, group, material, facts)
    write_json(folder / "run.json", {"status": "running"} | facts)
    try:
        yield tracker
    except BaseException as error:
        status, mlflow_status = _status_of(error)
        write_json(folder / "run.json", {"status": status, "reason": str(error)} | facts)
        tracker.end(mlflow_status)
        raise
    write_json(folder / "run.json", {"status": "finished"} | facts)
    tracker.end("FINISHED")


def _status_of(error: BaseException) -> tuple[str, str]:
    if isinstance(error, Interrupted):
        return "preempted", "KILLED"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "KILLED"
    return ("pruned", "KILLED") if isinstance(error, Pruned) else ("failed", "FAILED")


def _open(start: Start, group: Group, material: Material, facts: dict[str, Any]) -> Tracker:
    """Write what the run is before it starts, or read it where it goes on; and open its run in MLflow."""
    settings, folder, checkpoint = start.settings, start.folder, material.checkpoint
    settle_directory(folder / "checkpoint")
    earlier = read_json(folder / "run.json") if start.resumed and (folder / "run.json").is_file() else {}
    if earlier.get("cohort_hash", material.cohort.hash) != material.cohort.hash:
        raise MedaiError(f"the cohort changed since {folder} was begun ({material.cohort.path}); restore it, or train anew")
    facts |= {"identity": earlier.get("identity") or uuid.uuid4().hex}
    if (folder / "receipt.json").is_file():
        checkpoint.record = read_json(folder / "receipt.json")["checkpoint"]
        facts["resumed"] = [*earlier.get("resumed", []), {"time": facts["started"], "world_size": group.size}]
        facts["started"] = earlier.get("started", facts["started"])
    else:
        checkpoint.record |= checkpoint_record(settings, material.cohort, checkpoint)
        if material.pretrained:
            say(material.pretrained.table())
            whole = {"path": settings.pretrained.path} | material.pretrained.to_dict()
            write_json(folder / "pretrained.json", whole)
            checkpoint.record["pretrained"] = {key: whole[key] for key in ("path", "sha256", "prefix", "share")}
        if not (folder / "config.json").is_file() or not (folder / "config.json").stat().st_size:
            write_json(folder / "config.json", asdict(replace(settings, resume=None)))
        write_json(folder / "run.json", {"status": "starting"} | facts)
        write_json(folder / "receipt.json", receipt(settings, group, material.cohort) | {"checkpoint": checkpoint.record})
    tags = tracking_tags(checkpoint.record, folder) | {RUN_TAG: facts["identity"]}
    runs = Path(settings.runs)
    known = earlier.get("mlflow_run_id") or (find_run(settings.tracking, runs, RUN_TAG, facts["identity"]) if start.resumed else None)
    if known:
        tracker = continue_run(settings.tracking, runs, known)
    else:
        tracker = start_run(settings.tracking, runs, folder.name, asdict(settings), tags, settings.sweep)
    facts["mlflow_run_id"] = tracker.run_id
    return tracker


def make_deterministic(settings: TrainSettings) -> None:
    """Seed torch, and let it choose only algorithms that give the same result each time, if the settings say so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(settings.training.deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # finds faults, at twice the time
    torch.backends.cudnn.benchmark = not settings.training.deterministic
