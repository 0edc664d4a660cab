"""How the jobs of a run share what a server bears."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from seriesport.config.hours import Hours
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.store.sealed import write_sealed
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.registry import parse, server_of
from seriesport.transports.xnat.server import XnatServer
from seriesport.workflow.rules import fetching, granted, limits, uploading
from seriesport.workflow.shares import check_granted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = {
    "x": XnatServer("x", "https://h", connections=5),
    "pacs": DicomServer("pacs", "h", 104, associations=4),
}


LOG = "results/logs/fetch/{shard}.log"
PACS = SimpleNamespace(shard="pacs-0001")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A plan: ten shards of an archive, and one each of an XNAT, a host, and a folder."""
    rows = [f"pacs-{n:04d}\t100\tpacs\t" for n in range(1, 11)]
    rows += ["x-0001\t1\tx\t", "h.example-0001\t3\th_example\t", "local-0001\t1\tlocal\tx"]
    rows += ["local-0002\t1\tlocal,pacs\t"]  # with a template from the archive
    path = tmp_path / "shards.tsv"
    write_sealed(path, lambda: [f"{row}\t5\tno\n".encode() for row in rows])
    return path


def taken(index: Path, shard: str, *, jobs: int | None = 1, kind: Any = fetching) -> dict[str, int]:
    counts = kind(str(index), SERVERS, jobs, LOG)
    wildcards = SimpleNamespace(shard=shard)
    found = {name: counts[name](wildcards) for name in counts if name.startswith("archive_")}
    return {name: count for name, count in found.items() if count}


def test_the_workflow_holds_a_servers_connections_over_all_jobs(index: Path) -> None:
    assert limits(SERVERS) == {"archive_unnamed": 4, "archive_x": 5, "archive_pacs": 4}
    assert taken(index, "x-0001") == {"archive_x": 2}
    assert taken(index, "h.example-0001") == {"archive_unnamed": 3}
    assert taken(index, "local-0001") == {}
    assert taken(index, "local-0001", kind=uploading) == {"archive_x": 2}
    settings = granted(Settings(SERVERS), {"archive_x": 3, "archive_unnamed": 1})
    assert settings.servers["x"].at_once == 3
    for address in ("dicom://h.example:104/A", "xnat://h.example/P"):
        server = server_of(parse(address), settings)
        assert server is not None
        assert server.at_once == 1


@pytest.mark.parametrize("share", [{}, {"archive_pacs": 0}, {"archive_x": 5, "mem_mb": 9000}])
def test_a_job_without_a_share_of_a_server_does_not_talk_to_it(share: dict[str, int]) -> None:
    settings = granted(Settings(SERVERS), share)
    check_granted(settings, [parse("folder"), parse("file.zip?a")])
    with pytest.raises(SeriesportError, match=r"lack archive_pacs=1, archive_unnamed=1 .*set-res"):
        check_granted(settings, map(parse, ("dicom://pacs/A", "dicom://h.example:104/A/1")))
    settings = granted(Settings(SERVERS), {"archive_pacs": 1, "archive_unnamed": 1})
    check_granted(settings, map(parse, ("dicom://pacs/A", "dicom://h.example:104/A/1")))
    check_granted(Settings(SERVERS), [parse("xnat://x/P")])  # of a command, which takes no share


@pytest.mark.parametrize(("jobs", "each"), [(1, "444"), (2, "222"), (3, "211"), (None, "111")])
def test_jobs_that_run_at_one_time_share_an_archive_evenly(
    index: Path, jobs: int | None, each: str
) -> None:
    shares = [taken(index, f"pacs-{n:04d}", jobs=jobs)["archive_pacs"] for n in (1, 2, 3)]
    assert "".join(map(str, shares)) == each


@contextmanager
def _at(monkeypatch: pytest.MonkeyPatch, hour: int) -> Iterator[None]:
    class Clock(datetime):
        @classmethod
        def now(cls, _: object = None) -> datetime:
            return datetime(2026, 3, 10, hour)  # noqa: DTZ001 - local time is what is asked

    with monkeypatch.context() as patch:
        patch.setattr("seriesport.config.hours.datetime", Clock)
        yield


def test_slurm_holds_a_fetch_back_until_the_window_opens_by_the_time_at_which_it_is_sent(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = DicomServer("pacs", "h", 104, window=Hours.parse("19:00-06:00"))
    with _at(monkeypatch, 20):
        extra = fetching(str(index), {**SERVERS, "pacs": night}, None, LOG)["slurm_extra"]
        option, templates = extra(PACS), extra(SimpleNamespace(shard="local-0002"))
        assert f"sbatch {option}" == "sbatch --begin=now"
    with _at(monkeypatch, 12):
        assert f"sbatch {option}" == "sbatch --begin=2026-03-10T19:00:00"
        assert f"{templates}" == f"{option}"


def test_a_fetch_from_a_server_without_a_window_is_never_held_back(index: Path) -> None:
    hours = Hours.parse("00:00-00:01")
    servers = {**SERVERS, "pacs": DicomServer("pacs", "h", 104, window=hours)}
    extra = fetching(str(index), servers, None, LOG)["slurm_extra"](SimpleNamespace(shard="x-0001"))
    assert f"sbatch {extra}" == "sbatch --begin=now"
    assert "slurm_extra" not in fetching(str(index), SERVERS, None, LOG)
