"""What runs on the machine of a job: the command as a child, and between the two the cluster's signals.

Slurm sends a signal to the job's first process or to all of them, as the site has it, and submitit has its own. So the command's
processes are made deaf to SIGTERM and SIGUSR2, and hear one SIGUSR1 from here, upon which a training saves its state and ends:

- SIGUSR2 comes before the time limit (or by `scancel --signal=USR2`): save, then into the queue again.
- SIGTERM comes with a preemption, after which Slurm itself puts the job into the queue again, or with `scancel`, after which
  it does not: save and end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from medai.core.error import MedaiError
from medai.core.progress import say

POLL_SECONDS = 0.2
PREEMPTED = 128 + signal.SIGTERM
LOWEST_PORT, PORTS = 20_000, 12_000  # below the ports that systems hand out by themselves


class _Finished(Exception):
    """The command came to its end while it was to be interrupted."""


@dataclass
class Job:
    """A command of medai as a job.

    Args:
        arguments: E.g. ``("train", "seed=1", "folder=runs/a", "resume=auto")``: started again, it has to go on.
        devices: Processes on each machine.
        nodes: Machines.
        restarts: Of torchrun, when one of several processes dies.
        grace_seconds: Time that processes of torchrun are given to save their state.
        module: That runs the arguments.
    """

    arguments: tuple[str, ...]
    devices: int = 1
    nodes: int = 1
    restarts: int = 1
    grace_seconds: int = 120
    module: str = "medai.cli"
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False, compare=False)
    _told: bool = field(default=False, init=False, repr=False, compare=False)
    _terminated: bool = field(default=False, init=False, repr=False, compare=False)

    def __call__(self) -> int:
        """Run to the end, in a job of submitit.

        Raises:
            MedaiError: the command failed.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        self._start()
        assert self._process is not None
        try:
            while (code := self._process.poll()) is None:
                time.sleep(POLL_SECONDS)
        except _Finished:
            code = 0
        if code and self._terminated:
            sys.exit(PREEMPTED)
        if code:
            raise MedaiError(f"the command ended with exit code {code}; its last lines stand in the job's log")
        return code

    def checkpoint(self) -> Any:
        """Let the command save its state; what is to be done when the job's turn comes again. Called by submitit on SIGUSR2."""
        from submitit.helpers import DelayedSubmission

        self._tell()
        if self._end() == 0:
            raise _Finished
        return None if self._terminated else DelayedSubmission(replace(self))

    def command(self, host: str = "", number: int = 0) -> list[str]:
        """The command line of the child.

        Args:
            host: The first machine, where several are.
            number: Of the job.
        """
        python = [sys.executable, "-u", "-m"]
        if self.devices * self.nodes == 1:
            return [*python, self.module, *self.arguments]
        torchrun = [*python, "torch.distributed.run", f"--nproc-per-node={self.devices}", f"--max-restarts={self.restarts}"]
        torchrun += ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
        if self.nodes == 1:
            return [*torchrun, "--standalone", "-m", self.module, *self.arguments]
        endpoint = f"{host}:{LOWEST_PORT + number % PORTS}"
        meeting = ["--rdzv-backend=c10d", f"--rdzv-id={number}", f"--rdzv-endpoint={endpoint}"]
        return [*torchrun, f"--nnodes={self.nodes}", *meeting, "-m", self.module, *self.arguments]

    def environment(self) -> dict[str, str]:
        """The child's environment: time for torchrun's processes to end, and a meeting place of its own for each of their restarts.

        Torch 2.13 lets restarted processes meet where the dead ones did, and half of the time they find those addresses there.
        """
        own = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(self.grace_seconds), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return dict(os.environ) | own

    def _start(self) -> None:
        from submitit import JobEnvironment

        here = JobEnvironment()
        digits = "".join(filter(str.isdigit, here.job_id))
        command = self.command(here.hostnames[0], int(digits or 0))
        self._process = subprocess.Popen(command, env=self.environment(), start_new_session=True, preexec_fn=_deafen)

    def _terminate(self, number: int, _: object) -> None:
        self._terminated = True
        self._tell()

    def _tell(self) -> None:
        """Send the one SIGUSR1."""
        if self._process is not None and not self._told and self._process.poll() is None:
            self._told = True
            say(f"The training is told to save its state (process {self._process.pid})")
            os.kill(self._process.pid, signal.SIGUSR1)

    def _end(self) -> int | None:
        """Wait for the child's end. Not by `Popen.wait`: this runs in a signal handler, maybe within `Popen.poll`'s lock."""
        if self._process is None:
            return None
        if self._process.returncode is not None:
            return self._process.returncode
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self._process.pid, 0)[1])
        except ChildProcessError:
            return None


def _deafen() -> None:
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def run_here(job: Job) -> int:
    """Run a job in the foreground; its exit code. The terminal's Ctrl-C and a SIGTERM go to the command."""
    process = subprocess.Popen(job.command(), env=job.environment())
    forward: Callable[[int, object], None] = lambda number, _: process.send_signal(signal.SIGUSR1)  # noqa: E731
    before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None), signal.SIGTERM: signal.signal(signal.SIGTERM, forward)}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
