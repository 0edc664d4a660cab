"""What later runs believe of earlier ones: nothing that is damaged, and no receipt for ever."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import data
from project import tree
from seriesport.config.settings import Settings
from seriesport.errors import REASONS, SeriesportError
from seriesport.serve.archive import Archive
from seriesport.transports.archive.server import DicomServer
from seriesport.workflow.convert import convert_shard
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Status
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.records import Records, read_records
from seriesport.workflow.retries import plan_again, repeat
from seriesport.workflow.shard import Results
from seriesport.workflow.startup import Rechecks, mend
from seriesport.workflow.steps import CONVERT, FETCH, STEPS, UPLOAD
from seriesport.workflow.upload import Looks, upload_shard
from seriesport.workflow.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from seriesport.workflow.ledger import Outcome
    from seriesport.workflow.steps import Step

SHARD = "local-0001"
OF_A_RUN = ("retry", "again", "seen.jsonl", "asked.tsv", "verdict.txt")


@dataclass(frozen=True)
class Cohort:
    """Two series of a folder, whose steps run as Snakemake runs them."""

    results: Results
    settings: Settings
    compare: bool = False

    def upload(self) -> list[Outcome]:
        return upload_shard(
            self.results, SHARD, ["dicom", "preview"], self.settings, compare=self.compare
        )

    def run(self) -> str:
        """Run what a run of the workflow would, and give what it says; an error says its code."""
        steps: dict[Step, Callable[[], object]] = {
            FETCH: lambda: fetch_shard(self.results, SHARD, self.settings),
            CONVERT: lambda: convert_shard(self.results, SHARD, ["preview"], ["dicom", "preview"]),
            UPLOAD: self.upload,
        }
        try:
            said = mend(self.results)
            plan = self.results.plan
            if not plan.index.exists() or _younger(plan.again, plan.index):
                shards = plan.shard_file(SHARD)
                before = shards.read_bytes() if shards.exists() else b""
                plan_cohort(self.results, Path("cohort.yaml"), self.settings, shard_size=9)
                if shards.read_bytes() != before:
                    self.results.ledger(FETCH, SHARD).unlink(missing_ok=True)
            stale = False
            for step, work in steps.items():
                ledger = self.results.ledger(step, SHARD)
                if (
                    stale
                    or not ledger.exists()
                    or _younger(self.results.retry(step, SHARD), ledger)
                ):
                    ledger.unlink(missing_ok=True)
                    work()
                    stale = True
            judge(self.results, Looks(self.results, ["dicom", "preview"], self.settings))
        except SeriesportError as error:
            return str(error)
        return "\n".join([*said, "complete"])


def _younger(order: Path, than: Path) -> bool:
    return order.exists() and order.stat().st_mtime_ns > than.stat().st_mtime_ns


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cohort:
    """A cohort that was run once, with a folder and a ZIP as its destinations."""
    return _cohort(tmp_path, monkeypatch, "out, out.zip")


def _cohort(
    folder: Path, monkeypatch: pytest.MonkeyPatch, destinations: str, port: int = 1
) -> Cohort:
    monkeypatch.chdir(folder)
    entries = ""
    for name, slices in (("a", 3), ("b", 2)):
        data.mr(folder / name, data.identity(f"believing {name}"), times=1, slices=slices)
        entries += f"  - {{source: {name}, destinations: [{destinations}]}}\n"
    Path("cohort.yaml").write_text("cohort:\n" + entries)
    Path("cohort.yaml").chmod(0o600)
    servers = {"pacs": DicomServer("pacs", host="127.0.0.1", port=port, backoff=0.01)}
    made = Cohort(Results(Path("results")), Settings(servers))
    assert made.run() == "complete"
    return made


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda b: (
        b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :]
    ),
    "cut in half": lambda b: b[: len(b) // 2],
    "nothing": lambda _: b"",
    "zeros": lambda b: bytes(len(b)),
    "a huge number": lambda _: b"9" * 5000,
    "deep brackets": lambda _: b"[" * 100_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_of_the_results_is_named_and_healed(cohort: Cohort, damage: str) -> None:
    results = cohort.results
    repeat(results, UPLOAD, SHARD)
    plan_again(results)
    assert cohort.run() == "complete"
    whole = _tree()
    shutil.copytree("results", "kept")
    seen = 0
    for name in sorted(p.relative_to("kept") for p in Path("kept").rglob("*") if p.is_file()):
        shutil.rmtree("results")
        shutil.copytree("kept", "results")
        path = Path("results", name)
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
        _force_what_made(results, path)
        said = cohort.run()
        assert "[internal]" not in said, name
        if name.name == "secret":
            assert "[secret-lost]" in said
            shutil.copy("kept/secret", "results/secret")
            said = cohort.run()
        if not said.endswith("complete"):
            assert any(f"[{code}]" in said for code in REASONS), (name, said)
            said = cohort.run()
        assert said.endswith("complete"), (name, said)
        # What was sent before, nobody can say again: its damaged copy stays beside.
        again = {n: d for n, d in whole.items() if (n, name.name) != (str(name), "sent.jsonl")}
        assert _tree() == again, name
        seen += 1
    assert seen > 15


def _force_what_made(results: Results, path: Path) -> None:
    """Images are read by the steps alone: the one that made them runs again, as if forced."""
    if path.suffix in (".zip", ".png"):
        (made,) = (step for step in STEPS if step.folder == path.parts[1])
        results.ledger(made, SHARD).unlink()


def _tree() -> dict[str, str]:
    found = tree(Path("results"), OF_A_RUN)
    return {name: digest for name, digest in found.items() if not name.endswith(".damaged")}


@pytest.mark.parametrize("where", ["out", "out.zip"])
def test_deliveries_that_are_gone_are_named_and_delivered_again(cohort: Cohort, where: str) -> None:
    whole = tree(Path("out"))
    shutil.rmtree(where) if where == "out" else Path(where).unlink()
    assert "[cohort-failed]" in cohort.run()
    assert "delivery-lost" in Path("results/summary.tsv").read_text()
    assert cohort.run() == "complete"
    assert tree(Path("out")) == whole
    assert Path("out.zip").exists()


def test_one_image_that_is_gone_is_named_and_alone_delivered_again(cohort: Cohort) -> None:
    first, *rest = sorted(Path("out").rglob("*.dcm"))
    states = [path.stat().st_mtime_ns for path in rest]
    first.unlink()
    assert "[cohort-failed]" in cohort.run()
    assert "destination 1: 1 of" in Path("results/summary.tsv").read_text()
    assert cohort.run() == "complete"
    assert first.exists()
    assert [path.stat().st_mtime_ns for path in rest] == states


def test_a_plan_that_lost_lines_is_not_called_complete(cohort: Cohort) -> None:
    for name in ("series.jsonl", "problems.jsonl", "places.tsv", "shards.tsv"):
        path = cohort.results.plan.folder / name
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[1:]))
        said = cohort.run()
        assert f"{name} is damaged" in said
        assert "[file-damaged]" in said
        assert said.endswith("complete")
        assert path.read_bytes() == b"".join(lines)


def test_a_plan_that_is_damaged_is_refused_by_those_who_read_it(cohort: Cohort) -> None:
    path = cohort.results.plan.folder / "series.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    for use in (cohort.results.plan.read, lambda: judge(cohort.results)):
        with pytest.raises(SeriesportError) as refused:
            use()
        assert refused.value.code == "file-damaged"


def test_a_damaged_manifest_is_noticed_by_the_verdict_and_fetched_again(cohort: Cohort) -> None:
    path = next(cohort.results.step(FETCH, SHARD).glob("*.json"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"expected": 3', b'"expected": 2').replace(b"file", b"fils"))
    assert "[cohort-failed]" in cohort.run()
    assert "the bundle's manifest is damaged" in Path("results/summary.tsv").read_text()
    assert cohort.run() == "complete"
    assert path.read_bytes() == whole


def test_receipts_of_which_half_is_lost_lead_to_a_look_at_everything(cohort: Cohort) -> None:
    path = cohort.results.records(UPLOAD, SHARD)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    shutil.rmtree("out")
    assert cohort.run().endswith("complete")
    assert len([*Path("out").rglob("*.dcm")]) == 5
    assert path.read_bytes() == b"".join(lines)


def test_a_secret_that_is_lost_is_not_replaced_by_another(cohort: Cohort) -> None:
    secret = cohort.results.secret.read_bytes()
    cohort.results.secret.unlink()
    assert "[secret-lost]" in cohort.run()
    assert not cohort.results.secret.exists()
    cohort.results.secret.write_bytes(secret)
    cohort.results.secret.chmod(0o600)
    assert cohort.run() == "complete"


@pytest.mark.parametrize(
    ("recheck", "forced", "days", "due"),
    [
        ("7d", (), 6, False),
        ("7d", (), 8, True),
        ("12h", (), 1, True),
        ("7d", (), -2, True),  # the clock was wrong then, or is now
        ("never", (), 900, False),
        ("listed", (), 0, True),
        ("digest", (), 0, True),
        ("never", ("upload",), 0, True),
        ("never", (f"results/uploaded/{SHARD}/ledger.tsv",), 0, True),
        ("never", ("results/uploaded/local-0002/ledger.tsv",), 0, False),
    ],
)
def test_an_upload_is_ordered_by_age_and_by_force(
    cohort: Cohort, recheck: str, forced: tuple[str, ...], days: int, due: bool
) -> None:
    path = cohort.results.seen(SHARD)
    records = Records(path)
    moment = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    for key, record in read_records(path).items():
        records.put(key, dict.fromkeys(record, moment))
    records.write(())
    Rechecks(cohort.results, recheck).order(SHARD, forced)
    assert cohort.results.retry(UPLOAD, SHARD).exists() == due
    shutil.rmtree("out")
    lines = cohort.upload()
    assert {line.status for line in lines} == {Status.COMPLETE}
    assert Path("out").exists() == due


def test_an_archive_is_asked_again_once_that_is_ordered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(tmp_path / "archive", "ARCHIVE") as archive:
        cohort = _cohort(tmp_path, monkeypatch, "'dicom://pacs/ARCHIVE'", archive.port)
        files = [p for p in Path("archive").rglob("*") if p.is_file()]
        for path in files:
            path.unlink()
    with Archive(tmp_path / "archive", "ARCHIVE", port=archive.port):
        assert cohort.run() == "complete"  # no server is asked in every run
        assert not any(p.is_file() for p in Path("archive").rglob("*"))
        repeat(cohort.results, UPLOAD, SHARD)
        assert cohort.run() == "complete"
    assert len([p for p in Path("archive").rglob("*") if p.is_file()]) == len(files) == 5


def test_a_destination_that_cannot_be_asked_is_a_failure_and_keeps_its_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(tmp_path / "archive", "ARCHIVE") as archive:
        cohort = _cohort(tmp_path, monkeypatch, "'dicom://pacs/ARCHIVE'", archive.port)
    path = cohort.results.records(UPLOAD, SHARD)
    receipts = path.read_bytes()
    repeat(cohort.results, UPLOAD, SHARD)
    assert "[cohort-failed]" in cohort.run()
    assert "archive-unreachable" in Path("results/summary.tsv").read_text()
    assert path.read_bytes() == receipts
    assert "[cohort-failed]" in cohort.run()  # and is not believed the next time either


def test_what_an_archive_has_is_compared_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Archive(tmp_path / "archive", "ARCHIVE") as archive:
        cohort = _cohort(tmp_path, monkeypatch, "'dicom://pacs/ARCHIVE'", archive.port)
        comparing = Cohort(cohort.results, cohort.settings, compare=True)
        repeat(cohort.results, UPLOAD, SHARD)
        assert comparing.run() == "complete"
        proofs = {
            item["proof"]
            for record in read_records(cohort.results.records(UPLOAD, SHARD)).values()
            for delivery in record["deliveries"]
            for item in delivery["items"]
        }
        assert proofs == {"digest"}
        path = next(p for p in Path("archive").rglob("*") if p.is_file())
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        repeat(cohort.results, UPLOAD, SHARD)
        assert cohort.run() == "complete"  # it is listed
        repeat(cohort.results, UPLOAD, SHARD)
        assert "[cohort-failed]" in comparing.run()
        assert "destination-conflict" in Path("results/summary.tsv").read_text()


def test_the_verdict_says_when_deliveries_were_last_seen(cohort: Cohort) -> None:
    assert cohort.run() == "complete"
    today = datetime.now(UTC).date().isoformat()
    assert (
        f"deliveries last seen at their destinations: {today}" in cohort.results.verdict.read_text()
    )
