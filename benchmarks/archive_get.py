"""C-GET beside DCMTK's getscu: `python benchmarks/archive_get.py --series 20 --rounds 5`.

Every way receives the same series of CT slices (0.5 MB each) into files. `engine` only receives;
`proven` lists what is expected before and after, checks every data set to its last element, and
takes SHA-256 and CRC-32 of each; `bundle` writes the series as bundles besides; `cp` is the
command, which writes folders. `--delay 20` puts the archive 20 ms of round-trip time away.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import archives
import data
import peers
from delay import delayed
from peers.process import program

RECEIVING = Path(__file__).with_name("receiving.py")
REFERENCE = "getscu -B, TCP_NODELAY=1"


def main() -> None:
    """Fill each archive, measure, print a table."""
    options = archives.parser(str(__doc__), 20, ["Orthanc", "Dcmqrscp"], "getscu")
    options.add_argument("--delay", type=float, default=0.0, help="round-trip time in ms")
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seriesport-bench-", dir=arguments.folder))
    try:
        who = data.identity("archive_get")
        paths: list[Path] = []
        for i in range(arguments.series):
            made = data.ct(
                folder / f"ct{i}",
                who.series(i + 1, seed=f"archive_get {i}"),
                slices=arguments.slices,
                size=arguments.size,
            )
            paths += made.paths
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        for name in arguments.archives:
            with getattr(peers, name)(folder / name) as peer:
                peer.store(paths)
                with delayed(peer.port, arguments.delay / 1000) as port:
                    _measure(arguments, peer, port, who, folder, megabytes)
            shutil.rmtree(folder / name)
    finally:
        shutil.rmtree(folder)


def _measure(
    arguments: argparse.Namespace,
    peer: peers.Orthanc | peers.Dcmqrscp,
    port: int,
    who: data.Identity,
    folder: Path,
    mb: float,
) -> None:
    out = folder / "out"
    study = who.study_instance_uid
    count = arguments.series * arguments.slices
    getscu = [program("getscu"), "-B", "-od", str(out), "-aec", peer.aet, "-S"]
    getscu += ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    getscu += [peer.host, str(port)]
    address = f"dicom://{peer.host}:{port}/{peer.aet}//{study}"

    def way(command: list[str], environment: dict[str, str] | None = None) -> archives.Run:
        out.mkdir()
        done = archives.run(command, environment)
        files = sum(1 for path in out.rglob("*.dcm")) + sum(1 for path in out.glob("CT.*"))
        bundles = len(list(out.glob("*.zip")))
        if files != count and bundles != arguments.series:
            raise RuntimeError(f"{files} files and {bundles} bundles instead of {count} instances")
        shutil.rmtree(out)
        return done

    def ours(mode: str, pool: str = "one", workers: int = 1) -> archives.Run:
        me = [sys.executable, str(RECEIVING), mode, pool, str(workers), address, str(out)]
        return way(me)

    def cp(associations: int) -> archives.Run:
        config = folder / "config.yaml"
        server = {"host": peer.host, "port": port, "associations": associations}
        config.write_text(json.dumps({"servers": {"far": server}}))
        copy = [str(Path(sys.executable).with_name("seriesport")), "cp", "--config", str(config)]
        copy += [f"dicom://far/{peer.aet}//{study}", str(out)]
        return way(copy, {"XDG_CACHE_HOME": str(folder / "cache")})

    n = arguments.parallel
    ways = {
        REFERENCE: lambda: way(getscu, {"TCP_NODELAY": "1"}),
        "engine, one association": lambda: ours("engine"),
        "proven, one association": lambda: ours("proven"),
        "bundle, one association": lambda: ours("bundle"),
    }
    if arguments.series > 1:
        ways |= {
            f"proven, {n} threads": lambda: ours("proven", "threads", n),
            "proven, 2 threads": lambda: ours("proven", "threads", 2),
            f"proven, {n} processes": lambda: ours("proven", "processes", n),
            "proven, 2 processes": lambda: ours("proven", "processes", 2),
            f"cp, {n} associations": lambda: cp(n),
            "cp, 2 associations": lambda: cp(2),
            "cp, 1 association": lambda: cp(1),
        }
    if arguments.nagle:
        ways["getscu -B, as shipped"] = lambda: way(getscu)
    title = f"{type(peer).__name__}: {arguments.series} series of {arguments.slices}, {mb:.0f} MB"
    title += f", {arguments.delay:g} ms away" if arguments.delay else ""
    archives.table(title, archives.alternate(ways, arguments.rounds), REFERENCE, mb)


if __name__ == "__main__":
    main()
