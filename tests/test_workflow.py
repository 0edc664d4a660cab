"""The workflow as a user runs it: the demo, wrong input, reruns, additions, reports."""

from __future__ import annotations

import re
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

import data
from project import SNAKEMAKE, Project, tree
from seriesport.errors import REASONS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]

LOCAL_COHORT = """
defaults:
  destinations: [delivered]
  formats: [preview]
cohort:
  - label: one
    source: demo/archive
    patient: "98890234"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"
    series_number: "5"
  - label: two
    source: demo/folder
"""
THIRD = """
  - label: three
    source: demo/images.zip?CT_small.dcm
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The demo, run once."""
    project = Project.clone(tmp_path_factory.mktemp("demo"))
    done = project.demo()
    assert done.returncode == 0, done.stdout + done.stderr
    project.folder.joinpath("screen.txt").write_text(done.stdout + done.stderr)
    return project


def test_the_demo_brings_every_series_to_every_destination(demo: Project) -> None:
    rows = demo.table()
    assert {row["label"] for row in rows} == {
        "angio", "lesion", "heart", "spine", "head", "thorax", "ultrasound", "phantom",
    }  # fmt: skip
    assert {row["status"] for row in rows} == {"complete"}
    for row in rows:
        files = " ".join((row["bundle"], row["outputs"], row["receipts"])).split()
        assert all((demo.results / name).is_file() for name in files)
        assert row["key"] in row["outputs"]
    assert "9 of 9 proven complete" in demo.folder.joinpath("screen.txt").read_text()


def test_the_demo_makes_the_formats_that_each_entry_asks_for(demo: Project) -> None:
    outputs = {row["label"]: row["outputs"] for row in demo.table()}
    assert ".npz" in outputs["lesion"]
    assert ".nii.gz" not in outputs["ultrasound"]
    assert all(".png" in names for names in outputs.values())
    assert all(".nii.gz" in outputs[label] for label in ("angio", "heart", "thorax", "phantom"))


def test_receipts_say_how_far_each_instance_is_proven(demo: Project) -> None:
    row = next(row for row in demo.table() if row["label"] == "thorax")
    proofs = {d["kind"]: {i["proof"] for i in d["items"]} for d in demo.deliveries(row)}
    assert proofs["dicom"] == {"listed"}
    assert proofs["file"] == {"digest"}


def test_files_with_identifiers_are_readable_by_their_owner_alone(demo: Project) -> None:
    private = [demo.results / "cohort.tsv", demo.results / "secret"]
    private += (demo.results / "plan").glob("*.jsonl")
    private += (demo.results / "plan" / "shards").iterdir()
    assert len(private) > 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def _rules_run(text: str) -> set[str]:
    return set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", text, re.MULTILINE))


def test_a_second_run_does_nothing_but_say_so_again(demo: Project) -> None:
    again = demo.demo()
    assert again.returncode == 0
    assert "9 of 9 proven complete" in again.stdout
    assert _rules_run(again.stderr) == {"verdict"}


def test_lost_ledgers_are_written_again_without_fetching_or_sending(demo: Project) -> None:
    before = demo.bundles()
    delivered = demo.folder.joinpath("demo/delivered.zip").stat()
    for ledger in demo.results.glob("*/*/ledger.tsv"):
        ledger.unlink()
    again = demo.snakemake()  # no archive is up: whatever asks one would fail
    assert again.returncode == 0, again.stderr
    assert {"fetch", "convert", "upload"} <= _rules_run(again.stderr)
    assert demo.bundles() == before
    now = demo.folder.joinpath("demo/delivered.zip").stat()
    assert (now.st_ino, now.st_mtime_ns) == (delivered.st_ino, delivered.st_mtime_ns)


