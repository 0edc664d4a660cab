"""The whole job for one series, beside imagedata: `python benchmarks/whole_job.py --rounds 3`.

Seriesport fetches a CT from one Orthanc, converts it to NIfTI and a preview, and uploads it to
another Orthanc, each step proven: in one process, as a shard's jobs do it, and as three.
imagedata does the same two ways, without preview and proof: from archive to archive by `dicom://`,
which fails on this archive as it stands (it asks for the instances with the UID `*`) and is
patched here in that one place; and the easier job from and to folders, without any network.
Memory is that of the largest process, dcm2niix among them.

imagedata goes into a virtual environment of its own below the cache folder, at the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import archives

if TYPE_CHECKING:
    from archives import Run

IMAGEDATA = "imagedata==3.10.0"
TIMES_FASTER, MEMORY_SHARE = 20, 1 / 5
STEPS = ("fetch", "convert", "upload")
REFERENCE = "imagedata (patched), archive to archive"
FOLDERS = "imagedata, folder to folder"


def environment() -> Path:
    """The Python that has imagedata; made where it is missing (a minute or two)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "seriesport" / IMAGEDATA.replace("==", "-")
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        print(f"installing {IMAGEDATA} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, IMAGEDATA], check=True)
        whole.touch()
    return python


@dataclass
class Bench:
    """Both archives, the files, and a way to run each competitor once."""

    python: Path
    files: Path
    slices: int
    source: Any
    destination: Any
    patient: str
    study: str
    series: str
    folder: Path
    formats: str
    steps: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))

    def ours(self, *groups: tuple[str, ...]) -> Run:
        """The steps in as many processes as there are groups; times add up."""
        self.destination.clear()
        results = self.folder / "results"
        shard = self._plan(results)
        runs: list[Run] = []
        for steps in groups:
            me = [sys.executable, __file__, "ours", str(results), shard, self.formats, *steps]
            runs.append(archives.run(me))
            if len(groups) > 1:
                self.steps[f"  {steps[0]}"].append(runs[-1])
        arrived = len(self.destination.instances())
        images = len(list(results.glob("converted/*/*.nii.gz")))
        if (arrived, images) != (self.slices, 1):
            raise RuntimeError(f"{arrived} of {self.slices} instances, {images} images")
        shutil.rmtree(results)
        return archives.Run(
            sum(run.wall for run in runs),
            sum(run.process for run in runs),
            sum(run.cpu for run in runs),
            max(run.memory for run in runs),
        )

    def imagedata(self) -> Run:
        """Read the series from the archive, write NIfTI, and DICOM to the other archive."""
        self.destination.clear()
        source = f"{self.source.url}/{self.patient}/{self.study}/{self.series}"
        done = self._theirs(source, self.destination.url)
        arrived = len(self.destination.instances())
        if arrived != self.slices:
            raise RuntimeError(f"{arrived} of {self.slices} instances")
        return done

    def folders(self) -> Run:
        """Read the folder, write NIfTI and DICOM to folders."""
        out = self.folder / "written"
        done = self._theirs(str(self.files), str(out))
        written = len(list(out.glob("*.dcm")))
        if written != self.slices:
            raise RuntimeError(f"{written} of {self.slices} instances")
        shutil.rmtree(out)
        return done

    def _theirs(self, source: str, destination: str) -> Run:
        images = self.folder / "nifti"
        theirs = [str(self.python), __file__, "imagedata", source, str(images), destination]
        # Through our Python, for whose children alone `run` reads the times that they print.
        launch = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        done = archives.run([sys.executable, "-S", "-E", "-c", launch, *theirs])
        if not list(self.folder.glob("nifti*")):
            raise RuntimeError("no image")
        for path in self.folder.glob("nifti*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return done

    def _plan(self, results: Path) -> str:
        from seriesport.config.settings import Settings
        from seriesport.workflow.plan import plan_cohort
        from seriesport.workflow.shard import Results

        cohort = self.folder / "cohort.yaml"
        entry = {
            "source": self.source.url,
            "study": self.study,
            "destinations": [self.destination.url],
        }
        cohort.write_text(json.dumps({"cohort": [entry]}))  # JSON is YAML
        cohort.chmod(0o600)
        plan = plan_cohort(Results(results), cohort, Settings())
        if len(plan.series) != 1:
            raise RuntimeError(f"planned {len(plan.series)} series: {plan.problems}")
        return plan.series[0].shard


def main() -> None:
    """Fill the source archive, run everything in turn, and print the tables."""
    import data  # not at the top, for the measured children
    import peers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", default="nifti,preview", help="what Seriesport makes")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    python = environment()
    folder = Path(tempfile.mkdtemp(prefix="seriesport-bench-", dir=options.folder))
    try:
        who = data.identity("whole_job")
        made = data.ct(folder / "ct", who, slices=options.slices, size=options.size)
        size = sum(path.stat().st_size for path in made.paths) / 1e6
        with (
            peers.Orthanc(folder / "source", "SOURCE") as source,
            peers.Orthanc(folder / "destination", "DESTINATION") as destination,
        ):
            source.store(made.paths)
            bench = Bench(
                python,
                folder / "ct",
                options.slices,
                source,
                destination,
                who.patient_id,
                who.study_instance_uid,
                who.series_instance_uid,
                folder,
                options.formats,
            )
            ways = {
                REFERENCE: bench.imagedata,
                FOLDERS: bench.folders,
                "seriesport, one process": lambda: bench.ours(STEPS),
                "seriesport, three processes": lambda: bench.ours(*((s,) for s in STEPS)),
            }
            runs = archives.alternate(ways, options.rounds)
    finally:
        shutil.rmtree(folder)
    title = f"One CT of {options.slices}, {size:.0f} MB, {options.rounds} rounds, medians"
    archives.table(title, runs | bench.steps, REFERENCE, size)
    verdict(runs)


def verdict(runs: dict[str, list[Run]]) -> None:
    """Print how far each way of ours is from the aim, and how far its rounds lie apart."""
    for reference in (REFERENCE, FOLDERS):
        theirs = runs[reference]
        print(f"\n{'beside ' + reference:48}{'wall s, all rounds':>20}", end="")
        print(f"{'faster':>8}{'aim':>7}{'memory':>9}{'aim':>8}")
        for name, some in runs.items():
            walls = [run.wall for run in some]
            spread = f"{min(walls):.2f} to {max(walls):.2f}"
            if name == reference:
                print(f"{name:48}{spread:>20}")
            elif name not in (REFERENCE, FOLDERS):
                faster = _median(theirs, "wall") / _median(some, "wall")
                memory = max(run.memory for run in some) / max(run.memory for run in theirs)
                print(
                    f"{name:48}{spread:>20}{faster:>7.1f}x{f'>={TIMES_FASTER}x':>7}"
                    f"{memory:>9.2f}{f'<={MEMORY_SHARE:.2f}':>8}"
                )


def _median(runs: list[Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in runs)


def ours(results: str, shard: str, formats: str, *steps: str) -> None:
    """One measured run of ours; its start-up is not counted."""
    import pynetdicom  # noqa: F401 - imported late by the engine: start-up

    from seriesport.config.settings import Settings
    from seriesport.workflow.convert import convert_shard
    from seriesport.workflow.fetch import fetch_shard
    from seriesport.workflow.shard import Results
    from seriesport.workflow.upload import upload_shard

    folder = Results(Path(results))
    work = {
        "fetch": lambda: fetch_shard(folder, shard, Settings()),
        "convert": lambda: convert_shard(folder, shard, formats.split(","), ["dicom"]),
        "upload": lambda: upload_shard(folder, shard, ["dicom"], Settings()),
    }
    start = time.perf_counter()
    for step in steps:
        for line in work[step]():
            if line.status != "complete":
                raise RuntimeError(f"{step}: {line.status}: {line.detail} [{line.code}]")
    tell(time.perf_counter() - start)


def imagedata(source: str, images: str, destination: str) -> None:
    """One measured run of imagedata; its start-up is not counted."""
    leave_ours_out()
    from imagedata.series import Series

    patch_imagedata()
    start = time.perf_counter()
    series = Series(source)
    series.write(images, formats=["nifti"])
    series.write(destination, formats=["dicom"], opts={"keep_uid": True})
    tell(time.perf_counter() - start)


def leave_ours_out() -> None:
    """Let `import xnat` of imagedata find xnatpy, not the benchmark beside this one."""
    here = Path(__file__).parent
    sys.path[:] = [p for p in sys.path if Path(p) not in (here, here.parent / "tests")]


def patch_imagedata() -> None:
    """Let imagedata's `dicom://` ask for all instances without the UID `*`."""
    from imagedata.transports.dicomtransport import DicomTransport

    ask = DicomTransport._cfind_instances  # noqa: SLF001 - the one place that is patched

    def instances(self: object, study: str, series: str, search: str | None) -> object:
        return ask(self, study, series, "" if search is None else search)

    DicomTransport._cfind_instances = instances  # noqa: SLF001


def tell(wall: float) -> None:
    """The answer of a measured run: its seconds."""
    print(json.dumps({"wall": wall}))  # memory is the runner's: dcm2niix counts as well


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(*sys.argv[2:])
    elif sys.argv[1:2] == ["imagedata"]:
        imagedata(*sys.argv[2:])
    else:
        main()
