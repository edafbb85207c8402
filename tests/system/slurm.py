"""A real SLURM on this machine for the tests: munge, a controller and two nodes with fake GPUs.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge; starts in about a second and
touches nothing outside its folder, /etc/slurm and /etc/munge included.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

CLIENTS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
PROGRAMS = ("munged", "slurmctld", "slurmd", *CLIENTS)
# Every sbatch is written down.
CLIENT = """\
#!/bin/sh
export SLURM_CONF={folder}/slurm.conf
{also}exec {program} "$@"
"""
WRITE_DOWN = 'printf "%s\\037" "$@" >> {folder}/sbatch.log; echo >> {folder}/sbatch.log\n'
NODES = ("n1", "n2")
GPUS = 2
SBIN = ("/usr/sbin", "/sbin")

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=600
KillWait=3
GresTypes=gpu
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=cpu Nodes={names} Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes={names} PriorityTier=10 PreemptMode=OFF
PartitionName=spot Nodes={names} PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=graceful Nodes={names} PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=200000"
    " Gres=gpu:fake:{gpus} State=UNKNOWN"
)


def missing() -> str | None:
    """Why no SLURM can be started here; None where it can."""
    if os.geteuid() != 0:
        return "starting SLURM's daemons needs root"
    path = os.pathsep.join([os.environ["PATH"], *SBIN])
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (slurmctld slurmd slurm-client munge of Debian)"
    return None


@dataclass(frozen=True)
class Slurm:
    """A running SLURM."""

    folder: Path

    @property
    def clients(self) -> Path:
        """To be put first on PATH: every client, told where this SLURM's configuration is.

        The variable SLURM_CONF alone will not do: Snakemake's plugin clears it inside a job.
        """
        return self.folder / "bin"

    def run(self, *command: str, check: bool = True) -> str:
        """Output of a client."""
        program = [str(self.clients / command[0]), *command[1:]]
        done = subprocess.run(program, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submitted(self, tree: Path) -> list[str]:
        """Command lines of sbatch given in a folder so far, without what is wrapped in them."""
        log = self.folder / "sbatch.log"
        lines = log.read_text().splitlines() if log.exists() else []
        calls = [line.split("\037")[:-1] for line in lines]
        mine = [words for words in calls if ("-D", str(tree)) in pairwise(words)]
        return [shlex.join(w for w in words if "--wrap" not in w) for words in mine]

    def jobs(self, *states: str, rule: str = "") -> list[str]:
        """Ids of jobs in some states, whose comment names a rule."""
        wanted = ",".join(states) if states else "all"
        lines = self.run("squeue", "-h", f"--states={wanted}", "--format=%A %k").splitlines()
        return [line.split()[0] for line in lines if f"rule_{rule}" in line]

    def state(self, job: str) -> str:
        """State of a job, as squeue says it."""
        return self.run("squeue", "-h", "--states=all", "--format=%T", f"--jobs={job}")

    def details(self, job: str) -> Mapping[str, str]:
        """What scontrol shows of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start SLURM with its files in a folder; stopped at the end, jobs and all."""
    running = Slurm(folder)
    _configure(folder)
    variables = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    variables["PATH"] = os.pathsep.join([variables["PATH"], *SBIN])
    munge = folder / "munge"
    # In the foreground, as our children: whatever happens, they can be found and stopped.
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
         f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"],
        ["slurmctld", "-D"],
        *[["slurmd", "-D", "-N", name] for name in NODES],
    ]  # fmt: skip
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            output = (folder / f"{command[0]}-{len(daemons)}.out").open("wb")
            with output:
                daemons.append(
                    subprocess.Popen(
                        command, env=variables, stdin=subprocess.DEVNULL, stdout=output,
                        stderr=output, start_new_session=True,
                    )
                )  # fmt: skip
            if command[0] == "munged":
                _wait_for(munge / "socket")
        _wait_for_nodes(running)
        yield running
    finally:
        running.run("scancel", "--user=root", "--signal=KILL", check=False)
        running.run("scancel", "--user=root", check=False)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        _kill_steps(folder)


def _configure(folder: Path) -> None:
    """Write slurm.conf, gres.conf, the fake GPUs and munge's key."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "munge", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, mode=0o755)
    controller, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        NODE.format(name=name, host=host, port=port, gpus=GPUS)
        for name, port in zip(NODES, ports, strict=True)
    )
    text = SLURM_CONF.format(
        folder=folder, host=host, port=controller, nodes=nodes, names=",".join(NODES)
    )
    (folder / "slurm.conf").write_text(text)
    for gpu in range(GPUS):  # another name of /dev/null: SLURM wants a device file
        os.mknod(folder / f"gpu{gpu}", 0o666 | 0o020000, os.makedev(1, 3))
    gres = [f"NodeName={n} Name=gpu Type=fake File={folder}/gpu[0-{GPUS - 1}]" for n in NODES]
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    (folder / "bin").mkdir()
    for name in CLIENTS:
        client = folder / "bin" / name
        also = WRITE_DOWN.format(folder=folder) if name == "sbatch" else ""
        client.write_text(CLIENT.format(folder=folder, program=shutil.which(name), also=also))
        client.chmod(0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.02)


def _wait_for_nodes(running: Slurm) -> None:
    end = time.monotonic() + 30
    while (found := running.run("sinfo", "-h", "-N", "-p", "cpu", "-o", "%T", check=False)) != (
        "\n".join(["idle"] * len(NODES))
    ):
        logs = "".join(log.read_text()[-1000:] for log in running.folder.glob("*.log"))
        assert time.monotonic() < end, f"the nodes are {found!r}\n{logs}"
        time.sleep(0.1)


def _kill_steps(folder: Path) -> None:
    """End step daemons that outlived their slurmd: they are named after this folder's nodes."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and str(folder).encode() in (
                (process / "environ").read_bytes()
            ):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if words[0].startswith((b"slurmstepd", b"/usr/sbin/slurmstepd")):
                    os.kill(int(process.name), signal.SIGKILL)
