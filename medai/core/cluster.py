"""Run many tasks on a Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from typing import TypeVar

from medai.core.error import MedaiError
from medai.core.tasks import AHEAD, mended

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")
SECONDS_TO_CONNECT = 30


def run_on_cluster(
    address: str, work: Callable[[C, T], R], context: C, tasks: Sequence[T], mend: Callable[[T], T | None] | None = None
) -> Iterator[R]:
    """Give ``work(context, task)`` of every task, in the order in which they are done; as `medai.core.tasks.run_tasks`.

    A task whose worker dies is run again on another one. `mend` is asked when that has happened more often than the scheduler
    allows (``distributed.scheduler.allowed-failures``, 3 times), which may be another task's fault: it can give the same task again.

    Args:
        address: Of the scheduler, e.g. ``"tcp://10.0.0.1:8786"``. Its workers have medai installed and see the same folders.
        work: As there.
        context: Sent with each task: what is scattered is lost with its worker.
        tasks: As there.
        mend: As there.

    Raises:
        MedaiError: no scheduler answers or it has no workers, or a task cannot be mended.
    """
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ModuleNotFoundError:
        raise MedaiError("executor=dask needs Dask: pip install 'medai[cluster]'") from None
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise MedaiError(f"executor.address {address}: no Dask scheduler answers ({str(error).splitlines()[0]})") from None
    with client:
        cores = sum(client.ncores().values())
        if not cores:
            raise MedaiError(f"executor.address {address}: the scheduler has no workers; start some: dask worker {address}")
        waiting = iter(tasks)
        running = {client.submit(work, context, task, pure=False): task for task in islice(waiting, AHEAD * cores)}
        finished = as_completed(running, loop=client.loop)
        for future in finished:
            task = running.pop(future)
            try:
                yield future.result()
                following = next(waiting, None)
            except KilledWorker:
                following = mended(task, mend)
            except CancelledError:  # its result was lost with the worker that held it
                following = task
            if following is not None:
                another = client.submit(work, context, following, pure=False)
                running[another] = following
                finished.add(another)
