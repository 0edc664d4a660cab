"""Starting a server on a free port, waiting until it answers, and stopping it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from peers.certificates import Certificate

INSTALL = "apt-get install -y orthanc dcmtk"
READY_SECONDS = 30.0


class PeerMissingError(RuntimeError):
    """A server that the tests need is not installed."""


class PeerFailedError(RuntimeError):
    """A server did not come up."""


def program(name: str) -> str:
    """The full path of a system program: the virtual environment has others under DCMTK's names."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if found is None:
        raise PeerMissingError(f"{name} is not installed; type: {INSTALL}")
    return found


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: it did not within that time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def echo(port: int, aet: str, tls: Sequence[str] = ()) -> bool:
    """Whether DCMTK's C-ECHO succeeds there."""
    command = [
        program("echoscu"),
        "-to",
        "2",
        "-ta",
        "2",
        "-td",
        "2",
        *tls,
        "-aec",
        aet,
        "127.0.0.1",
        str(port),
    ]
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=20, stdin=subprocess.DEVNULL
    )
    return done.returncode == 0


class Peer:
    """A running server: `url`, `host`, `port`, `aet`, `store(paths)`, `stop()`."""

    host = "127.0.0.1"
    port: int
    aet: str
    log: Path

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"dicom://{self.host}:{self.port}/{quote(self.aet, safe='')}"

    def store(self, paths: Sequence[Path]) -> None:
        """Load instances."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Process ID of the server."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End the server, and the children that it forked. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        # Its folder is thrown away, so there is nothing to close in order.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        """The command line, for the port that was picked."""
        raise NotImplementedError

    def _ready(self) -> bool:
        return echo(self.port, self.aet)

    def _start(self, tries: int = 5) -> None:
        for _ in range(tries):
            self.port = free_port()
            if self._try_start():
                return
        tail = self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""
        raise PeerFailedError(f"{type(self).__name__} did not start:\n{tail}")

    def _try_start(self) -> bool:
        """Start it once; False where it did not come up, as when another took the port."""
        # A worker that is killed takes its servers along.
        command = [program("setpriv"), "--pdeathsig", "KILL", *self._command()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
            )
        deadline = time.monotonic() + READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._ready() and self._process.poll() is None:
                return True
            time.sleep(0.05)
        self.stop()
        return False

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LC_ALL": "C.UTF-8"}


def tls_options(certificate: Certificate | None) -> list[str]:
    """What makes a DCMTK requestor speak TLS with this certificate as its own."""
    if certificate is None:
        return []
    # An expired certificate must not keep the echo from telling that the server is there.
    return ["+tls", str(certificate.key), str(certificate.chain), "+cf", str(certificate.ca), "-ic"]
