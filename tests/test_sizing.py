"""What a job asks its cluster for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from seriesport.cohort.plan import Shard
from seriesport.transports.archive.server import DicomServer
from seriesport.workflow.ledger import Outcome, Status, write_ledger
from seriesport.workflow.shares import Shares
from seriesport.workflow.sizing import converting, moving

if TYPE_CHECKING:
    from pathlib import Path

WILDCARDS = SimpleNamespace(shard="pacs-0001")


def _fetch(series: int, instances: int, **limits: float) -> dict[str, int]:
    shard = Shard("pacs-0001", series, ("pacs",), (), instances, delivers_files=None)
    servers = {"pacs": DicomServer("pacs", "host", 104, **limits)}
    shares = Shares(lambda: {shard.name: shard}, servers, lambda s: s.sources, jobs=1)
    sizes = moving(shares, "{shard}.log")
    return {name: sizes[name](WILDCARDS) for name in ("mem_mb", "runtime")}


def test_more_instances_and_a_slower_server_get_more_time() -> None:
    small, large = _fetch(1, 100)["runtime"], _fetch(100, 20_000)["runtime"]
    assert 20 <= small < 30
    assert small + 20_000 / 10 / 60 <= large
    assert _fetch(100, 20_000, instances_per_second=1.0)["runtime"] >= 20_000 / 60


def test_a_series_of_unknown_length_is_not_taken_for_an_empty_one() -> None:
    assert _fetch(100, 0)["runtime"] > _fetch(1, 0)["runtime"]


def test_conversion_gets_memory_by_the_largest_series(tmp_path: Path) -> None:
    ledger = str(tmp_path / "{shard}" / "ledger.tsv")
    sizes = converting(ledger, str(tmp_path / "{shard}.log"))
    unknown = sizes["mem_mb"](WILDCARDS)
    lines = [Outcome(str(n), Status.COMPLETE, size=n << 20) for n in (5, 1000)]
    write_ledger(tmp_path / "pacs-0001" / "ledger.tsv", lines)
    assert sizes["mem_mb"](WILDCARDS) == unknown + 3000
