"""DCMTK's archive (dcmqrscp) and its bare receiver (storescp), over temporary folders."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from peers.process import Peer, echo, program, tls_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.certificates import Certificate

SPARE_AES = 24


def send(port: int, aet: str, paths: Sequence[Path]) -> None:
    """C-STORE files by DCMTK's dcmsend, each in the transfer syntax that it has.

    Raises:
        RuntimeError: not all were accepted.
    """
    report = paths[0].with_name(f".{port}-dcmsend-report")
    command = [program("dcmsend"), "-q", "-dn", "-nuc", "+crf", str(report), "-aec", aet]
    try:
        done = subprocess.run(
            [*command, "127.0.0.1", str(port), *map(str, paths)],
            capture_output=True,
            check=False,
            timeout=300,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        text = report.read_text() if report.exists() else ""
    finally:
        report.unlink(missing_ok=True)
    if done.returncode or not re.search(rf"status SUCCESS *: {len(paths)}\b", text):
        raise RuntimeError(f"dcmsend failed: {done.stdout + done.stderr!r}\n{text[-600:]}")


@dataclass(frozen=True)
class ApplicationEntity:
    """One AE of a dcmqrscp, with a folder and an index of its own."""

    port: int
    aet: str
    folder: Path
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"dicom://{self.host}:{self.port}/{quote(self.aet, safe='')}"

    def store(self, paths: Sequence[Path]) -> None:
        """Load instances by C-STORE."""
        send(self.port, self.aet, paths)

    def files(self) -> list[Path]:
        """The files that it has written."""
        return sorted(path for path in self.folder.iterdir() if path.name != "index.dat")


class Dcmqrscp(Peer):
    """A dcmqrscp with one AE under its own name and more from `another_ae()`.

    An AE's index is capped at 32 MB, about 4,100 images: a test with a large series takes an AE
    of its own. What is received is written as it came (`--bit-preserving`). It takes uncompressed
    instances, and those of one compressed syntax when an option says so: +xr RLE, +xt JPEG-LS,
    +xv JPEG 2000 lossless. Private SOP classes it refuses.
    """

    def __init__(self, folder: Path, aet: str = "DCMQRSCP", *, options: Sequence[str] = ()) -> None:
        super().__init__()
        self._options = list(options)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.aet, self.log = folder, aet, folder / "dcmqrscp.log"
        self._entities = [ApplicationEntity(0, aet, folder / aet)]
        self._entities += [
            ApplicationEntity(0, name, folder / name)
            for name in (f"QR{i:02d}" for i in range(SPARE_AES))
        ]
        self._taken = 0
        self._start()

    def store(self, paths: Sequence[Path]) -> None:
        """Load instances by C-STORE."""
        send(self.port, self.aet, paths)

    def files(self) -> list[Path]:
        """The files that its first AE has written."""
        return self._entities[0].files()

    def another_ae(self) -> ApplicationEntity:
        """An AE that is still empty."""
        self._taken += 1
        return replace(self._entities[self._taken], port=self.port)

    def _command(self) -> list[str]:
        lines = [f"NetworkTCPPort = {self.port}", "MaxPDUSize = 131072", "MaxAssociations = 32"]
        lines += [
            "HostTable BEGIN",
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
        ]
        for entity in self._entities:
            entity.folder.mkdir(exist_ok=True)
            lines.append(f"{entity.aet} {entity.folder} RW (400, 1024mb) ANY")
        lines.append("AETable END")
        path = self.folder / "dcmqrscp.cfg"
        path.write_text("\n".join(lines) + "\n")
        return [
            program("dcmqrscp"),
            "--bit-preserving",
            "-dhl",
            *self._options,
            "-c",
            str(path),
            str(self.port),
        ]


class Storescp(Peer):
    """A storescp that writes what it receives, as it came, into `received`."""

    def __init__(
        self,
        folder: Path,
        aet: str = "STORESCP",
        *,
        certificate: Certificate | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.received = folder / "received"
        self.received.mkdir(parents=True, exist_ok=True)
        self.folder, self.aet, self.log = folder, aet, folder / "storescp.log"
        self._certificate, self._options = certificate, list(options)
        self._start()

    def store(self, paths: Sequence[Path]) -> None:
        """Send instances to it."""
        send(self.port, self.aet, paths)

    def files(self) -> list[Path]:
        """The files that it has written."""
        return sorted(self.received.iterdir())

    def _command(self) -> list[str]:
        command = [
            program("storescp"),
            "+xa",
            "--fork",
            "-B",
            "-aet",
            self.aet,
            "-od",
            str(self.received),
        ]
        return [*command, *tls_options(self._certificate), *self._options, str(self.port)]

    def _ready(self) -> bool:
        return echo(self.port, self.aet, tls_options(self._certificate))
