"""C-STORE beside DCMTK's storescu: `python benchmarks/archive_store.py --series 4 --rounds 5`.

Every way sends the same series of CT slices (0.5 MB each) to a storescp, which only receives, and
to an Orthanc, where ours also lists what is there before and after, and proves that all arrived.
`TCP_NODELAY=1` before the command sets it for the archive too; without it every message of
storescu waits 43 ms for a stock archive.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import archives
import data
import peers
from peers.process import program

SENDING = Path(__file__).with_name("sending.py")
REFERENCE = "storescu, TCP_NODELAY=1"


def main() -> None:
    """Measure against each archive, and print a table."""
    options = archives.parser(str(__doc__), 4, ["Storescp", "Orthanc"], "storescu")
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seriesport-bench-", dir=arguments.folder))
    try:
        who = data.identity("archive_store")
        folders = [folder / f"ct{i}" for i in range(arguments.series)]
        for i, one in enumerate(folders):
            series = who.series(i + 1, seed=f"archive_store {i}")
            data.ct(one, series, slices=arguments.slices, size=arguments.size)
        for name in arguments.archives:
            with getattr(peers, name)(folder / name) as peer:
                _measure(arguments, peer, folders)
            shutil.rmtree(folder / name)
    finally:
        shutil.rmtree(folder)


def _measure(
    arguments: argparse.Namespace, peer: peers.Orthanc | peers.Storescp, folders: list[Path]
) -> None:
    storescu = [program("storescu"), "+sd", "-R", "-aec", peer.aet, peer.host, str(peer.port)]
    storescu += map(str, folders)
    count = arguments.series * arguments.slices

    def way(command: list[str], environment: dict[str, str] | None = None) -> archives.Run:
        done = archives.run(command, environment)
        if isinstance(peer, peers.Orthanc):
            arrived = len(peer.instances())
            peer.clear()
        else:
            arrived = len(peer.files())
            for path in peer.files():
                path.unlink()
        if arrived != count:
            raise RuntimeError(f"{arrived} instances arrived instead of {count}")
        return done

    def ours(pool: str, workers: int) -> archives.Run:
        given = [pool, str(workers), peer.url, *map(str, folders)]
        return way([sys.executable, str(SENDING), *given])

    ways = {
        REFERENCE: lambda: way(storescu, {"TCP_NODELAY": "1"}),
        "ours, one association": lambda: ours("one", 1),
    }
    if arguments.series > 1:
        ways[f"ours, {arguments.parallel} threads"] = lambda: ours("threads", arguments.parallel)
    if arguments.nagle:
        ways["storescu, as shipped"] = lambda: way(storescu)
    mb = sum(path.stat().st_size for one in folders for path in one.iterdir()) / 1e6
    title = f"{type(peer).__name__}: {arguments.series} series of {arguments.slices}, {mb:.0f} MB"
    archives.table(title, archives.alternate(ways, arguments.rounds), REFERENCE, mb)


if __name__ == "__main__":
    main()
