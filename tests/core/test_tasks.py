"""Tasks run in processes, and a task that ends its process does not take the others along."""

import os
import signal
import time
from dataclasses import dataclass, replace

import pytest

from medai.core.cluster import run_on_cluster
from medai.core.error import MedaiError
from medai.core.tasks import MEMORY, THREADS, run_tasks


@dataclass(frozen=True)
class Task:
    number: int
    deadly: bool = False
    seconds: float = 0.0


def work(factor: int, task: Task) -> int:
    time.sleep(task.seconds)
    if task.deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return factor * task.number


def disarm(task: Task) -> Task | None:
    return replace(task, deadly=False, number=-1) if task.deadly else None


@pytest.mark.parametrize("workers", [0, 2])
def test_every_task_is_done_once(workers: int) -> None:
    assert sorted(run_tasks(work, 3, [Task(number) for number in range(40)], workers)) == [3 * number for number in range(40)]


@pytest.mark.parametrize("deadly", [{0}, {7, 8}, {19}])
def test_a_task_that_ends_its_process_is_mended_and_the_rest_is_done(deadly: set[int]) -> None:
    tasks = [Task(number, number in deadly) for number in range(20)]
    found = sorted(run_tasks(work, 1, tasks, 2, disarm))
    assert found == sorted([-1] * len(deadly) + [number for number in range(20) if number not in deadly])


def test_without_mending_a_dead_process_is_told() -> None:
    with pytest.raises(MedaiError, match="a worker process died"):
        list(run_tasks(work, 1, [Task(0), Task(1, deadly=True)], 2))


def test_an_error_of_a_task_is_the_callers() -> None:
    with pytest.raises(TypeError):
        list(run_tasks(work, None, [Task(0), Task(1)], 2))  # type: ignore[arg-type]


def environment(names: list[str], task: int) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in names}


def test_processes_keep_memory_and_have_one_thread_unless_the_surroundings_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*MEMORY, *THREADS]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    expected = MEMORY | dict.fromkeys(THREADS, "1") | {"MKL_NUM_THREADS": "3"}
    assert list(run_tasks(environment, names, [0, 1], 2)) == [expected, expected]
    assert environment(names, 0) == dict.fromkeys(names) | {"MKL_NUM_THREADS": "3"}


def test_a_cluster_does_every_task_and_survives_a_worker_that_is_killed(cluster: str) -> None:
    from distributed import Client

    tasks = [Task(number, seconds=0.05) for number in range(40)]
    results = run_on_cluster(cluster, work, 2, tasks)
    found = [next(results)]
    with Client(cluster, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
    assert sorted(found + list(results)) == [2 * number for number in range(40)]


def test_a_cluster_gives_up_a_task_that_kills_every_worker(cluster: str) -> None:
    tasks = [Task(number, deadly=number == 3) for number in range(6)]
    assert sorted(run_on_cluster(cluster, work, 1, tasks, lambda task: disarm(task) or task)) == [-1, 0, 1, 2, 4, 5]


def test_no_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medai.core.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(MedaiError, match=r"executor.address tcp://127.0.0.1:9: no Dask scheduler answers"):
        list(run_on_cluster("tcp://127.0.0.1:9", work, 1, [Task(0)]))
