"""Slurm on this machine alone, without systemd: its three daemons, for as long as tests need it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo")

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=1
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """Programs that are not installed (in /usr/sbin too, where not everyone's PATH leads)."""
    return [name for name in PROGRAMS if found(name) is None]


def found(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextmanager
def slurm():
    """Give the environment in which sbatch reaches a cluster of this machine.

    Raises:
        RuntimeError: it does not come up; with the end of its log.
    """
    home = Path(tempfile.mkdtemp(prefix="slurm-"))
    home.chmod(0o755)
    daemons = []
    environment = {**os.environ, "SLURM_CONF": str(home / "slurm.conf")}
    try:
        _configure(home)
        key = ["--key-file", home / "munge.key", "--seed-file", home / "munge.seed"]
        files = ["--socket", home / "munge.socket", "--pid-file", home / "munged.pid"]
        daemons.append(_start(home, environment, "munged", "-F", "--force", *key, *files))
        _wait(lambda: (home / "munge.socket").exists(), home, "munged")
        daemons.append(_start(home, environment, "slurmctld", "-D"))
        daemons.append(_start(home, environment, "slurmd", "-D"))
        sinfo = [found("sinfo"), "--noheader", "--format=%T"]

        def idle() -> bool:
            done = subprocess.run(sinfo, env=environment, capture_output=True, text=True)
            return "idle" in done.stdout

        _wait(idle, home, "slurmctld")
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(home, ignore_errors=True)


def _configure(home: Path) -> None:
    import getpass

    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("", 0))
            ports.append(probe.getsockname()[1])
    for name in ("state", "spool"):
        (home / name).mkdir()
    (home / "munge.key").write_bytes(os.urandom(1024))
    (home / "munge.key").chmod(0o400)
    values = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
    values.update(home=str(home), ports=ports, cpus=os.cpu_count())
    (home / "slurm.conf").write_text(CONFIGURATION.format(**values))


def _start(home: Path, environment: dict[str, str], program: str, *options) -> subprocess.Popen:
    with open(home / f"{program}.out", "wb") as log:
        command = [str(found(program)), *map(str, options)]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def _wait(ready, home: Path, program: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            said = (home / f"{program}.out").read_text(errors="replace").split("\n")[-3:]
            raise RuntimeError(f"{program} does not come up: {' '.join(said).strip()}")
        time.sleep(0.1)
