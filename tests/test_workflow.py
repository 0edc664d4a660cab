"""The workflow as a user runs it: the demo, wrong input, reruns, additions, reports."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

import data
from faulty import FaultyArchive
from project import ROOT, SNAKEMAKE, Project, tree
from seriesport.errors import REASONS

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]

LOCAL_COHORT = """
defaults:
  destinations: [delivered]
  formats: [preview]
cohort:
  - label: one
    source: archive
    patient: "98890234"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"
    series_number: "5"
  - label: two
    source: folder
"""
THIRD = """
  - label: three
    source: images.zip?CT_small.dcm
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


def _modes(*places: Path) -> set[int]:
    found = (path for place in places for path in (place, *place.rglob("*")))
    return {stat.S_IMODE(path.stat().st_mode) for path in found}


def test_results_and_deliveries_are_readable_by_their_owner_alone(demo: Project) -> None:
    assert _modes(demo.results, demo.folder / "delivered") == {0o700, 0o600}
    assert _modes(demo.folder / "delivered.zip") == {0o600}


def _rules_run(text: str) -> set[str]:
    return set(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", text, re.MULTILINE))


def test_a_second_run_does_nothing_but_say_so_again(demo: Project) -> None:
    again = demo.demo()
    assert again.returncode == 0
    assert "9 of 9 proven complete" in again.stdout
    assert _rules_run(again.stderr) == {"verdict"}


def test_lost_ledgers_are_written_again_without_fetching_or_sending(demo: Project) -> None:
    before = demo.bundles()
    delivered = demo.folder.joinpath("delivered.zip").stat()
    for ledger in demo.results.glob("*/*/ledger.tsv"):
        ledger.unlink()
    again = demo.snakemake()  # no archive is up: whatever asks one would fail
    assert again.returncode == 0, again.stderr
    assert {"fetch", "convert", "upload"} <= _rules_run(again.stderr)
    assert demo.bundles() == before
    now = demo.folder.joinpath("delivered.zip").stat()
    assert (now.st_ino, now.st_mtime_ns) == (delivered.st_ino, delivered.st_mtime_ns)


def test_the_report_shows_the_summary_and_no_label(demo: Project) -> None:
    done = demo.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    html = demo.folder.joinpath("report.html").read_text()
    assert "summary.tsv" in html
    assert "lesion" not in html


def test_the_group_can_read_results_where_config_says_so(demo: Project) -> None:
    config = demo.folder / "config" / "config.yaml"
    config.write_text(config.read_text() + "readable_by: group\n")
    [*converted] = demo.results.glob("converted/*")
    shutil.rmtree(converted[0])  # Snakemake makes a new one
    done = demo.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    names = ("dicom", "converted", "uploaded", "logs", "summary.tsv")
    assert _modes(*(demo.results / name for name in names)) == {0o750, 0o640}
    assert stat.S_IMODE(demo.results.stat().st_mode) == 0o750
    alone = ("secret", "cohort.tsv", "plan")
    assert _modes(*(demo.results / name for name in alone)) == {0o700, 0o600}


def test_a_fresh_clone_can_be_linted_and_says_what_to_copy(tmp_path: Path) -> None:
    clone = Project.clone(tmp_path / "clone", demo=False)
    assert clone.run("snakemake", "--lint").returncode == 0
    done = clone.snakemake()
    assert done.returncode != 0
    [said] = [line for line in done.stderr.splitlines() if "[config-missing]" in line]
    where = "seriesport: config/config.yaml does not exist in this folder"
    assert said.startswith(f"{where} [config-missing] Run: cp -n ")
    assert "Traceback" not in done.stderr
    for name in re.findall(r"cp -n (\S+) (\S+)", said):
        shutil.copy(clone.folder / name[0], clone.folder / name[1])
    clone.run("git", "init", "--quiet")
    clone.run("git", "add", "--force", "config")
    planned = clone.snakemake("--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    warned = [line for line in planned.stdout.splitlines() if "[cohort-tracked]" in line]
    assert len(warned) == 1
    assert warned[0].startswith("git tracks config/cohort.yaml, so that a commit publishes")


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


def test_a_run_stops_after_the_step_that_it_is_told(project: Project) -> None:
    fetched = project.snakemake("--until", "fetch")
    assert fetched.returncode == 0, fetched.stderr
    assert _rules_run(fetched.stderr) == {"plan", "fetch"}
    assert len(project.bundles()) == 2
    graph = project.snakemake("--rulegraph").stdout
    number = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    edges = {(number[a], number[b]) for a, b in re.findall(r"(\d+) -> (\d+)", graph)}
    assert ("plan", "fetch") in edges
    bundles = project.bundles()
    project.write_cohort(LOCAL_COHORT.replace("formats: [preview]", "formats: []") + THIRD)
    converted = project.snakemake("--until", "convert")
    assert converted.returncode == 0, converted.stderr
    assert {"plan", "fetch", "convert"} <= _rules_run(converted.stderr)
    assert bundles.items() < project.bundles().items()
    assert not (project.results / "uploaded").exists()


def test_an_edited_rule_makes_nothing_run_again(project: Project) -> None:
    assert project.snakemake().returncode == 0
    for path in ("workflow/rules/fetch.smk", "scripts/fetch.py", "workflow/Snakefile"):
        with (project.folder / path).open("a") as stream:
            stream.write("\n# edited\n")
    again = project.snakemake()
    assert again.returncode == 0
    assert _rules_run(again.stderr) == {"verdict"}


def test_one_bad_series_holds_up_nothing_and_is_retried_alone(project: Project) -> None:
    bad = project.folder / "bad"
    bad.mkdir()
    whole = project.folder.joinpath("folder/MR_small.dcm").read_bytes()
    (bad / "a").write_bytes(whole[:-100])
    config = project.folder / "config" / "config.yaml"
    config.write_text(config.read_text() + "\nshard_size: 10\n")
    project.write_cohort(LOCAL_COHORT + "  - label: bad\n    source: bad\n" + THIRD)

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
    entry = '  - label: absent\n    source: later\n    patient: "4MR1"\n'
    project.write_cohort(LOCAL_COHORT + entry)
    first = project.snakemake()
    assert first.returncode != 0
    row = next(row for row in project.table() if row["label"] == "absent")
    assert (row["status"], row["cohort_line"]) == ("failed", "13")
    assert {r["status"] for r in project.table() if r["label"] != "absent"} == {"complete"}

    project.folder.joinpath("folder").rename(project.folder / "later")
    before = project.bundles()
    second = project.snakemake()
    assert second.returncode == 0, second.stdout + second.stderr
    assert before.items() <= project.bundles().items()


def test_a_failed_run_ends_with_the_verdict_by_label_and_its_record_has_none(
    project: Project,
) -> None:
    project.write_cohort(LOCAL_COHORT + "  - label: several-there\n    source: archive\n")
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
    whole = tree(project.results, ("logs", "seen.jsonl", "asked.tsv", "verdict.txt"))
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
    now = tree(project.results, ("logs", "seen.jsonl", "asked.tsv", "verdict.txt"))
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
    config.write_text(config.read_text().replace("port: 11112", "port: many"))
    done = project.snakemake("--quiet", "all")
    assert done.returncode != 0
    advice = REASONS["config-invalid"].advice
    what = "servers.demo.port must be a whole number, not text; leave out the quotes"
    (line,) = done.stderr.splitlines()[1:]
    assert re.fullmatch(r"seriesport: config/config\.yaml, line \d+: (.*)", line)[1] == (
        f"{what} [config-invalid] {advice}"
    )
    config.write_text("cohort: config/cohort.yaml\nservers:\n\tdemo: {}\n")
    assert "config.yaml, line 3: this line is indented with a tab; use spaces" in (
        project.snakemake("--dry-run").stderr
    )


def test_a_limit_that_the_jobs_of_a_cluster_would_not_hear_of_is_refused(project: Project) -> None:
    done = project.snakemake("--dry-run", "--resources", "archive_demo=1")
    assert done.returncode != 0
    assert "archive_demo cannot be given here: set it in config.yaml" in done.stdout + done.stderr
    assert project.snakemake("--dry-run", "--resources", "archive_demo=4").returncode == 0


@pytest.fixture
def user(project: Project, tmp_path: Path) -> Project:
    """A workflow of somebody's own that brings two cohorts."""
    own = Project(tmp_path / "user")
    (own.folder / "config").mkdir(parents=True)
    for place in ("archive", "folder"):
        (project.folder / place).rename(own.folder / place)
    modules = ""
    for name, place, more in (
        ("one", {"results": "images/one"}, ""),
        ("two", {}, 'prefix: "sub"'),
    ):
        cohort = own.folder / "config" / f"{name}.yaml"
        cohort.touch(0o600)
        cohort.write_text(LOCAL_COHORT.replace("[delivered]", f"[delivered-{name}]"))
        config = own.folder / "config" / f"{name}-config.yaml"
        config.write_text(yaml.safe_dump({"cohort": f"config/{name}.yaml", **place}))
        modules += f"""
module {name}:
    snakefile: "{project.folder}/workflow/Snakefile"
    config: yaml.safe_load(open("config/{name}-config.yaml"))
    {more}

use rule * from {name} as {name}_*
"""
    noted = 'open("local.txt", "w").write(" ".join(workflow._localrules))'
    (own.folder / "Snakefile").write_text(f"import yaml\n{modules}\n{noted}\n")
    return own


def test_two_cohorts_are_brought_side_by_side_by_a_workflow_of_one_s_own(user: Project) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        return user.run(*SNAKEMAKE, "--keep-going", "one_verdict", "two_verdict")

    places = {"one": user.folder / "images" / "one", "two": user.folder / "sub" / "results"}
    first = run()
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("2 of 2 proven complete") == 2
    for folder in places.values():
        names = {path.name for path in folder.iterdir()}
        assert {"cohort.tsv", "summary.tsv", "plan", "dicom", "logs", "secret"} <= names
    assert {path.name for path in user.folder.iterdir() if path.is_dir()} == {
        ".snakemake", "archive", "cache", "config", "delivered-one", "delivered-two", "folder",
        "images", "sub",
    }  # fmt: skip
    assert {path.name for path in (user.folder / "sub").iterdir()} == {"results"}
    # On a cluster these are not sent to a node, which may not reach the archive.
    ours = {f"{name}_{rule}" for name in places for rule in ("plan", "summary", "verdict")}
    assert set(user.folder.joinpath("local.txt").read_text().split()) == ours

    shutil.rmtree(user.folder / "delivered-two")
    lost = run()
    assert lost.returncode == 1
    assert "0 of 2 proven complete" in lost.stdout
    assert "2 of 2 proven complete" in lost.stdout
    assert _rules_run(lost.stderr) == {"one_verdict", "two_verdict"}
    mended = run()
    assert mended.returncode == 0, mended.stderr
    assert {"two_upload"} <= _rules_run(mended.stderr)
    assert not {"one_upload", "two_fetch"} & _rules_run(mended.stderr)

    plan = user.run("seriesport", "plan", "--json", "--config", "config/one-config.yaml")
    assert plan.returncode == 0, plan.stderr
    keys = {row["key"] for row in json.loads(plan.stdout)["series"]}
    assert keys == {path.stem for path in places["one"].glob("dicom/*/*.zip")}
    assert not user.results.exists()


_WITH_RESOURCES = """
configfile: "config/config.yaml"

module sp:
    snakefile: "{root}/workflow/Snakefile"
    config: config

use rule * from sp as sp_*

use rule fetch from sp as sp_fetch with:
    resources:
        {resources}
"""


def test_a_rule_that_lost_its_share_of_an_archive_asks_it_nothing(tmp_path: Path) -> None:
    user = Project(tmp_path)
    made = [data.mr(tmp_path / f"{n}", data.identity(f"{n}"), times=1, slices=9) for n in (1, 2)]
    studies = [one.identity.study_instance_uid for one in made]
    entries = [{"source": "dicom://pacs/FAULTY", "study": study} for study in studies]
    (tmp_path / "config").mkdir()
    user.write_cohort(yaml.safe_dump({"cohort": entries}))

    def run(resources: str) -> subprocess.CompletedProcess[str]:
        snakefile = _WITH_RESOURCES.format(root=ROOT, resources=resources)
        (tmp_path / "Snakefile").write_text(snakefile)
        ledgers = (f"results/dicom/pacs-{n:04d}/ledger.tsv" for n in (1, 2))
        return user.run(*SNAKEMAKE, "--keep-going", *ledgers)

    with FaultyArchive([path for one in made for path in one.paths]) as archive:
        pacs = {"host": archive.host, "port": archive.port, "associations": 1}
        config = {
            "formats": [],
            "shard_size": 1,
            "servers": {"pacs": {**pacs, "instances_per_second": 10}},
        }
        (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        assert user.run("seriesport", "plan").returncode == 0
        archive.at_once = 0
        refused = run("mem_mb=9000")
        assert refused.returncode == 1
        assert "lack archive_pacs=1 (or more)" in refused.stderr
        assert "[not-granted]" in refused.stderr
        assert archive.at_once == 0
        done = run("mem_mb=9000, archive_pacs=1")
        assert done.returncode == 0, done.stdout + done.stderr
        assert archive.at_once == 1
        assert sorted(archive.sent) == sorted(uid for one in made for uid in one.uids)


def test_a_study_that_grew_is_asked_for_again_and_a_row_that_left_is_taken_back(
    project: Project,
) -> None:
    who = data.identity("workflow prune")
    study = project.folder / "study"
    data.mr(study / "a", who, times=1, slices=2)
    entry = f"""
  - label: grows
    source: study
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
