"""A server's settings hold for whoever uses a transport: retries, rate and window."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import data
from faulty import Fault, FaultyArchive
from seriesport import Series
from seriesport.cli.cp import cp
from seriesport.cli.ls import ls
from seriesport.cli.verify import verify
from seriesport.config import hours
from seriesport.config.hours import Hours
from seriesport.config.settings import Settings
from seriesport.transports.archive.server import DicomServer
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results

SLICES = 6


class Entry:
    """One archive with one series, and the ways in which it can be asked."""

    def __init__(self, archive: FaultyArchive, made: data.Made, folder: Path) -> None:
        self.archive = archive
        self.address = f"dicom://pacs/FAULTY//{made.identity.study_instance_uid}"
        self.folder = folder

    def settings(self, **limits: object) -> Settings:
        server = DicomServer(
            "pacs", self.archive.host, self.archive.port, **({"backoff": 0.01} | limits)
        )
        return Settings(servers={"pacs": server})

    def plan(self, settings: Settings) -> Results:
        cohort = self.folder / "cohort.yaml"
        cohort.write_text(f"cohort: [{{source: '{self.address}'}}]")
        cohort.chmod(0o600)
        results = Results(self.folder / "results")
        assert not plan_cohort(results, cohort, settings).problems
        return results

    def ls(self, settings: Settings) -> None:
        ls(self.address, settings, as_json=True)

    def cp(self, settings: Settings) -> None:
        cp(self.address, str(self.folder / "out"), settings, as_json=True)

    def verify(self, settings: Settings) -> None:
        verify(self.address, None, settings, as_json=True)

    def series(self, settings: Settings) -> None:
        Series(self.address, settings=settings)

    def job(self, settings: Settings) -> None:
        fetch_shard(self.plan(settings), "pacs-0001", settings)


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = data.ct(tmp_path / "made", data.identity("served"), slices=SLICES, size=16)
    with FaultyArchive(made.paths) as archive:
        yield Entry(archive, made, tmp_path)


Way = Callable[[Entry, Settings], object]
MOVING = [Entry.cp, Entry.verify, Entry.series, Entry.job]


@pytest.mark.parametrize("way", [Entry.ls, Entry.plan, *MOVING])
def test_every_way_asks_as_often_as_the_server_allows(entry: Entry, way: Way) -> None:
    entry.archive.fail(Fault.BUSY, 2)
    way(entry, entry.settings(attempts=3))


@pytest.mark.parametrize("way", MOVING)
def test_every_way_keeps_to_the_rate_of_the_server(entry: Entry, way: Way) -> None:
    started = time.monotonic()
    way(entry, entry.settings(instances_per_second=5.0))
    assert time.monotonic() - started >= (SLICES - 1) / 5.0


@pytest.mark.parametrize("way", MOVING)
def test_every_way_waits_for_the_window_of_the_server(
    entry: Entry, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = datetime.now() + timedelta(hours=2)  # noqa: DTZ005 - windows are local
    closes = opens + timedelta(hours=1)
    window = Hours.parse(f"{opens:%H:%M}-{closes:%H:%M}")

    def wait(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hours, "_sleep", wait)
    with pytest.raises(KeyboardInterrupt):
        way(entry, entry.settings(window=window))
    assert not entry.archive.sent