def test_the_report_shows_the_summary_and_no_label(demo: Project) -> None:
    done = demo.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    html = demo.folder.joinpath("report.html").read_text()
    assert "summary.tsv" in html
    assert "lesion" not in html


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A clone with a cohort that needs no archive."""
    made = Project.clone(tmp_path / "clone")
    made.write_cohort(LOCAL_COHORT)
    return made


def _fetch_logs(project: Project) -> set[tuple[str, int]]:
    logs = project.results.glob("logs/fetch/*.log")
    return {(path.name, path.stat().st_mtime_ns) for path in logs}


def test_rows_that_are_added_are_all_that_is_fetched(project: Project) -> None:
    assert project.snakemake().returncode == 0
    before = project.bundles()
    logs = _fetch_logs(project)
    project.write_cohort(LOCAL_COHORT + THIRD)
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    after = project.bundles()
    assert len(after) == len(before) + 1
    assert {key: after[key] for key in before} == before
    assert len(_fetch_logs(project) - logs) == 1  # one job ran


def test_an_edited_rule_makes_nothing_run_again(project: Project) -> None:
    assert project.snakemake().returncode == 0
    for path in ("workflow/rules/fetch.smk", "scripts/fetch.py", "workflow/Snakefile"):
        with (project.folder / path).open("a") as stream:
            stream.write("\n# edited\n")
    again = project.snakemake()
    assert again.returncode == 0
    assert _rules_run(again.stderr) == {"verdict"}


def test_one_bad_series_holds_up_nothing_and_is_retried_alone(project: Project) -> None:
    bad = project.folder / "demo" / "bad"
    bad.mkdir()
    whole = project.folder.joinpath("demo/folder/MR_small.dcm").read_bytes()
    (bad / "a").write_bytes(whole[:-100])
    config = project.folder / "config" / "config.yaml"
    config.write_text(config.read_text() + "\nshard_size: 10\n")
    project.write_cohort(LOCAL_COHORT + "  - label: bad\n    source: demo/bad\n" + THIRD)

    first = project.snakemake()
    assert first.returncode != 0
    rows = {row["label"]: row for row in project.table()}
    assert {label for label, row in rows.items() if row["status"] == "complete"} == {
        "one", "two", "three",
    }  # fmt: skip
    assert rows["bad"]["reason"] == "instance-truncated"
    assert "instance-truncated" in first.stdout
    assert len({row["shard"] for row in rows.values()}) == 1

    before = project.bundles()
    (bad / "a").write_bytes(whole)
    second = project.snakemake()
    assert second.returncode == 0, second.stdout + second.stderr
    assert {row["status"] for row in project.table()} == {"complete"}
    after = project.bundles()
    assert {key: after[key] for key in before} == before


def test_an_entry_that_finds_nothing_is_named_by_its_line_and_asked_for_again(
    project: Project,
) -> None:
    entry = '  - label: absent\n    source: demo/later\n    patient: "4MR1"\n'
    project.write_cohort(LOCAL_COHORT + entry)
    first = project.snakemake()
    assert first.returncode != 0
    row = next(row for row in project.table() if row["label"] == "absent")
    assert (row["status"], row["cohort_line"]) == ("failed", "13")
    assert {r["status"] for r in project.table() if r["label"] != "absent"} == {"complete"}

    project.folder.joinpath("demo/folder").rename(project.folder / "demo/later")
    before = project.bundles()
    second = project.snakemake()
    assert second.returncode == 0, second.stdout + second.stderr
    assert before.items() <= project.bundles().items()


def test_a_failed_run_ends_with_the_verdict_by_label_and_its_record_has_none(
    project: Project,
) -> None:
    project.write_cohort(LOCAL_COHORT + "  - label: several-there\n    source: demo/archive\n")
    screen = project.on_terminal(*SNAKEMAKE)
    table = screen[screen.index("line label") :]
    assert "Error" not in table
    assert "Exception" not in table
    assert ".snakemake" not in table
    assert re.search(r"^6 +one +[a-z0-9]{16}", table, re.MULTILINE)
    assert "line 13 (several-there): " in table
    assert 'patient "98890234", study "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"' in table
    assert table.rstrip().endswith(f"[cohort-failed] {REASONS['cohort-failed'].advice}")
    kept = [*project.results.glob("logs/**/*.log"), *project.folder.glob(".snakemake/log/*")]
    assert len(kept) > 4
    for path in (*kept, project.results / "summary.tsv"):
        text = path.read_text()
        assert not [word for word in ("several-there", "98890234", "16302.0.1") if word in text]
    assert stat.S_IMODE((project.results / "verdict.txt").stat().st_mode) == 0o600

    piped = project.snakemake("--quiet", "all")
    assert "several-there" not in piped.stdout + piped.stderr
    assert "2 of 3 proven complete" in piped.stdout
    assert piped.stderr.splitlines()[-1].startswith("seriesport: 1 of 3 failed [cohort-failed] ")

    project.write_cohort(LOCAL_COHORT + "  - label: several-there\n")
    refused = project.on_terminal(*SNAKEMAKE)
    line = "config/cohort.yaml, line 13: the entry has no source [cohort-invalid]"
    assert refused.count(line) == 1
    assert refused.rstrip().endswith(f"seriesport: {line} {REASONS['cohort-invalid'].advice}")


def test_deliveries_that_were_removed_are_never_called_proven(project: Project) -> None:
    assert project.snakemake().returncode == 0
    delivered = project.folder / "delivered"
    whole = tree(delivered)
    shutil.rmtree(delivered)
    plain = project.snakemake()
    assert plain.returncode == 1
    assert "0 of 2 proven complete" in plain.stdout
    assert "5 of 5 files are not there [delivery-lost]" in plain.stdout
    again = project.snakemake()
    assert again.returncode == 0, again.stderr
    assert tree(delivered) == whole
    shutil.rmtree(delivered)
    forced = project.snakemake("--forceall")
    assert forced.returncode == 0, forced.stderr
    assert tree(delivered) == whole


def test_what_is_damaged_is_named_and_made_anew_in_the_same_run(project: Project) -> None:
    assert project.snakemake().returncode == 0
    whole = tree(project.results, ("logs", "seen.jsonl", "asked.tsv"))
    plan, bundles = project.results / "plan", project.bundles()
    series = (plan / "series.jsonl").read_bytes()
    (plan / "series.jsonl").write_bytes(series.splitlines(keepends=True)[0])
    (plan / "shards.tsv").write_bytes(b"[" * 100_000)
    ledger, other = sorted(project.results.glob("dicom/*/ledger.tsv"))
    ledger.write_bytes(bytes(ledger.stat().st_size))
    next(project.results.glob("converted/*/records.jsonl")).write_bytes(b"9" * 5000)
    receipts = other.parents[2] / "uploaded" / other.parent.name / "receipts.jsonl"
    receipts.write_bytes(receipts.read_bytes()[:100])
    run = project.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 of 2 proven complete" in run.stdout
    for name in ("series.jsonl", "shards.tsv", "ledger.tsv", "records.jsonl", "receipts.jsonl"):
        assert re.search(rf"{name} is damaged: .*\[file-damaged\]", run.stderr), name
    assert "Traceback" not in run.stdout + run.stderr
    now = tree(project.results, ("logs", "seen.jsonl", "asked.tsv"))
    assert {n: d for n, d in now.items() if not n.endswith(".damaged")} == whole
    assert project.bundles() == bundles
    (project.results / "secret").write_bytes(b"")
    lost = project.snakemake()
    assert lost.returncode == 1
    assert "[secret-lost]" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_an_unquoted_patient_number_stops_the_plan_with_its_line(project: Project) -> None:
    project.write_cohort(LOCAL_COHORT.replace('"98890234"', "0012345"))
    done = project.snakemake()
    assert done.returncode != 0
    assert re.search(r"cohort\.yaml, line 8: .*quotes", done.stderr)
    assert "5349" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert project.snakemake().returncode != 0


def test_a_cohort_that_becomes_wrong_fails_in_every_run(project: Project) -> None:
    assert project.snakemake().returncode == 0
    project.write_cohort(LOCAL_COHORT.replace("formats: [preview]", "formats: [previw]"))
    assert project.snakemake().returncode != 0
    assert project.snakemake().returncode != 0


def test_a_config_that_breaks_the_schema_is_refused_with_its_key(project: Project) -> None:
    config = project.folder / "config" / "config.yaml"
    config.write_text(config.read_text().replace("associations: 4", "associations: many"))
    done = project.snakemake("--quiet", "all")
    assert done.returncode != 0
    advice = REASONS["config-invalid"].advice
    what = "servers.demo.associations must be a whole number, not text; leave out the quotes"
    assert done.stderr.splitlines()[1:] == [f"seriesport: config: {what} [config-invalid] {advice}"]


def test_a_limit_that_the_jobs_of_a_cluster_would_not_hear_of_is_refused(project: Project) -> None:
    done = project.snakemake("--dry-run", "--resources", "archive_demo=1")
    assert done.returncode != 0
    assert "archive_demo cannot be given here: set it in config.yaml" in done.stdout + done.stderr
    assert project.snakemake("--dry-run", "--resources", "archive_demo=4").returncode == 0


def test_the_workflow_can_be_used_as_a_module(project: Project, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    for name in ("config", "demo"):
        (project.folder / name).rename(user / name)
    (user / "Snakefile").write_text(
        f"""
