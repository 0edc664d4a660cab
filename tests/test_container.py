"""The container definitions: what they copy is enough, and what they run installs Seriesport."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from peers.loopback import outside
from project import ROOT, Project

if TYPE_CHECKING:
    from pathlib import Path

HOME = "/opt/seriesport"


def _dockerfile() -> tuple[dict[str, str], str]:
    """What a Dockerfile copies (source to target below /opt/seriesport) and what it runs."""
    text = (ROOT / "container" / "Dockerfile").read_text()
    copied: dict[str, str] = {}
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        *sources, target = line.split()
        copied |= {s: f"{target.rstrip('/')}/{s}" if len(sources) > 1 else target for s in sources}
    (run,) = re.findall(r"^RUN (.*)$", text, re.MULTILINE)
    return {s: t.removeprefix("./") for s, t in copied.items()}, run


def _definition() -> tuple[dict[str, str], str]:
    """The same of an Apptainer definition."""
    text = (ROOT / "container" / "seriesport.def").read_text()
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, re.MULTILINE | re.DOTALL))
    pairs = (line.split() for line in sections["files"].strip().splitlines())
    copied = {source: target.removeprefix(f"{HOME}/") for source, target in pairs}
    return copied, sections["post"].strip().replace(f"{HOME}/", "")


def test_both_definitions_copy_and_run_the_same() -> None:
    assert _dockerfile() == _definition()
    bases = [
        re.search(r"python:[\w.-]+", (ROOT / "container" / name).read_text())
        for name in ("Dockerfile", "seriesport.def")
    ]
    assert bases[0] is not None
    assert bases[1] is not None
    assert bases[0][0] == bases[1][0]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_of_a_definition_install_what_runs_the_workflow(tmp_path: Path) -> None:
    copied, run = _dockerfile()
    home = tmp_path / "opt"
    for source, target in copied.items():
        (home / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, home / target, ignore=leave)
        else:
            shutil.copy(ROOT / source, home / target)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "root"], check=True, timeout=120)
    project = Project.clone(tmp_path / "clone")
    environment = {
        name: value
        for name, value in project.environment().items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    } | {
        "PATH": f"{tmp_path / 'root' / 'bin'}:/usr/bin:/bin",
        "PYTHONNOUSERSITE": "1",
        "PIP_NO_COMPILE": "1",
    }
    done = subprocess.run(
        [*outside(), "sh", "-c", run],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.rmtree(home)  # nothing of it is needed once it is installed
    (project.folder / "archive").rename(project.folder / "images")
    project.write_cohort("cohort: [{source: folder, destinations: [out]}]")
    ran = subprocess.run(
        ["snakemake", "--cores", "1"],
        cwd=project.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
