"""A real SLURM of two nodes on this machine, with or without accounting. It needs root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from peers.process import (
    READY_SECONDS,
    PeerFailedError,
    PeerMissingError,
    free_port,
    program,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INSTALL = "apt-get install -y slurm-wlm slurmdbd munge mariadb-server"
CONFIGURATION = Path("/etc/slurm/slurm.conf")
"""Where the commands look for it: those within a job have no SLURM_CONF to tell them of another."""
_LOCK = Path("/run/lock/seriesport-slurm.lock")
_MEMORY = 8000
_CPUS = 4


class Slurm:
    """A controller, two nodes `n1` and `n2`, and for accounting a database. A context manager.

    Both nodes are in the partitions `all` (default) and `archives`. One cluster runs at a time
    on a machine, since its configuration has a fixed name: whoever comes second waits.

    Args:
        folder: an empty folder for keys, database, state and logs.
        accounting: with slurmdbd and MariaDB, so that `sacct` knows every job.
    """

    nodes = ("n1", "n2")

    def __init__(self, folder: Path, *, accounting: bool = True) -> None:
        self.folder = folder
        self.accounting = accounting
        self.name = f"test{os.getpid()}t{time.monotonic_ns()}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = self._wait_for_turn()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def jobs(self) -> dict[str, str]:
        """The state of every job that the controller knows, by its number."""
        return dict(line.split("|") for line in self.squeue("%i|%T").splitlines())

    def squeue(self, format_: str) -> str:
        """What `squeue` says of all jobs, also of those that have ended."""
        return self.run("squeue", "--noheader", "--states=all", f"--format={format_}")

    def sacct(self) -> str:
        """All that accounting keeps of all jobs and steps, in every field that it has."""
        fields = ",".join(self.run("sacct", "--helpformat").split())
        every = "--starttime=now-1day", "--duplicates", "--allusers"
        kept = self.run("sacct", *every, "--parsable2", f"--format={fields}")
        return kept + self.run("sacct", *every, "--batch-script", *self._job_option()) + self._env()

    def scontrol(self) -> str:
        """What `scontrol show job` says of all jobs."""
        return self.run("scontrol", "show", "job", "--details")

    def scancel(self, *jobs: str) -> None:
        """Cancel jobs."""
        self.run("scancel", *jobs)

    def end_at_once(self, job: str) -> None:
        """Let a running job's wall time be over within seconds."""
        self.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def requeue(self, job: str) -> None:
        """Stop a job and let it begin anew."""
        self.run("scontrol", "requeue", job)

    def release(self, job: str) -> None:
        """Let a job that waits for its time begin now."""
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def lose(self, node: str) -> None:
        """Lose a node: its daemon and all that runs there is gone from one moment to the next."""
        self._processes.pop(node).kill()
        for pid in self._running_on(node):
            _kill(pid)

    def restore(self, node: str) -> None:
        """Bring a lost node back."""
        if node not in self._processes:
            self._start_node(node)
            self._wait_for_nodes()

    def run(self, name: str, *options: str) -> str:
        """The output of one of SLURM's commands."""
        done = subprocess.run(
            [program(name), *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{name} {' '.join(options)}: {done.stderr}"
        return done.stdout

    def logs(self) -> str:
        """The logs of controller, nodes and accounting."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def stop(self) -> None:
        """End everything that was started. Safe to call twice."""
        with contextlib.suppress(Exception):
            if "slurmctld" in self._processes:
                self.run("scancel", "--signal=KILL", "--full", *self.jobs())
        for node in self.nodes:
            for pid in self._running_on(node):
                _kill(pid)
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in reversed(self._processes.values()):
            _end(process)
        self._processes.clear()
        if CONFIGURATION.is_symlink() and CONFIGURATION.readlink() == self._conf:
            CONFIGURATION.unlink()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def _conf(self) -> Path:
        return self.folder / "slurm.conf"

    def _wait_for_turn(self) -> int:
        if os.geteuid() != 0:
            raise PeerFailedError("SLURM's daemons need root here; run these tests as root")
        try:
            for name in ("slurmctld", "slurmd", "munged"):
                program(name)
        except PeerMissingError:
            raise PeerMissingError(f"SLURM is not installed; type: {INSTALL}") from None
        fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + 600
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another test run has kept SLURM for 10 minutes") from None
                time.sleep(0.2)
            else:
                return fd

    def _start(self) -> None:
        self._write_configuration()
        if CONFIGURATION.is_symlink() and not CONFIGURATION.exists():
            CONFIGURATION.unlink()  # of a test run that was killed; its folder is gone
        try:
            CONFIGURATION.symlink_to(self._conf)
        except FileExistsError:
            raise PeerFailedError(
                f"this machine has a {CONFIGURATION}, which the tests do not replace"
            ) from None
        self._start_munge()
        if self.accounting:
            self._start_accounting()
        self._spawn("slurmctld", "slurmctld", "-D", "-i")
        for node in self.nodes:
            self._start_node(node)
        self._wait_for_nodes()

    def _write_configuration(self) -> None:
        host = socket.gethostname()
        ports = [free_port() for _ in range(5)]
        self._database_port, self._accounting_port = ports[3:]
        state = self.folder / "state"
        state.mkdir()
        storage = (
            "AccountingStorageType=accounting_storage/slurmdbd\n"
            "AccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={self._accounting_port}\n"
            f"AccountingStoragePass=socket={self.folder}/munge.socket\n"
            # all that it can be told to keep
            "AccountingStoreFlags=job_comment,job_env,job_script,job_extra\n"
            if self.accounting
            else "AccountingStorageType=accounting_storage/none\n"
        )
        nodes = "".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={_CPUS}"
            f" RealMemory={_MEMORY} State=UNKNOWN\n"
            for node, port in zip(self.nodes, ports[1:3], strict=True)
        )
        self._conf.write_text(
            f"""ClusterName={self.name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=2
SlurmdTimeout=8
SlurmctldTimeout=30
InactiveLimit=0
MinJobAge=300
StateSaveLocation={state}
SlurmdSpoolDir={self.folder}/spool-%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/%n.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/%n.log
{storage}{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=archives Nodes=ALL MaxTime=60 State=UP
"""
        )
        if self.accounting:
            path = self.folder / "slurmdbd.conf"
            path.touch(0o600)
            path.write_text(
                f"""AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self._accounting_port}
SlurmUser=root
LogFile={self.folder}/slurmdbd.log
PidFile={self.folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self._database_port}
StorageUser=root
StorageLoc=accounting
"""
            )

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        waiting = self.folder / "munge.socket"
        self._spawn(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--log-file={self.folder / 'munged.log'}",
            f"--pid-file={self.folder / 'munged.pid'}",
            f"--seed-file={self.folder / 'munge.seed'}",
            f"--socket={waiting}",
        )
        self._wait("munged", waiting.exists)

    def _start_accounting(self) -> None:
        data = self.folder / "database"
        subprocess.run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                "--user=root",
                f"--datadir={data}",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        self._spawn(
            "mariadbd",
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={data}",
            f"--socket={self.folder}/db",
            "--bind-address=127.0.0.1",
            f"--port={self._database_port}",
            "--skip-grant-tables",
            "--innodb-flush-log-at-trx-commit=0",
        )
        self._wait("mariadbd", lambda: _listens(self._database_port))
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self._wait("slurmdbd", lambda: _listens(self._accounting_port))
        self.run("sacctmgr", "-i", "add", "cluster", self.name)
        self.run("sacctmgr", "-i", "add", "account", "imaging", f"cluster={self.name}")
        self.run("sacctmgr", "-i", "add", "user", "root", "account=imaging")

    def _start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self._spawn(node, "slurmd", "-D", "-N", node)

    def _wait_for_nodes(self) -> None:
        def up() -> bool:
            done = subprocess.run(
                [program("sinfo"), "--noheader", "--Node", "--format=%N %t", "--partition=all"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            states = [line.split() for line in done.stdout.splitlines()]
            wanted = {"idle", "mix", "alloc"}
            return len(states) == len(self.nodes) and all(s[1] in wanted for s in states)

        self._wait("slurmctld", up)

    def _spawn(self, key: str, name: str, *options: str) -> None:
        # A worker that is killed takes its servers along.
        command = [program("setpriv"), "--pdeathsig", "KILL", program(name), *options]
        with (self.folder / f"{key}.out.log").open("ab") as log:
            self._processes[key] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"SLURM_CONF": str(self._conf), _MARK: f"{self.name} {key}"},
            )

    def _wait(self, key: str, ready: Callable[[], bool]) -> None:
        def settled() -> bool:
            return ready() or self._processes[key].poll() is not None

        wait_until(settled, READY_SECONDS, key)
        if self._processes[key].poll() is not None:
            raise PeerFailedError(f"{key} did not start:\n{self.logs()[-3000:]}")

    def _running_on(self, node: str) -> list[int]:
        """The processes of all jobs on a node, and those that watch over them."""
        mine = (f"SLURM_CLUSTER_NAME={self.name}".encode(), f"SLURMD_NODENAME={node}".encode())
        mark = f"{_MARK}={self.name} {node}".encode()
        return [
            pid
            for pid, environment in _environments()
            if mark in environment or all(one in environment for one in mine)
        ]

    def _job_option(self) -> list[str]:
        return ["--jobs=" + ",".join(self.jobs())] if self.jobs() else []

    def _env(self) -> str:
        return self.run("sacct", "--env-vars", *self._job_option()) if self.jobs() else ""


_MARK = "SERIESPORT_TEST_SLURM"


def _environments() -> Iterator[tuple[int, set[bytes]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), set((folder / "environ").read_bytes().split(b"\0"))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
