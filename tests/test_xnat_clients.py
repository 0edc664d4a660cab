"""Three clients that others wrote find, fetch and store on the XNAT that the tests talk to."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers.xnat import Xnat
from peers.xnat.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ENVIRONMENTS = Path(__file__).parents[1] / ".venv" / "clients"
SCRIPTS = Path(__file__).parent / "peers" / "xnat" / "clients"
CONTENT = {"1.dcm": os.urandom(3000), "2.dcm": b"\r\n\0" * 400, "3.dcm": b"x"}
SENT = {"a.bin": os.urandom(5000), "b.txt": b"text\r\n", "c.nii": b"\0" * 70000}


@pytest.fixture(params=["1.8", "1.6.4"])
def xnat(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Xnat]:
    """A server of either age with an experiment of two scans."""
    with Xnat(tmp_path / "xnat", request.param) as server:
        server.add_scan("P", "S", "E", "1", CONTENT, type="T1w")
        server.add_scan("P", "S", "E", "2", {"x.dcm": b"x"}, type="T2w")
        yield server


def run(name: str, xnat: Xnat, folder: Path, *options: str) -> None:
    """Have a client list scan 1, fetch it to `down` (and `zip`), and store what is in `up`."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{name} is not installed; type: make peers", pytrace=False)
    (folder / "up").mkdir()
    for file, content in SENT.items():
        (folder / "up" / file).write_bytes(content)
    command = [python, "-I", SCRIPTS / f"use_{name}.py", xnat.url, folder, *options]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("XNAT")}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env={**clean, "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert seen == {"scans": {"1": "T1w", "2": "T2w"}, "files": sorted(CONTENT)}
    assert fetched(folder / "down") == CONTENT
    if (folder / "zip").exists():
        assert fetched(folder / "zip") == CONTENT


def fetched(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", ["full", "core", "none"])
def test_xnatpy_lists_fetches_and_stores(xnat: Xnat, tmp_path: Path, model: str) -> None:
    run("xnatpy", xnat, tmp_path, model)
    assert xnat.stored("P", "E", "9", "NEW") == SENT
    if model != "none":
        bulk = xnat.stored("P", "E", "9", "BULK")
        # The tar that xnatpy packs has extended headers, which XNAT takes for files.
        bulk.pop("@PaxHeader", None)
        assert bulk == SENT
    assert xnat.open_sessions == {}


def test_pyxnat_lists_fetches_and_stores(xnat: Xnat, tmp_path: Path) -> None:
    run("pyxnat", xnat, tmp_path)
    assert xnat.stored("P", "E2", "9", "NEW") == SENT
    assert xnat.stored("P", "E2", "9", "BULK") == SENT
    scan = xnat.scan("P", "E2", "9")
    assert scan is not None
    assert scan.fields == {"type": "T2w"}
    assert xnat.open_sessions == {}


def test_yaxil_lists_fetches_and_stores(xnat: Xnat, tmp_path: Path) -> None:
    run("yaxil", xnat, tmp_path)
    session = xnat.experiment("P", "E")
    assert session is not None
    resource = f"/data/experiments/{session.id}/assessors/QC/resources/NEW"
    with Talk(xnat.url) as client:
        assert client.names(f"{resource}/files") == sorted(SENT)
        for name, content in SENT.items():
            assert client("GET", f"{resource}/files/up/{name}") == (200, content)