configfile: "config/config.yaml"

module seriesport:
    snakefile: "{project.folder}/workflow/Snakefile"
    config: config

use rule * from seriesport as seriesport_*
"""
    )
    done = Project(user).run(*SNAKEMAKE, "seriesport_verdict")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 proven complete" in done.stdout
    assert {row["status"] for row in Project(user).table()} == {"complete"}


def test_a_study_that_grew_is_asked_for_again_and_a_row_that_left_is_taken_back(
    project: Project,
) -> None:
    who = data.identity("workflow prune")
    study = project.folder / "demo" / "study"
    data.mr(study / "a", who, times=1, slices=2)
    entry = f"""
  - label: grows
    source: demo/study
    study: "{who.study_instance_uid}"
    destinations: [delivered, all.zip]
"""
    project.write_cohort(LOCAL_COHORT + entry)
    assert project.snakemake().returncode == 0
    before = project.bundles()
    data.mr(study / "b", who.series(2), times=1, slices=3)
    plain = project.snakemake()
    assert plain.returncode == 0
    assert "3 of 3 proven complete" in plain.stdout
    assert "naming no series" in plain.stdout
    assert "snakemake --config refresh=true" in plain.stdout
    refreshed = project.snakemake("--config", "refresh=true")
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    assert "4 of 4 proven complete" in refreshed.stdout
    assert before.items() <= project.bundles().items()
    ours = [row["key"] for row in project.table() if row["label"] == "grows"]
    assert len(ours) == 2

    project.write_cohort(LOCAL_COHORT)
    told = project.snakemake()
    assert told.returncode == 0, told.stdout + told.stderr
    assert "2 series left the cohort or lost destinations: see seriesport prune" in told.stdout
    kept = tree(project.folder / "delivered")
    done = project.run("seriesport", "prune", "--yes", "--delivered")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "grows" in done.stdout
    assert not (project.folder / "all.zip").exists()
    left = tree(project.folder / "delivered")
    assert left == {name: d for name, d in kept.items() if name.split("/")[0] not in ours}
    assert 0 < len(left) < len(kept)
    found = [p for p in project.results.rglob("*") if any(key in p.name for key in ours)]
    assert not found
    again = project.snakemake()
    assert again.returncode == 0, again.stdout + again.stderr
    assert "2 of 2 proven complete" in again.stdout
    assert not _rules_run(again.stderr) & {"fetch", "convert", "upload"}
    assert "prune" not in again.stdout
