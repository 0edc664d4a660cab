"""What a new user installs: one list of dependencies, said the same in every place."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from typing import TYPE_CHECKING

import pytest
import yaml

from project import BIN, ROOT, Project

if TYPE_CHECKING:
    from pathlib import Path

COPYLEFT = re.compile(r"\b[AL]?GPL|General Public License", re.IGNORECASE)
LOOKED_AT = {"docutils"}
"""Has BSD files, and for the Emacs editor one under the GPL, which is not in its wheel."""


def _pyproject() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"run": project["dependencies"], **project["optional-dependencies"]}


def _locked(name: str) -> dict[str, list[str]]:
    """The pinned lines of a lock file by package, each with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    locked: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"([a-z0-9-]+)==", line):
            locked.setdefault(match[1], []).append(line)
    return locked


def _names(requirements: list[str]) -> set[str]:
    return {re.split("[<>=~!; \\[]", line)[0].lower() for line in requirements}


def _conda(name: str) -> list[str]:
    environment = yaml.safe_load((ROOT / name).read_text())
    return next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))


def test_environment_yml_installs_seriesport_and_the_direct_dependencies_of_pyproject() -> None:
    wanted = _pyproject()
    *needed, itself = _conda("environment.yml")
    assert sorted(needed) == sorted(wanted["run"] + wanted["workflow"])
    assert itself == "."
    # Snakemake makes the environment of jobs in another folder, where "." is something else.
    assert _conda("workflow/envs/seriesport.yml") == needed


@pytest.mark.parametrize("option", ["--lint", "-n"])
def test_a_workflow_without_its_package_says_what_to_install(tmp_path: Path, option: str) -> None:
    project = Project.clone(tmp_path / "clone", demo=False)
    absent = tmp_path / "absent" / "seriesport"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError(name=__name__)")
    run = project.run("env", f"PYTHONPATH={absent.parent}", "snakemake", option)
    said = run.stdout + run.stderr
    assert run.returncode != 0
    assert "lacks the package seriesport. In the folder of Seriesport's clone" in said
    assert "-m pip install '.[workflow]'" in said
    assert "Traceback" not in said


def test_every_direct_dependency_is_locked_with_hashes() -> None:
    wanted = _pyproject()
    for name, extras in {
        "requirements.lock": ("run", "workflow", "build"),
        "requirements-test.lock": ("run", "workflow", "build", "slurm", "test"),
    }.items():
        locked = _locked(name)
        direct = {n for extra in extras for n in _names(wanted[extra])}
        assert direct <= locked.keys(), name
        assert all("--hash=sha256:" in line for lines in locked.values() for line in lines)


def test_the_test_lock_pins_what_the_run_lock_pins() -> None:
    run, test = _locked("requirements.lock"), _locked("requirements-test.lock")
    assert {name: test[name] for name in run} == run


def _licence(name: str) -> str:
    """What a package says of its licence; its licence files where its metadata say nothing."""
    found = metadata.distribution(name)
    classifiers = found.metadata.get_all("Classifier", [])
    said = [found.metadata.get(field) or "" for field in ("License-Expression", "License")]
    said += [line for line in classifiers if line.startswith("License ::")]
    if not any(said):
        said = [f.read_text() for f in found.files or () if re.match("LICEN|COPYING", f.name)]
    return "\n".join(said)


def test_no_dependency_is_under_a_copyleft_licence() -> None:
    locked = _locked("requirements.lock")
    here = [name for name, lines in locked.items() if "sys_platform == 'win32'" not in lines[0]]
    licences = {name: _licence(name) for name in here}
    assert all(licences.values()), [name for name, text in licences.items() if not text]
    copyleft = {name for name, text in licences.items() if COPYLEFT.search(text)}
    assert copyleft == LOOKED_AT


def test_an_installation_puts_no_command_in_front_of_dcmtks() -> None:
    dcmtks = {f"{name}scu" for name in ("echo", "find", "get", "move", "store")} | {"storescp"}
    assert not dcmtks & {path.name for path in BIN.iterdir()}, "as make install leaves it"


def test_git_ignores_every_cohort_and_config_but_the_examples(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name in ("cohort.yaml", "cohort.tsv", "patients.csv", "config.yaml", "config.local.yaml"):
        (tmp_path / "config" / name).touch()
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True, timeout=60)
    status = ["git", "status", "--porcelain", "--untracked-files=all", "config"]
    done = subprocess.run(
        status, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert {line.split("/")[1] for line in done.stdout.splitlines()} == {
        "README.md", "cohort.example.yaml", "config.example.yaml",
    }  # fmt: skip


def test_make_clean_leaves_results_where_they_are(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = [tmp_path / "results" / "table", tmp_path / ".snakemake" / "metadata" / "one"]
    for path in (*kept, tmp_path / ".venv" / "bin" / "python"):
        path.parent.mkdir(parents=True)
        path.touch()
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, check=True, timeout=60)
    assert all(path.exists() for path in kept)
    assert not (tmp_path / ".venv").exists()
