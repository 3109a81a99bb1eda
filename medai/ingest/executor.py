"""Where the work of an ingest is done."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from medai.core.cluster import run_on_cluster
from medai.core.error import MedaiError
from medai.core.tasks import run_tasks

KINDS = ("local", "dask")


@dataclass
class ExecutorSettings:
    """Where the work of an ingest is done.

    Attributes:
        kind: ``local``: processes of this machine; ``dask``: a Dask cluster, whose workers have medai installed and see the same folders.
        address: Of the cluster's scheduler, e.g. ``tcp://10.0.0.1:8786``.
    """

    kind: str = "local"
    address: str | None = None


class Run(Protocol):
    """What runs tasks, see `medai.core.tasks.run_tasks`."""

    def __call__(
        self, work: Callable[[Any, Any], Any], context: Any, tasks: Sequence[Any], workers: int, mend: Callable[[Any], Any] | None = None
    ) -> Iterator[Any]: ...


def runner(settings: ExecutorSettings) -> Run:
    """What runs an ingest's tasks.

    Raises:
        MedaiError: there is no such executor, or a cluster without its address.
    """
    if settings.kind not in KINDS:
        raise MedaiError(f"executor.kind is {settings.kind!r}; allowed: {', '.join(KINDS)}")
    if settings.kind == "local":
        return run_tasks
    address = settings.address
    if not address:
        raise MedaiError("executor.address is not set; give executor.address=tcp://HOST:8786, where dask scheduler runs")

    def run(
        work: Callable[[Any, Any], Any], context: Any, tasks: Sequence[Any], workers: int, mend: Callable[[Any], Any] | None = None
    ) -> Iterator[Any]:
        """A worker that died may have been another task's fault: then the task is run as it is."""
        return run_on_cluster(address, work, context, tasks, mend and (lambda task: mend(task) or task))

    return run
