"""From a configuration to a run: ingest, view, fit, freeze, record. The test split is never opened here."""

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from medai.core.error import MedaiError
from medai.core.file import hash_file, read_json, settle_directory, write_json
from medai.core.lock import locked
from medai.core.progress import quiet, say
from medai.tracking.run import Tracker, Untracked, continue_run, find_run, start_run
from medai.training.checkpoint import Checkpoint
from medai.training.data import OrderedBatches, loader
from medai.training.distributed import Group, connected
from medai.training.fit import Fit
from medai.training.interruption import Interrupted, Interruption
from medai.training.material import Material, gather, loader_workers, make_deterministic
from medai.training.precision import check_accelerator
from medai.training.prepare import Prepare
from medai.training.receipt import compare_with, receipt
from medai.training.record import checkpoint_record, tracking_tags
from medai.training.recorder import Pruned, Recorder, Watch
from medai.training.report import name_checkpoint, validation_report
from medai.training.resume import Start, find_start, resume_command
from medai.training.settings import TrainSettings
from medai.training.state import load_state
from medai.training.validation import freeze

__all__ = ["Pruned", "train"]

SENT = ("config.json", "receipt.json", "plan.yaml", "pretrained.json", "checkpoint", "validation")  # to the tracking
RUN_TAG = "medai.run"  # in MLflow, so that a run is found again


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
        busy = f"{start.folder} is being trained by another process"
        with locked(start.folder / ".lock", refuse=busy) if group.first else nullcontext():
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
    best.temperatures, best.thresholds, best.calibrators = frozen.temperatures, frozen.thresholds, frozen.calibrators
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
    name_checkpoint(folder / "validation", best.hash)
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


@contextmanager
def _recorded(start: Start, group: Group, material: Material, facts: dict[str, Any]) -> Iterator[Tracker]:
    """Keep `run.json` and the tracking in step with the training: running, then finished, failed, preempted, pruned or interrupted."""
    settings, folder = start.settings, start.folder
    if not group.first:
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
