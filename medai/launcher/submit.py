"""Hand a command to where it shall run."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medai.core.error import MedaiError
from medai.core.progress import say
from medai.launcher.job import Job, run_here
from medai.launcher.settings import LauncherSettings


class Ended(MedaiError):
    """A command that ran here did not succeed.

    Attributes:
        exit_code: The command's.
    """

    def __init__(self, code: int) -> None:
        super().__init__("the command ended before its end; the reason stands above")
        self.exit_code = code if code > 0 else 128 - code


def launch(settings: LauncherSettings, arguments: Sequence[str], folder: Path) -> str | None:
    """Run a command here, or submit it and return at once.

    Args:
        settings: Where.
        arguments: The command, e.g. ``["train", "seed=1", "folder=runs/a", "resume=auto"]``.
        folder: For the job's script and log.

    Returns:
        The job's number, or None where it ran here to its end.

    Raises:
        MedaiError: there is no such cluster here, or it refuses the job.
        Ended: it ran here and failed, or was interrupted.
    """
    job = Job(tuple(arguments), settings.devices, settings.nodes, settings.restarts, settings.grace_seconds)
    if settings.cluster == "here":
        if code := run_here(job):
            raise Ended(code)
        return None
    number = _submit(settings, job, folder)
    say(f"Job {number} ({settings.cluster}): medai {shlex.join(arguments)}")
    say(f"  log {folder / f'{number}_0_log.out'}")
    return number


def _submit(settings: LauncherSettings, job: Job, folder: Path) -> str:
    try:
        import submitit
    except ModuleNotFoundError:
        raise MedaiError("launcher=slurm needs submitit, which is not installed: pip install 'medai[cluster]'") from None
    try:
        executor = submitit.AutoExecutor(folder.resolve(), cluster=settings.cluster, **_patience(settings))
        executor.update_parameters(**_parameters(settings, folder))
        submitted = executor.submit(job)
    except Exception as error:  # submitit's own classes, and whatever sbatch says
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MedaiError(f"the job was not taken by {settings.cluster}: {reason}") from error
    return str(submitted.job_id)


def _patience(settings: LauncherSettings) -> dict[str, Any]:
    return {f"{settings.cluster}_max_num_timeout": settings.requeues}


def _parameters(settings: LauncherSettings, folder: Path) -> dict[str, Any]:
    """What is asked for, under the names that submitit has for it."""
    common = {
        "name": folder.parent.name, "timeout_min": settings.minutes, "nodes": settings.nodes, "tasks_per_node": 1, "stderr_to_stdout": True,
    }  # fmt: skip
    if settings.cluster == "local":
        return common | {"gpus_per_node": settings.gpus or 0}
    gpus = settings.devices if settings.gpus is None else settings.gpus
    named = {
        "gpus_per_node": gpus or None, "cpus_per_task": settings.cpus, "mem_gb": settings.memory_gb,
        "slurm_partition": settings.partition, "slurm_account": settings.account, "slurm_qos": settings.qos,
        "slurm_constraint": settings.constraint, "slurm_setup": list(settings.setup) or None,
    }  # fmt: skip
    options = {"open-mode": "append", "requeue": True} | {str(key): value for key, value in settings.options.items()}
    named = {key: value for key, value in named.items() if value is not None}
    return common | named | {"slurm_signal_delay_s": settings.grace_seconds, "slurm_additional_parameters": options}
