"""How the jobs of a run share what a server bears."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from seriesport.hours import Hours
from seriesport.settings import DicomServer, Settings, XnatServer
from seriesport.workflow import fetching, granted, held_back, limits, uploading

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = {
    "x": XnatServer("x", "https://h", connections=5),
    "pacs": DicomServer("pacs", "h", 104, associations=4),
}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A plan: ten shards of an archive, and one each of an XNAT, a host, and a folder."""
    rows = [f"pacs-{n:04d}\t100\tpacs\t" for n in range(1, 11)]
    rows += ["x-0001\t1\tx\t", "h.example-0001\t3\th_example\t", "local-0001\t1\tlocal\tx"]
    path = tmp_path / "shards.tsv"
    path.write_text("".join(f"{row}\t5\tno\n" for row in rows))
    return path


def taken(index: Path, shard: str, *, jobs: int = 1, kind: Any = fetching) -> dict[str, int]:
    ledger = str(index.parent / "{shard}.tsv")
    counts = kind(str(index), SERVERS, ledger, jobs)
    wildcards = SimpleNamespace(shard=shard)
    found = {name: counts[name](wildcards) for name in counts if name.startswith("archive_")}
    return {name: count for name, count in found.items() if count}


def test_the_workflow_holds_a_servers_connections_over_all_jobs(index: Path) -> None:
    assert limits(SERVERS) == {"archive_unnamed": 4, "archive_x": 5, "archive_pacs": 4}
    assert taken(index, "x-0001") == {"archive_x": 3}
    assert taken(index, "h.example-0001") == {"archive_unnamed": 3}
    assert taken(index, "local-0001") == {}
    assert taken(index, "local-0001", kind=uploading) == {"archive_x": 3}
    assert granted(Settings(SERVERS), {"archive_x": 3}).servers["x"].at_once == 3


@pytest.mark.parametrize(("jobs", "each"), [(1, 4), (2, 2), (3, 2), (100, 1)])
def test_jobs_that_run_at_one_time_share_an_archive_evenly(
    index: Path, jobs: int, each: int
) -> None:
    assert taken(index, "pacs-0001", jobs=jobs) == {"archive_pacs": each}


def test_the_last_shards_get_what_the_others_have_left(index: Path) -> None:
    for number in range(1, 9):
        (index.parent / f"pacs-{number:04d}.tsv").touch()
    assert taken(index, "pacs-0009", jobs=100) == {"archive_pacs": 2}


def test_slurm_holds_a_fetch_back_until_the_window_opens() -> None:
    night, late = Hours.parse("19:00-06:00"), Hours.parse("21:30-23:00")
    noon, evening = (datetime(2026, 3, 10, hour) for hour in (12, 20))  # noqa: DTZ001
    assert held_back([night], noon) == "--begin=2026-03-10T19:00:00"
    assert held_back([night, late], noon) == "--begin=2026-03-10T21:30:00"
    assert held_back([night], evening) == ""
    assert held_back([], noon) == ""


def test_a_fetch_from_a_server_without_a_window_is_never_held_back(index: Path) -> None:
    hours = Hours.parse("00:00-00:01")
    servers = {**SERVERS, "pacs": DicomServer("pacs", "h", 104, window=hours)}
    extra = fetching(str(index), servers, "none", 1)["slurm_extra"]
    assert extra(SimpleNamespace(shard="x-0001")) == ""
    assert "slurm_extra" not in fetching(str(index), SERVERS, "none", 1)
