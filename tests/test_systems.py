"""Other systems than Linux. No test runs on one: Python is made to lack what it lacks there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import data

HERE = Path(__file__).parent
CODE = """
import importlib, os, pkgutil, sys
from pathlib import Path
assert sys.platform == "darwin" and not hasattr(os, "O_PATH")
import seriesport
for module in pkgutil.walk_packages(seriesport.__path__, "seriesport."):
    importlib.import_module(module.name)
from seriesport import Series, SeriesportError
from seriesport.cli.main import main
from seriesport.serve.archive import Archive
from seriesport.workflow.conversion import convert

def run(*arguments):
    try:
        main(list(map(str, arguments)))
    except SystemExit as end:
        assert not end.code, arguments

room = Path(sys.argv[1])
fetched, packed = room / "fetched", room / "all.zip"
with Archive(room / "images") as archive:
    run("ls", archive.url)
    run("cp", archive.url, fetched)
    run("cp", fetched, packed)
    run("verify", packed, "--against", archive.url)
    native = Series(f"{archive.url}/MAC")
native.write(room / "x.nii.gz")
assert (Series(room / "x.nii.gz") == native).all()
assert Series(room / "compressed").shape == native.shape
convert(sorted(fetched.rglob("*.dcm")), "KEY", room / "out", ["nifti", "preview"], room)
(room / "x.ps").write_text("%!PS\\nshowpage\\n")
try:
    Series(room / "x.ps")
except SeriesportError as error:
    print(error)
"""


def test_macos_lacks_nothing_that_reading_writing_and_copying_need(tmp_path: Path) -> None:
    data.ct(tmp_path / "images", data.identity("mac", patient_id="MAC"), slices=3)
    data.ct(tmp_path / "compressed", data.identity("mac 2"), slices=3, syntax="rle")
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path],
        env=os.environ | {"PYTHONPATH": str(HERE / "macos")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "fetched").rglob("*.dcm"))) == 3
    assert "programs can be confined on Linux alone [sandbox-missing]" in done.stdout


def test_windows_is_refused_in_a_sentence() -> None:
    code = "import sys; sys.platform = 'win32'; import seriesport"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1].endswith(
        "Seriesport does not run on Windows; install it in WSL, which is a Linux"
    )
