"""The settings of a launcher."""

from dataclasses import dataclass, field
from typing import Any

from medai.core.error import MedaiError

CLUSTERS = ("here", "local", "slurm")


@dataclass
class LauncherSettings:
    """Where and on how many devices a command runs. No part of a run's configuration: the results are the same everywhere.

    Attributes:
        cluster: ``slurm`` submits a job, ``local`` starts one in the background of this machine (both through submitit),
            ``here`` runs in the foreground.
        devices: Processes on each machine, one a GPU; more than one are started by torchrun.
        nodes: Machines.
        jobs: So many jobs work on one sweep, each on a trial of its own.
        gpus: GPUs of each machine that Slurm is asked for; null asks for as many as `devices`.
        cpus: Processors of each machine; null leaves it to Slurm.
        memory_gb: Memory of each machine, in GB; null leaves it to Slurm.
        minutes: Time limit of a job. A job that reaches it saves its state and goes on in the next.
        partition: Of the cluster.
        account: That pays.
        qos: Quality of service.
        constraint: Features that the machines must have.
        options: Further options of sbatch, e.g. ``{exclude: node7, reservation: night}``.
        setup: Lines of shell before the command, e.g. ``["module load cuda"]``.
        grace_seconds: Time for saving the state, before the limit.
        requeues: A job that reached its time limit goes on at most so often.
        restarts: A training of several processes is started again from its last state so often when one of them dies.
    """

    cluster: str = "here"
    devices: int = 1
    nodes: int = 1
    jobs: int = 1
    gpus: int | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    minutes: int = 1440
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)
    grace_seconds: int = 120
    requeues: int = 1000
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.cluster not in CLUSTERS:
            raise MedaiError(f"launcher.cluster is {self.cluster!r}; allowed: {', '.join(CLUSTERS)}")
        for key, low in {"devices": 1, "nodes": 1, "jobs": 1, "minutes": 1, "grace_seconds": 1, "requeues": 0, "restarts": 0}.items():
            if getattr(self, key) < low:
                raise MedaiError(f"launcher.{key} is {getattr(self, key)}; it must be at least {low}")
        if self.nodes > 1 and self.cluster != "slurm":
            raise MedaiError(f"launcher.nodes is {self.nodes}; several machines need launcher=slurm")
        if self.cluster == "slurm" and self.grace_seconds >= self.minutes * 60:
            raise MedaiError(f"launcher.grace_seconds ({self.grace_seconds}) must be less than the {self.minutes} minutes of the job")


@dataclass
class LauncherCommand:
    """What the arguments that begin with ``launcher`` give.

    Attributes:
        launcher: Where and on how many devices a command runs.
    """

    launcher: LauncherSettings = field(default_factory=LauncherSettings)
