"""One MLflow run: one training. Nothing leaves the machine unless the tracking URI names another."""

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from medai.core.error import MedaiError
from medai.core.lock import locked
from medai.core.progress import say
from medai.tracking.outbox import Outbox, first_line
from medai.tracking.settings import TrackingSettings

LONGEST_VALUE = 6000  # characters of a parameter that MLflow keeps
SWEEP_TAG = "medai.sweep"


class Tracker(Protocol):
    """What a training reports to. A fault of the tracking is told once and neither ends nor delays the training."""

    run_id: str | None

    def metrics(self, values: Mapping[str, float], step: int, time_ms: int | None = None) -> None:
        """Record figures. The same figures with the same time again change nothing."""

    def artifact(self, path: Path) -> None:
        """Store a file, or a directory under its own name."""

    def end(self, status: str) -> None:
        """``FINISHED``, ``FAILED`` or ``KILLED``."""


class Untracked:
    """Records nothing."""

    run_id: str | None = None

    def metrics(self, values: Mapping[str, float], step: int, time_ms: int | None = None) -> None:
        return None

    def artifact(self, path: Path) -> None:
        return None

    def end(self, status: str) -> None:
        return None


class MlflowRun:
    """An open run in MLflow.

    Args:
        client: An ``MlflowClient``.
        run_id: Of a run that exists.
        patience_seconds: How long `end` waits for a server that does not answer.
    """

    def __init__(self, client: Any, run_id: str, patience_seconds: float = 60.0) -> None:
        self._client, self._patience = client, patience_seconds
        self.run_id: str | None = run_id
        self._outbox = Outbox(run_id, lambda batch: client.log_batch(run_id, metrics=batch))

    def metrics(self, values: Mapping[str, float], step: int, time_ms: int | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000) if time_ms is None else time_ms
        self._outbox.metrics([Metric(plain_name(key), float(value), now, step) for key, value in values.items()])

    def artifact(self, path: Path) -> None:
        if path.is_dir():
            self._outbox.call(lambda: self._client.log_artifacts(self.run_id, str(path), path.name))
        else:
            self._outbox.call(lambda: self._client.log_artifact(self.run_id, str(path)))

    def end(self, status: str) -> None:
        self._outbox.call(lambda: self._client.set_terminated(self.run_id, status))
        left = self._outbox.flush(self._patience)
        if left:
            say(f"MLflow did not take {left} records of run {self.run_id}; a training gives them again when it is resumed")

    def reopen(self) -> None:
        """Mark a run that had ended as running."""
        self._outbox.call(lambda: self._client.update_run(self.run_id, status="RUNNING"))


def plain_name(name: str) -> str:
    """A name in the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def tracking_uri(settings: TrackingSettings, runs: Path) -> str:
    """The tracking URI: the one that is set, or an SQLite file in the folder of the runs."""
    return settings.uri or f"sqlite:///{(runs / 'mlflow.db').resolve()}"


def start_run(
    settings: TrackingSettings, runs: Path, name: str, parameters: Mapping[str, Any], tags: Mapping[str, str], sweep: str | None = None
) -> Tracker:
    """Open a run.

    Args:
        settings: Where.
        runs: Folder of the runs, where the default store lies.
        name: Of the run.
        parameters: The resolved configuration, nested.
        tags: Facts about code, data and machine.
        sweep: Name of the sweep that the run is part of: its runs are children of one parent.

    Raises:
        MedaiError: the tracking server does not answer.
    """
    if not settings.enabled:
        return Untracked()
    try:
        with locked(runs / ".mlflow.lock"):  # trainings that start at once would all make the tables, the experiment and the parent
            client = _client(tracking_uri(settings, runs))
            experiment = _experiment(client, settings, runs)
            parent = {"mlflow.parentRunId": _parent(client, experiment, sweep)} if sweep else {}
        run = client.create_run(experiment, run_name=name, tags=dict(tags) | parent)
        _log_parameters(client, run.info.run_id, parameters)
    except Exception as error:
        uri = tracking_uri(settings, runs)
        raise MedaiError(f"tracking.uri={uri} cannot be used ({first_line(error)}); set another or tracking=none") from error
    return MlflowRun(client, run.info.run_id, settings.patience_seconds)


def continue_run(settings: TrackingSettings, runs: Path, run_id: str) -> Tracker:
    """Go on in a run that was opened before. The server need not answer now.

    Raises:
        MedaiError: there can be no such store.
    """
    if not settings.enabled:
        return Untracked()
    uri = tracking_uri(settings, runs)
    try:
        run = MlflowRun(_client(uri), run_id, settings.patience_seconds)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise MedaiError(f"tracking.uri={uri} cannot be used ({first_line(error)}); set another or tracking=none") from error
    run.reopen()
    return run


def find_run(settings: TrackingSettings, runs: Path, tag: str, value: str) -> str | None:
    """The id of the run with a tag, where the tracking is on and there is one."""
    if not settings.enabled:
        return None
    client = _client(tracking_uri(settings, runs))
    experiment = client.get_experiment_by_name(settings.experiment)
    found = client.search_runs([experiment.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1) if experiment else []
    return str(found[0].info.run_id) if found else None


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):  # mlflow sets its own levels when it is imported
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any, settings: TrackingSettings, runs: Path) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(settings.experiment)
    if found is not None:
        return str(found.experiment_id)
    location = (runs / "mlartifacts").resolve().as_uri() if settings.uri is None else None
    try:
        return str(client.create_experiment(settings.experiment, artifact_location=location))
    except MlflowException:  # another run of the sweep was quicker
        return str(client.get_experiment_by_name(settings.experiment).experiment_id)


def _parent(client: Any, experiment: str, sweep: str) -> str:
    escaped = sweep.replace("'", "")
    found = client.search_runs([experiment], filter_string=f"tags.`{SWEEP_TAG}` = '{escaped}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, run_name=Path(sweep).name, tags={SWEEP_TAG: escaped})
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


def _log_parameters(client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = flatten(parameters)
    items = [Param(plain_name(key), str(value)[:LONGEST_VALUE]) for key, value in flat.items()]
    for start in range(0, len(items), 100):  # MLflow takes 100 parameters at a time
        client.log_batch(run_id, params=items[start : start + 100])


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested configuration as dotted keys; items of a list by their number.

    Example:
        >>> flatten({"training": {"epochs": 3}, "allow": []})
        {'training.epochs': 3, 'allow': '[]'}
    """
    if isinstance(value, Mapping) and value:
        return {key: leaf for name, child in value.items() for key, leaf in flatten(child, f"{prefix}{name}.").items()}
    if isinstance(value, list | tuple) and value:
        return {key: leaf for number, child in enumerate(value) for key, leaf in flatten(child, f"{prefix}{number}.").items()}
    return {prefix.rstrip("."): str(value) if isinstance(value, Mapping | list | tuple) else value}
