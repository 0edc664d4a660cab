"""What a new user installs: one list of dependencies, said the same in every place."""

from __future__ import annotations

import re
import tomllib

import yaml

from project import ROOT


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


def test_environment_yml_names_the_direct_dependencies_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    wanted = _pyproject()
    assert sorted(listed) == sorted(wanted["run"] + wanted["workflow"])


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
