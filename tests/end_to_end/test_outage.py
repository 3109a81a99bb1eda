"""An MLflow server that is gone for five minutes: the training is not held up, and nothing is lost."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.test_kills import ROOT, STEPS, settings, steps
from tests.training.runs import write_bright

OUTAGE_SECONDS = 300


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A tracking server, once it answers."""
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return server
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the tracking server did not start")


def stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_a_server_that_is_gone_for_five_minutes_gets_every_step_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(tmp_path, port)
    uri = f"http://127.0.0.1:{port}"
    npz = write_bright(tmp_path / "bright.npz")
    server_settings = ["tracking=server", f"tracking.uri={uri}", "tracking.patience_seconds=900"]
    arguments = [*settings(npz, tmp_path, "outage"), *server_settings]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medai.cli", "train", *arguments]
    training = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "runs" / "outage"
    while steps(run) < 10:
        assert training.poll() is None
        time.sleep(0.02)
    stop(server)
    gone = time.monotonic()
    while steps(run) < STEPS:  # it goes on without the server
        assert training.poll() is None
        assert time.monotonic() - gone < 200
        time.sleep(0.1)
    time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - gone)))
    server = serve(tmp_path, port)
    try:
        _, told = training.communicate(timeout=300)
        assert training.returncode == 0, told[-3000:]
        assert told.count("they wait, and the training goes on") == 1
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        (found,) = client.search_runs([client.get_experiment_by_name("medai").experiment_id])
        assert found.info.status == "FINISHED"
        assert [metric.step for metric in client.get_metric_history(found.info.run_id, "loss")] == list(range(1, STEPS + 1))
        assert {"checkpoint", "validation", "receipt.json"} <= {item.path for item in client.list_artifacts(found.info.run_id)}
    finally:
        stop(server)
