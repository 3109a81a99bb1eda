"""Figures and report of an evaluation in MLflow."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.core.progress import say
from medai.inference.settings import EvaluateSettings
from medai.tracking.run import Tracker, continue_run, start_run
from medai.tracking.settings import TrackingSettings


class Evaluated(Protocol):
    """A candidate, or a table of scores: where it lies, what it is, and its hash."""

    @property
    def path(self) -> Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True)
class ScoredTable:
    """A table of scores as something that was evaluated."""

    path: Path
    hash: str
    kind: str = "table"


def track(settings: EvaluateSettings, candidate: Evaluated, metrics: Mapping[str, Any], folder: Path) -> None:
    """Record an evaluation: in the MLflow run of the training, or in a run of its own where a store is named.

    The results lie in the folder whatever becomes of it, so that a server that does not answer is told and ends nothing.

    Args:
        settings: With `tracking`.
        candidate: What was evaluated.
        metrics: Its figures.
        folder: Its results.
    """
    if not settings.tracking.enabled:
        return
    try:
        tracker = _tracker(settings, candidate, folder)
    except ModuleNotFoundError:  # medai[evaluate] has no MLflow
        return
    except MedaiError as error:
        say(f"not recorded in MLflow: {error}")
        return
    if tracker is None:
        return
    tracker.metrics(dict(figures_of(metrics, settings.split)), step=0, time_ms=int(time.time() * 1000))
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".html", ".pdf"):
            tracker.artifact(path)
    tracker.end("FINISHED")


def figures_of(metrics: Mapping[str, Any], split: str) -> Iterator[tuple[str, float]]:
    """The figures that have a value, e.g. ``("test/pneumonia/auroc", 0.98)``, and the ends of their intervals.

    Of a segmentation, whose measures have several figures each, e.g. ``("test/liver/dice/mean", 0.94)``.
    """
    for structure, record in metrics.get("structures", {}).items():
        for measure, figures in record.items():
            if isinstance(figures, Mapping):
                yield from _values(f"{split}/{structure}/{measure}", figures)
    for label, record in [*metrics.get("labels", {}).items(), ("macro", metrics.get("macro", {}))]:
        yield from _values(f"{split}/{label}", record)


def _values(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, figure in figures.items():
        if not isinstance(figure, Mapping) or not isinstance(figure.get("value"), float | int):
            continue
        yield f"{prefix}/{key}", float(figure["value"])
        for end in ("low", "high"):
            if figure.get(end) is not None:
                yield f"{prefix}/{key}.{end}", float(figure[end])


def _tracker(settings: EvaluateSettings, candidate: Evaluated, folder: Path) -> Tracker | None:
    run = candidate.path
    known = read_json(run / "run.json").get("mlflow_run_id") if (run / "run.json").is_file() else None
    if known:
        own = read_json(run / "config.json") if (run / "config.json").is_file() else {}
        trained = TrackingSettings(**own.get("tracking", {}))
        where = replace(trained, uri=settings.tracking.uri or trained.uri, patience_seconds=settings.tracking.patience_seconds)
        return continue_run(where, run.parent, known)
    if settings.tracking.uri is None:
        return None
    facts = {"candidate": str(candidate.path), "kind": candidate.kind, "split": settings.split, "seed": settings.seed}
    tags = {"medai.kind": "evaluation", "medai.candidate": candidate.hash}
    return start_run(settings.tracking, Path(settings.runs), f"evaluate {folder.name}", facts, tags)
