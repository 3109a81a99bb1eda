"""Run many tasks in processes, a bounded number at a time, or in this one."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from medai.core.error import MedaiError

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # tasks in flight a worker

_work: Callable[[Any, Any], Any]
_context: Any


def run_tasks(work: Callable[[C, T], R], context: C, tasks: Sequence[T], workers: int) -> Iterator[R]:
    """Give ``work(context, task)`` of every task, in the order in which they are done.

    Args:
        work: A function of a module.
        context: Sent once to each process.
        tasks: Sent one by one, so that memory stays flat.
        workers: Processes; 0 or 1 work here.

    Raises:
        MedaiError: a process died.
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield work(context, task)
        return
    # Spawned, not forked: Polars, Blosc2 and torch run threads, and a fork copies their locks in whatever state they are.
    method = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=method, initializer=_enter, initargs=(work, context))
    try:
        yield from _in_flight(pool, tasks, AHEAD * workers)
    except BrokenProcessPool:
        what = "a worker process died (memory full, or a crash in a decoder)"
        raise MedaiError(f"{what}; run the same command again with fewer workers, it goes on where it stopped") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _in_flight(pool: ProcessPoolExecutor, tasks: Sequence[T], most: int) -> Iterator[Any]:
    running: set[Future[Any]] = set()
    waiting = iter(tasks)
    while True:
        for task in waiting:
            running.add(pool.submit(_run, task))
            if len(running) >= most:
                break
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


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
