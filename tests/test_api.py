"""The public page: its names, its examples, its types, and what it costs to import."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import data
import seriesport
from project import BIN
from seriesport import SeriesportError, fetch, find
from seriesport.store.bundle import read_manifest

WHO = data.identity("public page")
PUBLIC = [name for name in seriesport.__all__ if not name.startswith("_")]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the series of the examples: `images/1`, `images/2`, `part.zip`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data.ct(tmp_path / "images" / "1", WHO, slices=5)
    mr = data.mr(tmp_path / "images" / "2", WHO.series(2), times=2, slices=3)
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as part:
        for path in mr.paths[:5]:
            part.write(path, path.name)
    return tmp_path


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a public name: those of its docstring, and of a class's attributes."""
    public = getattr(seriesport, name)
    parser, found = doctest.DocTestParser(), []
    module = import_module(public.__module__)
    for owner, member in [(name, public), *_members(public)]:
        text = member.__doc__ or ""
        test = parser.get_doctest(text, {}, f"{module.__name__}.{owner}", None, None)
        found += [test] if test.examples else []
    return found


def _members(public: Any) -> list[tuple[str, Any]]:
    if not isinstance(public, type):
        return []
    return [(k, v) for k, v in vars(public).items() if not k.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(images: Path, name: str) -> None:
    assert images.is_dir()
    found = examples(name)
    assert found, f"{name} has no example"
    for test in found:
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.append)
        assert not runner.failures, "".join(said)


def test_the_examples_of_the_docs_run(images: Path) -> None:
    assert images.is_dir()
    page = Path(__file__).parents[1] / "docs" / "api.md"
    text = page.read_text(encoding="utf-8").replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), None)
    said: list[str] = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_importing_seriesport_imports_neither_numpy_nor_pydicom_nor_pynetdicom() -> None:
    code = "import sys, seriesport; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pydicom", "pynetdicom", "yaml"} & set(done.stdout.split())


def test_finding_and_copying_does_without_numpy() -> None:
    code = "import sys; from seriesport import copy, fetch, find, verify; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "nibabel"} & set(done.stdout.split())


def checked(folder: Path, text: str) -> list[str]:
    """The messages of a strict type checker about a user's script."""
    (folder / "script.py").write_text(text)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [BIN / "basedpyright", "--pythonpath", sys.executable, "--outputjson", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [one["message"] for one in json.loads(done.stdout)["generalDiagnostics"]]


def test_a_strict_type_checker_sees_the_types_of_all_that_is_public(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "typed.py").read_text()
    assert checked(tmp_path, text) == []
    wrong = checked(tmp_path, "from seriesport import Series, fidn\nSeries('x').write(3)\n")
    assert any('"fidn" is unknown' in message for message in wrong)
    assert any("Literal[3]" in message for message in wrong)


def test_a_name_that_is_not_public_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        seriesport.nonsense  # noqa: B018 # pyright: ignore


def test_python_m_seriesport_is_the_command_line() -> None:
    command = [sys.executable, "-m", "seriesport", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"seriesport {seriesport.__version__}\n"


def test_a_series_is_fetched_into_a_folder_with_the_bytes_of_its_source(images: Path) -> None:
    paths = fetch("images", images / "out" / "ct", series=1)
    assert [path.parent for path in paths] == [images / "out" / "ct"] * 5
    source = sorted((images / "images" / "1").iterdir())
    assert [*map(data.dataset_bytes, paths)] == [*map(data.dataset_bytes, source)]
    assert fetch("images", images / "out" / "ct", series=1) == paths
    assert [p.name for p in (images / "cache" / "seriesport").iterdir()] == ["secret"]


def test_a_series_is_fetched_into_a_bundle_once(images: Path) -> None:
    mr = find("images")[1]
    (path,) = fetch(mr, "mr.zip")
    assert read_manifest(path).received == 6
    before = path.stat().st_mtime_ns
    assert fetch(mr, "mr.zip") == [path]
    assert path.stat().st_mtime_ns == before
    assert sorted(p.name for p in images.iterdir()) == sorted(
        ["images", "part.zip", "mr.zip", "mr.json"]
    )


@pytest.mark.parametrize("target", ["part.zip", "mr.zip"])
def test_what_is_not_the_series_is_not_replaced(images: Path, target: str) -> None:
    ct, mr = find("images")
    fetch(mr, "mr.zip")
    before = (images / target).read_bytes()
    with pytest.raises(SeriesportError) as caught:
        fetch(ct, target)
    assert caught.value.code == "destination-conflict"
    assert (images / target).read_bytes() == before


def test_an_address_of_several_series_names_them(images: Path) -> None:
    assert images.is_dir()
    with pytest.raises(SeriesportError) as caught:
        fetch("images", "out")
    assert caught.value.code == "ambiguous"
    assert "series 1 (CT, 5 instances); series 2 (MR, 6 instances)" in caught.value.message
