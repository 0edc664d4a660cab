"""Download from an XNAT and upload to it, beside xnatpy's own `download_dir` and `upload_dir`.

The server is the tests' own, as a process of its own. Ours lists, fetches each file, checks size
and MD5 and writes a bundle; an upload is listed and compared by MD5 afterwards. xnatpy moves one
ZIP or tar, and checks nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

import archives

ROOT = Path(__file__).resolve().parent.parent
XNATPY = ROOT / ".venv" / "clients" / "xnatpy" / "bin" / "python"
USER, PASSWORD = "admin", "admin"  # the test server's

_THEIRS = """
import json, sys, time, xnat
way, url, folder, model, scan = sys.argv[1:]
options = {"none": {"no_parse_model": True}, "core": {"extension_types": False}, "full": {}}[model]
start = time.perf_counter()
session = xnat.connect(url, user="admin", password="admin", loglevel="ERROR", **options)
if way != "connect":
    experiment = session.projects["P"].subjects["S"].experiments["E"]
    if way == "download":
        experiment.scans["1"].resources["DICOM"].download_dir(folder, verbose=False)
    else:
        made = session.classes.MrScanData(id=scan, type=scan, parent=experiment)
        made.create_resource("DICOM").upload_dir(folder)
wall = time.perf_counter() - start
session.disconnect()
print(json.dumps({"wall": wall}))
"""


def ours(way: str, url: str, folder: str, scan: str) -> None:
    """Our side of a way, in a process of its own; what it imports counts as little as xnatpy."""
    sys.path.remove(str(Path(__file__).parent))  # where `xnat` would be this file
    import seriesport.transports.xnat.transport  # noqa: F401 - the registry imports it when it is needed
    from seriesport.config.settings import Settings
    from seriesport.dicom.part10 import load_instance
    from seriesport.transports.fetch import fetch_series
    from seriesport.transports.registry import open_transport, parse
    from seriesport.transports.xnat.server import XnatServer

    settings = Settings({"xnat": XnatServer("xnat", url=url)})
    start = time.perf_counter()
    address = parse(f"xnat://xnat/P/S/E/{scan}")
    with open_transport(address, settings) as transport:
        if way == "connect":
            transport.find(parse("xnat://xnat/EMPTY"))
        elif way == "download":
            (series,) = transport.find(address)
            room = Path(folder)
            fetch_series(transport, series, room / "bundle.zip", room / "staging")
        else:
            instances = [load_instance(path) for path in sorted(Path(folder).iterdir())]
            receipt = transport.store(instances, address)
            if not receipt.complete:
                raise RuntimeError("the upload is not complete")
    wall = time.perf_counter() - start
    print(json.dumps({"wall": wall, "memory": archives.peak_memory()}))


def main() -> None:
    """Print the tables."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ |= {"SERIESPORT_USER_XNAT": USER, "SERIESPORT_PASSWORD_XNAT": PASSWORD}
    import data  # the tests' builders; archives put them on the path

    with TemporaryDirectory(prefix="xnat-") as room:
        who = data.identity("xnat benchmark")
        made = data.mr(Path(room, "mr"), who, times=1, slices=given.files, size=512)
        megabytes = sum(path.stat().st_size for path in made.paths) / 1e6
        with Served(Path(room), made.paths) as served:
            ways = {
                "xnatpy, no model": lambda: served.theirs("connect", model="none"),
                "xnatpy, core model": lambda: served.theirs("connect", model="core"),
                "seriesport, with a first listing": lambda: served.ours("connect"),
            }
            runs = archives.alternate(ways, given.rounds)
            archives.table("Connect", runs, "xnatpy, no model", 0)
            ways = {
                "xnatpy download_dir (one ZIP)": lambda: served.theirs("download"),
                "seriesport, proven, into a bundle": lambda: served.ours("download"),
            }
            runs = archives.alternate(ways, given.rounds)
            title = f"{given.files} files, {megabytes:.0f} MB: download"
            archives.table(title, runs, "xnatpy download_dir (one ZIP)", megabytes)
            ways = {
                "xnatpy upload_dir (one tar.gz)": lambda: served.theirs("upload"),
                "seriesport, compared afterwards": lambda: served.ours("upload"),
            }
            runs = archives.alternate(ways, given.rounds)
            title = f"{given.files} files, {megabytes:.0f} MB: upload"
            archives.table(title, runs, "xnatpy upload_dir (one tar.gz)", megabytes)


class Served:
    """The server with one scan of DICOM files, and both clients' ways to use it."""

    def __init__(self, room: Path, paths: list[Path]) -> None:
        self.room = room
        self.paths = paths
        self.scans = 100

    def __enter__(self) -> Served:
        from peers.xnat import Xnat

        with Xnat(self.room / "server") as filling:
            filling.add_project("EMPTY")
            filling.add_scan("P", "S", "E", "1", {path.name: path for path in self.paths})
        command = [sys.executable, "-m", "peers.xnat", str(self.room / "server")]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def ours(self, way: str) -> archives.Run:
        """One run of ours."""
        folder, scan = self._folder(way)
        return archives.run([sys.executable, __file__, "ours", way, self.url, folder, scan])

    def theirs(self, way: str, model: str = "core") -> archives.Run:
        """One run of xnatpy."""
        folder, scan = self._folder(way)
        # Through our Python, for whose children alone `run` reads the times that they print.
        launch = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
        them = [str(XNATPY), "-I", "-c", _THEIRS, way, self.url, folder, model, scan]
        return archives.run([sys.executable, "-S", "-E", "-c", launch, *them])

    def _folder(self, way: str) -> tuple[str, str]:
        """A folder for a run, and the scan that it is about; each upload makes a new one."""
        if way == "upload":
            self.scans += 1
            return str(self.paths[0].parent), str(self.scans)
        folder = self.room / "out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return str(folder), "1"


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(*sys.argv[2:])
    else:
        main()
