"""Run many tasks in processes, a bounded number at a time, or in this one; a task that ends its process is told apart from the rest."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from medai.core.error import MedaiError

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # tasks in flight a worker
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**27)}  # bytes; glibc takes no larger threshold
"""A process keeps the memory of an image for the next one: given back after each, the system clears it page by page, which takes
as long as reading an uncompressed file."""
DIED = "a worker process died (memory full, or a crash in a decoder)"

_work: Callable[[Any, Any], Any]
_context: Any


def run_tasks(
    work: Callable[[C, T], R], context: C, tasks: Sequence[T], workers: int, mend: Callable[[T], T | None] | None = None
) -> Iterator[R]:
    """Give ``work(context, task)`` of every task, in the order in which they are done.

    When a process dies, the tasks in flight are run again, each alone in a process of its own. The one that kills that too is
    given to `mend`.

    Args:
        work: A function of a module.
        context: Sent once to each process.
        tasks: Sent one by one, so that memory stays flat.
        workers: Processes; 0 or 1 work here.
        mend: Gives another task in the place of one that ends its process, or None where there is none.

    Raises:
        MedaiError: a process died, and it could not be mended.
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield work(context, task)
        return
    waiting = iter(tasks)
    while True:
        with _pool(min(workers, len(tasks)), work, context) as pool:
            broken = yield from _in_flight(pool, waiting, AHEAD * workers)
        if not broken:
            return
        for task in broken:
            yield _alone(work, context, task, mend)


def _alone(work: Callable[[C, T], R], context: C, task: T, mend: Callable[[T], T | None] | None) -> R:
    while True:
        with _pool(1, work, context) as pool:
            try:
                done: R = pool.submit(_run, task).result()
                return done
            except BrokenProcessPool:
                task = mended(task, mend)


def mended(task: T, mend: Callable[[T], T | None] | None) -> T:
    """The task to run instead of one that ends its process.

    Raises:
        MedaiError: there is none.
    """
    other = mend(task) if mend else None
    if other is None:
        raise MedaiError(f"{DIED}; run the same command again with fewer workers, it goes on where it stopped")
    return other


def _pool(workers: int, work: Callable[[C, T], R], context: C) -> "_Pool":
    # Spawned, not forked: Polars, Blosc2 and torch run threads, and a fork copies their locks in whatever state they are.
    return _Pool(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_enter, initargs=(work, context))


class _Pool(ProcessPoolExecutor):
    """Its processes have one thread each for linear algebra: several processes with several threads each get in each other's way."""

    def __enter__(self) -> "_Pool":
        wanted = dict.fromkeys(THREADS, "1") | MEMORY
        self._before = {name: os.environ.get(name) for name in wanted}
        os.environ.update({name: os.environ.get(name, value) for name, value in wanted.items()})  # read when a process starts
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown(cancel_futures=True)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)


def _in_flight(pool: "_Pool", tasks: Iterator[T], most: int) -> Generator[Any, None, list[T]]:
    """Keep at most `most` tasks in flight and give their results; as the generator's value, the tasks that a dead process took along."""
    running: dict[Future[Any], T] = {}
    broken: list[T] = []
    while True:
        for task in () if broken else tasks:
            try:
                running[pool.submit(_run, task)] = task
            except BrokenProcessPool:
                broken.append(task)
                break
            if len(running) >= most:
                break
        if not running:
            return broken
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            task = running.pop(future)
            try:
                yield future.result()
            except BrokenProcessPool:
                broken.append(task)


def _enter(work: Callable[[Any, Any], Any], context: Any) -> None:
    global _work, _context
    _work, _context = work, context
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes outlive a parent that is killed, waiting for work for ever; so they watch it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Any) -> Any:
    return _work(_context, task)
