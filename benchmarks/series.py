"""Series beside imagedata, and beside dcm2niix where it applies: `python benchmarks/series.py`.

A CT of 200 slices and an MR of 40 times 30 slices are read from a folder, a bundle and an archive
(Orthanc), and written as NIfTI and DICOM. Every run is a process of its own that reads the series
and, where the row is about writing, writes it; the time is that of the row's work alone, memory
is that of the whole process. imagedata reads `dicom://` with the patch of `whole_job.py`; from the
archive it takes minutes for an MR, which `--all` includes. CPU seconds hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import archives
import whole_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from archives import Run

TIMES_FASTER, MEMORY_SHARE, BESIDE_DCM2NIIX = 10, 0.5, 2.5
ORDERS = {"CT": "none", "MR": "time"}


@dataclass
class Bench:
    """One series, wherever it is read from."""

    kind: str
    sources: dict[str, str]
    room: Path
    python: Path

    def row(self, who: str, source: str, work: str) -> Run:
        """One measured process."""
        out = self.room / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        place = self.sources[source]
        if who == "dcm2niix":
            return archives.run([_dcm2niix(), "-z", "n", "-f", "x", "-o", str(out), place])
        words = [__file__, who, place, ORDERS[self.kind], work, str(out)]
        if who == "seriesport":
            done = archives.run([sys.executable, *words])
        else:
            launch = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
            theirs = [str(self.python), *words]
            done = archives.run([sys.executable, "-S", "-E", "-c", launch, *theirs])
        if work != "read" and not any(path.is_file() for path in out.rglob("*")):
            raise RuntimeError(f"{who} wrote nothing")
        return done


def _dcm2niix() -> str:
    import dcm2niix

    return str(dcm2niix.bin)


def main() -> None:
    """Build the series, run everything in turn, and print the tables."""
    import data
    import peers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(ORDERS))
    parser.add_argument("--slices", type=int, default=200, help="of the CT")
    parser.add_argument("--times", type=int, default=40, help="of the MR, of 30 slices each")
    parser.add_argument("--all", action="store_true", help="imagedata's MR from the archive too")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    python = whole_job.environment()
    folder = Path(tempfile.mkdtemp(prefix="seriesport-bench-", dir=options.folder))
    try:
        made = {
            "CT": lambda: data.ct(
                folder / "CT", data.identity("CT"), slices=options.slices, size=512
            ),
            "MR": lambda: data.mr(
                folder / "MR", data.identity("MR"), times=options.times, slices=30, size=128
            ),
        }
        with peers.Orthanc(folder / "orthanc", "SOURCE") as archive:
            for kind in options.kinds:
                sources = _places(made[kind](), folder / kind, archive)
                bench = Bench(kind, sources, folder, python)
                _measure(bench, options.rounds, slow=options.all or kind == "CT")
    finally:
        shutil.rmtree(folder)


def _places(made: Any, folder: Path, archive: Any) -> dict[str, str]:
    bundle = folder.with_suffix(".zip")
    # In a process of its own: a child's peak memory begins with that of its parent.
    make = (
        "import sys; from pathlib import Path; from seriesport.store.bundle import write_bundle;"
        "from seriesport.dicom.part10 import load_instance;"
        "files = sorted(Path(sys.argv[1]).iterdir());"
        "write_bundle(Path(sys.argv[2]), map(load_instance, files), source='file')"
    )
    subprocess.run([sys.executable, "-c", make, str(folder), str(bundle)], check=True)
    archive.store(made.paths)
    who = made.identity
    place = f"{who.patient_id}/{who.study_instance_uid}/{who.series_instance_uid}"
    return {
        "folder": str(folder),
        "bundle": str(bundle),
        "archive": f"dicom://{archive.host}:{archive.port}/{archive.aet}/{place}",
    }


def _measure(bench: Bench, rounds: int, *, slow: bool) -> None:
    jobs = [
        ("read a folder", "folder", "read"),
        ("read a bundle", "bundle", "read"),
        ("read an archive", "archive", "read"),
        ("write .nii.gz", "folder", "nifti"),
        ("write DICOM", "folder", "dicom"),
        ("folder to .nii", "folder", "all"),
    ]
    files = sum(path.stat().st_size for path in Path(bench.sources["folder"]).iterdir()) / 1e6
    print(f"\n{bench.kind}, {files:.0f} MB, {rounds} rounds, medians")
    print(f"{'':18}{'':12}{'wall s':>8}{'CPU s':>8}{'MiB':>7}{'faster':>9}{'memory':>8}")
    for title, source, work in jobs:
        rivals = ["imagedata", "seriesport"]
        if work == "all":
            rivals = ["dcm2niix", *rivals]
        if source == "archive" and not slow:
            rivals = ["seriesport"]
        ways: dict[str, Callable[[], Run]] = {
            who: lambda who=who: bench.row(who, source, work)  # noqa: B023 - run in this turn
            for who in rivals
        }
        turns = 1 if source == "archive" else rounds  # imagedata takes a minute or two
        runs = archives.alternate(ways, turns)
        reference = runs.get("dcm2niix" if work == "all" else "imagedata")
        for who in rivals:
            _line(title, who, runs[who], reference)


def _line(title: str, who: str, some: list[Run], reference: list[Run] | None) -> None:
    wall, cpu = (_median(some, name) for name in ("wall", "cpu"))
    memory = max(run.memory for run in some)
    ratios = ""
    if reference is not None:
        faster = _median(reference, "wall") / wall
        share = memory / max(run.memory for run in reference)
        ratios = f"{faster:>8.2f}x{share:>8.2f}"
    print(f"{title:18}{who:12}{wall:>8.3f}{cpu:>8.2f}{memory:>7.0f}{ratios}", flush=True)


def _median(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def ours(source: str, order: str, work: str, out: str) -> None:
    """One measured run of ours; imports are not counted."""
    import pynetdicom  # noqa: F401 - imported late by the engine: start-up

    import seriesport.transports.archive.transport  # noqa: F401 - likewise
    from seriesport import Series

    start = time.perf_counter()
    series = Series(source, input_order=order)
    if work in ("nifti", "dicom"):
        start = time.perf_counter()
    if work == "nifti":
        series.write(f"{out}/x.nii.gz")
    elif work == "dicom":
        series.write(f"{out}/dicom")
    elif work == "all":
        series.write(f"{out}/x.nii")
    whole_job.tell(time.perf_counter() - start)


def imagedata(source: str, order: str, work: str, out: str) -> None:
    """One measured run of imagedata; imports are not counted."""
    whole_job.leave_ours_out()
    from imagedata.series import Series

    whole_job.patch_imagedata()
    start = time.perf_counter()
    series = Series(source, order)
    if work in ("nifti", "dicom"):
        start = time.perf_counter()
    if work in ("nifti", "all"):
        series.write(f"{out}/nifti", formats=["nifti"])
    elif work == "dicom":
        series.write(f"{out}/dicom", formats=["dicom"], opts={"keep_uid": True})
    whole_job.tell(time.perf_counter() - start)


if __name__ == "__main__":
    if sys.argv[1:2] == ["seriesport"]:
        ours(*sys.argv[2:])
    elif sys.argv[1:2] == ["imagedata"]:
        imagedata(*sys.argv[2:])
    else:
        main()
