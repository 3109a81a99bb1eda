"""A real Slurm on this machine: one node, its daemons as children of the test, everything in one folder."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=1
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm(folder: Path, tracking: str = "linuxproc") -> Iterator[dict[str, str]]:
    """Run it; gives the environment in which sbatch and the others find it."""
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    configuration = folder / "slurm.conf"
    port, other = _free_ports(2)
    host = socket.gethostname().split(".")[0]
    configuration.write_text(CONFIGURATION.format(host=host, port=port, other=other, user=_user(), folder=folder, tracking=tracking))
    munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", *(f"--{key}={folder / 'munge' / name}" for key, name in munge.items())]
    environment = os.environ | {"SLURM_CONF": str(configuration)}
    daemons = []
    with open(folder / "daemons.log", "wb") as log:
        try:
            for command in (munged, ["slurmctld", "-D", "-i", "-f", str(configuration)], ["slurmd", "-D", "-f", str(configuration)]):
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                time.sleep(0.5)
            _wait_for_node(environment, folder)
            yield environment
        finally:
            subprocess.run(["scancel", "--user", _user()], env=environment, check=False)
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(30)


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    for _ in range(60):
        shown = subprocess.run(["sinfo", "--noheader", "--format=%t"], env=environment, capture_output=True, text=True, check=False)
        if shown.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise RuntimeError(f"Slurm does not start: {(folder / 'daemons.log').read_text()[-2000:]}")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
