"""What every test has: MLflow's telemetry off, a site key of its own; and on demand real data, or no network."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _test_data() -> Path:
    return Path(os.environ.get("MEDAI_TEST_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: MEDAI_TEST_DATA, or shared/data beside the checkout."""
    folder = _test_data()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name their folder in MEDAI_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_oracles() -> Path:
    """The folder of precomputed truths beside the real data."""
    folder = _test_data().parent / "oracles"
    if not folder.is_dir():
        pytest.skip(f"no oracles at {folder}; they lie beside the folder that MEDAI_TEST_DATA names")
    return folder


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MEDAI_SITE_KEY", str(tmp_path_factory.getbasetemp() / "site.key"))


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What a test sets up for logging (Hydra writes to the captured stderr of its moment) ends with it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = [one for one in root.handlers if one in handlers or type(one).__module__.startswith("_pytest")]
    root.setLevel(level)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Connections and look-ups beyond this machine fail, and the test fails with them, even where the error is swallowed."""
    attempts: list[str] = []
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(host: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in ("None", "", "localhost", "::1", socket.gethostname()) and not name.startswith("127."):
            attempts.append(name)
            raise OSError(f"a test without network reached for {name}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> Any:
        check(host)
        return getaddrinfo(host, *arguments, **keywords)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield attempts
    assert not attempts, f"reached for {attempts}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler on the loopback, with two worker processes and their nannies."""
    pytest.importorskip("distributed")
    address = tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    local = ["--host", "127.0.0.1", "--scheduler-file", str(address)]
    commands = [
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *local, "--port", "0", "--no-dashboard"],
        [sys.executable, "-m", "distributed.cli.dask_worker", *local[2:], "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    ]
    processes = [
        subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True) for command in commands
    ]
    try:
        from distributed import Client

        with Client(scheduler_file=str(address), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
