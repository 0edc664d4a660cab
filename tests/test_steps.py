"""The steps over a shard: what they believe of earlier runs, repair, and never call complete."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import data
from seriesport.address import FileAddress
from seriesport.bundle import read_bundle
from seriesport.commands import copying
from seriesport.errors import SeriesportError
from seriesport.fetch import fetch_series
from seriesport.ledger import LedgerLine, Status
from seriesport.part10 import load_instance
from seriesport.settings import Settings
from seriesport.staging import Staging
from seriesport.steps.fetch import fetch_shard
from seriesport.steps.plan import plan_cohort
from seriesport.steps.shard import FETCHED, Results
from seriesport.transports.file import FileTransport
from seriesport.transports.protocol import Proof, Receipt, ReceiptEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from seriesport.instance import Instance
    from seriesport.transports.protocol import Expected, SeriesReference

SETTINGS = Settings()
ENTRY = "source: source, destinations: [out]"


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a series of three images in it."""
    data.mr(tmp_path / "source", data.identity("steps"), times=1, slices=3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def results() -> Results:
    return Results(Path("results"))


def plan(results: Results, *entries: str, refresh: bool = False) -> list[str]:
    """Plan entries and give the keys of their series, all in the shard local-0001."""
    cohort = Path("cohort.yaml")
    cohort.write_text("cohort:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    cohort.chmod(0o600)
    made = plan_cohort(results, cohort, SETTINGS, shard_size=100, refresh=refresh)
    assert not made.problems
    return [row.key for row in made.series]


def fetch(results: Results) -> LedgerLine:
    (line,) = fetch_shard(results, "local-0001", SETTINGS)
    return line


def bundle(results: Results, key: str) -> Path:
    return results.step(FETCHED, "local-0001") / f"{key}.zip"


def test_a_bundle_of_another_series_is_not_believed(results: Results, room: Path) -> None:
    (key,) = plan(results, ENTRY)
    assert fetch(results).status is Status.COMPLETE
    other = data.mr(room / "other", data.identity("steps other"), times=1, slices=3)
    (series,) = _found(room / "other")
    transport = FileTransport(series.address, SETTINGS)
    fetch_series(transport, series, bundle(results, key), room / "staging")
    assert fetch(results).status is Status.COMPLETE
    assert not {i.uid for i in read_bundle(bundle(results, key))} & set(other.uids)


def test_a_series_that_has_grown_is_fetched_again_once_the_plan_knows(
    results: Results, room: Path
) -> None:
    (key,) = plan(results, ENTRY)
    assert fetch(results).done == 3
    shutil.rmtree(room / "source")
    data.mr(room / "source", data.identity("steps"), times=1, slices=5)
    assert fetch(results).done == 3  # the plan is frozen
    plan(results, ENTRY, refresh=True)
    assert fetch(results).done == 5
    assert len(read_bundle(bundle(results, key))) == 5


def test_what_a_kill_left_in_staging_goes_once_the_bundle_is_there(results: Results) -> None:
    (key,) = plan(results, ENTRY)
    fetch(results)
    staging = results.staging(key)
    (staging / "incoming").mkdir(parents=True)
    shutil.copy(next(Path("source").iterdir()), staging / "000001.dcm")
    fetch(results)
    assert not staging.exists()


def test_an_instance_that_is_refused_again_and_again_is_put_aside_once(room: Path) -> None:
    (series,) = _found(room / "source")
    spool = room / "staging" / "incoming"
    for _ in range(3):
        with Staging(room / "staging", series) as stage:
            for number, source in enumerate(sorted((room / "source").iterdir()), 1):
                path = spool / f"{number:06d}.dcm"
                path.write_bytes(source.read_bytes()[: -20 * number])
                stage.accept(replace(load_instance(path), location=path))
            stage.settle()
            assert stage.aside == 3
    assert len(list((room / "staging" / "quarantine").iterdir())) == 3


class Watched(FileTransport):
    """A folder that says how often a fetch was ended."""

    ended = 0

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Instance]:
        try:
            yield from super().fetch(series, expected, have, spool)
        finally:
            self.ended += 1


def test_a_fetch_that_stops_in_the_middle_ends_what_the_source_sends(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (series,) = _found(room / "source")
    transport = Watched(FileAddress(room / "source"), SETTINGS)
    monkeypatch.setattr(Staging, "accept", full)
    with pytest.raises(OSError, match="No space") as raised:
        fetch_series(transport, series, room / "b.zip", room / "staging")
    assert transport.ended == 1
    assert raised.value.errno == 28


def test_a_copy_does_not_deliver_what_an_older_copy_left_when_the_source_has_changed(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(room / "cache"))
    first, *_, last = sorted((room / "source").iterdir())
    last.rename(room / "last")
    (room / "taken").write_text("a file")
    with pytest.raises(SeriesportError):
        copying.cp("source", "taken", SETTINGS, as_json=True)
    (room / "last").rename(last)
    first.unlink()
    copying.cp("source", "out", SETTINGS, as_json=True)
    there = {one.uid for found in _found(room / "out") for one in _instances(found)}
    assert there == {one.uid for found in _found(room / "source") for one in _instances(found)}
    assert '"proof": "digest"' in capsys.readouterr().out


def test_a_copy_reports_its_weakest_proof() -> None:
    entries = [ReceiptEntry(p, sent=True, proof=p) for p in (Proof.DIGEST, Proof.LISTED)]
    assert copying.weakest(Receipt(tuple(entries))) == "listed"


def _found(folder: Path) -> list[SeriesReference]:
    return FileTransport(FileAddress(folder), SETTINGS).find(FileAddress(folder))


def _instances(series: SeriesReference) -> list[Instance]:
    transport = FileTransport(series.address, SETTINGS)
    return list(transport.fetch(series, transport.expect(series), (), Path("spool")))
