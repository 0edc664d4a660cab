"""A clone of the project in a folder of a test's own, and the commands that a user types in it."""

from __future__ import annotations

import csv
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seriesport.cli.demo import lay_out
from seriesport.workflow.records import read_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_PARTS = ("Snakefile", "workflow", "scripts", "profiles", "config", "environment.yml")
SERVE = ("seriesport", "serve", "archive", "--aet", "ARCHIVE", "--name", "demo", "--")
SNAKEMAKE = ("snakemake", "--cores", "2")


@dataclass(frozen=True)
class Project:
    """A folder with the workflow, a config and, for the demo, its sources."""

    folder: Path

    @classmethod
    def clone(cls, folder: Path, *, demo: bool = True) -> Project:
        """Copy what `git clone` would give, and make the demo of it: its config and sources."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True)
            else:
                shutil.copy(source, folder / name, follow_symlinks=False)
        for path in (folder / "config").iterdir():  # git ignores a developer's own
            if path.name != "README.md" and ".example." not in path.name:
                path.unlink()
        if demo:
            lay_out(folder)
        return cls(folder)

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.folder / "results"

    def environment(self) -> dict[str, str]:
        """A user's environment, with the tools of this test run first on the path."""
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}

    def run(self, *command: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, as a user would."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            umask=0o022,
        )

    def on_terminal(self, *command: str) -> str:
        """Run a command on a terminal of its own; give what stands on it, without colours."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 100))
        run = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        screen = b""
        try:
            with suppress(OSError):  # once nobody has it open any more
                while chunk := os.read(ours, 1 << 16):
                    screen += chunk
        finally:
            os.close(ours)
            run.kill()
            run.wait()
        return re.sub(r"\x1b\[[0-9;]*m|\r", "", screen.decode())

    def snakemake(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow, without an archive beside it."""
        return self.run(*SNAKEMAKE, *options)

    def demo(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow beside the demo's archive."""
        return self.run(*SERVE, *SNAKEMAKE, *options)

    def write_cohort(self, text: str) -> None:
        """Put a cohort file in place, readable by its owner alone."""
        path = self.folder / "config" / "cohort.yaml"
        path.write_text(text)
        path.chmod(0o600)

    def table(self) -> list[dict[str, str]]:
        """The rows of results/cohort.tsv."""
        with (self.results / "cohort.tsv").open(newline="") as stream:
            return list(csv.DictReader(stream, dialect="excel-tab"))

    def deliveries(self, row: Mapping[str, str]) -> list[dict[str, Any]]:
        """The receipts of a row of the table, one for each destination and format."""
        return read_records(self.results / row["receipts"])[row["key"]]["deliveries"]

    def bundles(self) -> dict[str, tuple[int, int]]:
        """Inode and modification time of every bundle by key: they change when one is made anew."""
        paths = self.results.glob("dicom/*/*.zip")
        return {path.stem: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def tree(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file below a folder by its relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part in leave_out for part in path.relative_to(folder).parts)
    }
