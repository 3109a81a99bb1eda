"""One MLflow run a training, whatever starts at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest

from medai.core.error import MedaiError
from medai.tracking.outbox import first_line
from medai.tracking.run import Untracked, flatten, plain_name, start_run, tracking_uri
from medai.tracking.settings import TrackingSettings

START = """
import sys
from pathlib import Path
from medai.tracking.run import start_run
from medai.tracking.settings import TrackingSettings
tracker = start_run(TrackingSettings(), Path(sys.argv[1]), sys.argv[2], {"seed": 1}, {}, sweep=sys.argv[3])
tracker.metrics({"loss": 1.0}, 1)
tracker.end("FINISHED")
"""


def test_trainings_that_start_at_once_share_a_new_store_and_a_parent(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", START, str(tmp_path), f"run{number}", str(tmp_path / "sweep")] for number in range(3)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in started:
        _, told = process.communicate()
        assert process.returncode == 0, told
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(TrackingSettings(), tmp_path))
    runs = client.search_runs([client.get_experiment_by_name("medai").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["run0", "run1", "run2", "sweep"]
    (parent,) = [run.info.run_id for run in runs if run.info.run_name == "sweep"]
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs} == {parent, None}


@pytest.mark.parametrize("uri", ["foo://nowhere", "http://127.0.0.1:9"])
def test_a_store_that_cannot_be_used_is_one_clear_line(tmp_path: Path, uri: str) -> None:
    with pytest.raises(MedaiError, match=rf"tracking\.uri={uri} cannot be used .* set another or tracking=none"):
        start_run(TrackingSettings(uri=uri), tmp_path, "run", {}, {})


def test_of_a_server_that_is_away_one_reads_what_the_system_said() -> None:
    chain = "API request failed with exception HTTPConnectionPool(host='h', port=9): Max retries exceeded (Caused by "
    error = OSError(f"{chain}NewConnectionError(\"HTTPConnection(host='h'): Failed: [Errno 111] Connection refused\"))")
    assert first_line(error) == "it does not answer: [Errno 111] Connection refused"
    assert first_line(OSError("Run with id=abc not found\nmore")) == "Run with id=abc not found"


def test_without_tracking_nothing_is_made(tmp_path: Path) -> None:
    tracker = start_run(TrackingSettings(enabled=False), tmp_path, "run", {}, {})
    tracker.metrics({"loss": 1.0}, 1)
    tracker.artifact(tmp_path)
    tracker.end("FINISHED")
    assert isinstance(tracker, Untracked)
    assert not list(tmp_path.iterdir())


def test_a_configuration_is_flattened_with_dots() -> None:
    nested = {"training": {"epochs": 3, "optimizer": {}}, "transforms": [{"prob": 0.5}, {"prob": 1}], "allow": []}
    assert flatten(nested) == {
        "training.epochs": 3,
        "training.optimizer": "{}",
        "transforms.0.prob": 0.5,
        "transforms.1.prob": 1,
        "allow": "[]",
    }


def test_names_have_the_characters_that_mlflow_takes() -> None:
    assert plain_name("best_Mass (>3cm).auroc") == "best_Mass __3cm_.auroc"
