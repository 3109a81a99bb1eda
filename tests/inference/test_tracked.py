"""An evaluation in MLflow: in the run of the training, in a store that is named, and where a server is away."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlflow")

from mlflow import MlflowClient

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.inference import evaluate as module
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from medai.inference.tracked import figures_of
from medai.tracking.run import start_run
from medai.tracking.settings import TrackingSettings
from tests.inference.conftest import WriteContract, WriteModel
from tests.inference.hospital import QUICK, SCALE, cohort_in, command, metrics_in
from tests.inference.test_evaluate import Stand

AWAY = "http://127.0.0.1:9"  # a port on which nothing answers
NOWHERE = "sqlite:////dev/null/nowhere/mlflow.db"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a finished run, made once since its tables take seconds; and the run's id."""
    runs = tmp_path_factory.mktemp("store")
    tracker = start_run(TrackingSettings(), runs, "first", {"seed": 0}, {})
    tracker.end("FINISHED")
    return runs / "mlflow.db", str(tracker.run_id)


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def run(tmp_path: Path, hospital: Cohort, store: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A finished run's folder with a store of its own, as the training leaves it, and a stand-in for its network."""
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    shutil.copy(store[0], folder.parent / "mlflow.db")
    (folder / "run.json").write_text(json.dumps({"mlflow_run_id": store[1]}))
    (folder / "config.json").write_text(json.dumps({"tracking": {"enabled": True, "uri": None}}))
    stand = Stand(folder, (hospital.hash, hospital.name, str(hospital.path)))
    monkeypatch.setattr(module, "open_candidate", lambda *_, **__: stand)
    return stand


@pytest.fixture
def evaluated(run: Stand, tmp_path: Path) -> Callable[..., Path]:
    def evaluate(**settings: Any) -> Path:
        given: dict[str, Any] = {
            "candidate": str(run.path), "cohorts": str(tmp_path / "cohorts"), "runs": str(run.path.parent), "replicates": 40,
            "language": "both", "saliency": "none", "output": str(tmp_path / "out"),
        }  # fmt: skip
        return evaluate_candidate(EvaluateSettings(**given | settings))

    return evaluate


def test_figures_and_report_go_into_the_run_of_the_training(evaluated: Callable[..., Path], run: Stand) -> None:
    folder = evaluated()
    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    recorded = client.get_run(json.loads((run.path / "run.json").read_text())["mlflow_run_id"])
    auroc = metrics_in(folder)["labels"]["sick"]["auroc"]
    for key, value in (("", auroc["value"]), (".low", auroc["low"]), (".high", auroc["high"])):
        assert recorded.data.metrics[f"test/sick/auroc{key}"] == pytest.approx(value)
    assert {item.path for item in client.list_artifacts(recorded.info.run_id)} == {"metrics.json", "report.html", "report.zh.html"}
    assert recorded.info.status == "FINISHED" and len(client.search_runs([recorded.info.experiment_id])) == 1
    evaluated(split="validation")
    again = client.get_run(recorded.info.run_id).data.metrics
    assert "validation/sick/auroc" in again and again["test/sick/auroc"] == pytest.approx(auroc["value"])


def test_a_vendors_model_is_recorded_only_where_a_store_is_named(
    write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, tmp_path: Path, store: tuple[Path, str]
) -> None:
    given = [f"candidate={write_model()}", f"contract={write_contract(**SCALE)}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}"]
    given = ["evaluate", *given, f"runs={tmp_path / 'runs'}", *QUICK]
    assert command(given) == 0
    assert not (tmp_path / "runs/mlflow.db").exists()
    shutil.copy(store[0], tmp_path / "store.db")
    assert command([*given, f"tracking.uri=sqlite:///{tmp_path / 'store.db'}"]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'store.db'}")
    experiment = client.get_run(store[1]).info.experiment_id
    (recorded,) = [run for run in client.search_runs([experiment]) if run.info.run_id != store[1]]
    assert recorded.data.tags["medai.kind"] == "evaluation" and recorded.info.status == "FINISHED"
    assert recorded.data.tags["medai.candidate"] == metrics_in(tmp_path / "out")["candidate"]["hash"]
    assert recorded.data.params["split"] == "test" and recorded.data.params["kind"] == "onnx"
    value = metrics_in(tmp_path / "out")["labels"]["sick"]["brier"]["value"]
    assert recorded.data.metrics["test/sick/brier"] == pytest.approx(value)


def test_without_tracking_nothing_is_recorded(evaluated: Callable[..., Path], run: Stand) -> None:
    evaluated(tracking=TrackingSettings(enabled=False))
    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    recorded = client.get_run(json.loads((run.path / "run.json").read_text())["mlflow_run_id"])
    assert recorded.data.metrics == {}


@pytest.mark.parametrize("uri", [AWAY, NOWHERE, "nonsense://x"])
def test_a_store_that_is_away_is_told_and_nothing_of_the_results_is_lost(
    evaluated: Callable[..., Path], uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = evaluated(tracking=TrackingSettings(uri=uri, patience_seconds=0.2))
    told = capsys.readouterr().err
    assert "AUROC" in told and "MLflow" in told and "Traceback" not in told
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "predictions.parquet", "report.html", "report.zh.html"}


@pytest.mark.parametrize("uri", [AWAY, NOWHERE])
def test_a_store_that_is_away_ends_no_evaluation_of_a_vendors_model(
    write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, tmp_path: Path, uri: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    given = [f"candidate={write_model()}", f"contract={write_contract(**SCALE)}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}"]
    assert main(["evaluate", *given, f"tracking.uri={uri}", f"runs={tmp_path / 'runs'}", *QUICK]) == 0
    told = capsys.readouterr()
    assert "not recorded in MLflow: tracking.uri=" in told.err and str(tmp_path / "out/report.html") in told.out


def test_only_figures_that_have_a_value_are_recorded() -> None:
    figure = {"value": 0.9, "low": 0.8, "high": None, "n": 9, "method": "x"}
    metrics = {
        "labels": {"sick": {"kind": "binary", "n": 9, "auroc": figure, "ppv": figure | {"value": None}, "decision_curve": {"low": [0.1]}}},
        "macro": {"auroc": figure | {"low": None}},
    }
    assert dict(figures_of(metrics, "test")) == {"test/sick/auroc": 0.9, "test/sick/auroc.low": 0.8, "test/macro/auroc": 0.9}


def test_a_table_of_segmentation_measures_is_recorded_as_well(tmp_path: Path, store: tuple[Path, str]) -> None:
    rows = "\n".join(f"c{number},{0.8 + number / 100},{1 + number / 10}" for number in range(12))
    (tmp_path / "measures.csv").write_text(f"case_id,dice.liver,hd95.liver\n{rows}\n", encoding="utf-8")
    shutil.copy(store[0], tmp_path / "store.db")
    given = [f"predictions={tmp_path / 'measures.csv'}", f"output={tmp_path / 'out'}", f"runs={tmp_path / 'runs'}", *QUICK]
    assert command(["evaluate", *given, f"tracking.uri=sqlite:///{tmp_path / 'store.db'}"]) == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'store.db'}")
    experiment = client.get_run(store[1]).info.experiment_id
    (recorded,) = [run for run in client.search_runs([experiment]) if run.info.run_id != store[1]]
    dice = metrics_in(tmp_path / "out")["structures"]["liver"]["dice"]["mean"]
    assert recorded.data.metrics["test/liver/dice/mean"] == pytest.approx(dice["value"])
    assert recorded.data.metrics["test/liver/dice/mean.low"] == pytest.approx(dice["low"])
    assert "test/liver/hd95/median" in recorded.data.metrics and recorded.data.params["kind"] == "table"
    assert "report.html" in {item.path for item in client.list_artifacts(recorded.info.run_id)}
