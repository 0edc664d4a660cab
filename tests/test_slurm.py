"""The workflow on a real SLURM: the same results as here, after kills too, and nobody's name."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import data
from faulty import FaultyArchive
from peers import PeerMissingError, often, wait_until
from peers.slurm import Slurm
from peers.xnat import Fault, Logged, Xnat
from project import SNAKEMAKE, Project, tree
from seriesport.store.bundle import read_bundle
from watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers import Orthanc

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(400)]

# A cluster of a test is looked at more often.
PROFILE = (sys.executable, str(Path(often.__file__)), "--profile", "profiles/slurm")
OFTEN = (
    "--slurm-init-seconds-before-status-checks=1",
    "--seconds-between-status-checks=1",
    "--latency-wait=10",
)
SECRET = "CANARYpassword"
SLICES = 150
OUTPUTS = ("dicom", "converted")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A cluster with accounting."""
    yield from _start(tmp_path_factory.mktemp("slurm"), accounting=True)


def _start(folder: Path, *, accounting: bool) -> Iterator[Slurm]:
    try:
        cluster = Slurm(folder, accounting=accounting)
    except PeerMissingError as error:
        pytest.fail(str(error), pytrace=False)
    with cluster:
        yield cluster


def _identity(name: str) -> data.Identity:
    return data.identity(
        f"slurm {name}",
        patient_id=f"CANARYid{name}",
        patient_name=f"CANARYname^{name}",
        accession_number=f"CANARYacc{name}"[:16],
    )


def _canaries(*made: data.Made) -> list[str]:
    every = {SECRET}
    for one in made:
        who = one.identity
        every |= {
            who.patient_id, who.patient_name, who.accession_number, who.study_instance_uid,
            who.series_instance_uid, *one.uids,
        }  # fmt: skip
    return sorted(every)


def _serve(project: Project, place: tuple[str, int], *, shard_size: int = 1, **limits: Any) -> None:
    server = {"host": place[0], "port": place[1], **limits}
    config = {
        "formats": ["nifti", "preview"],
        "shard_size": shard_size,
        "servers": {"source": server},
    }
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))


def _configure(
    project: Project, place: tuple[str, int], aet: str, series: list[data.Made], **limits: Any
) -> None:
    _serve(project, place, **limits)
    entries = [
        {
            "label": f"CANARYlabel{number}",
            "source": f"dicom://source/{aet}",
            "patient": one.identity.patient_id,
            "study": one.identity.study_instance_uid,
            "series": one.identity.series_instance_uid,
            "destinations": ["delivered", "delivered.zip"],
        }
        for number, one in enumerate(series)
    ]
    project.write_cohort(yaml.safe_dump({"cohort": entries}))
    netrc = project.folder / "netrc"
    netrc.touch(0o600)
    netrc.write_text(f"machine xnat.example login me password {SECRET}\n")


def _same_keys(project: Project) -> None:
    project.results.mkdir(mode=0o700, exist_ok=True)
    path = project.results / "secret"
    path.touch(0o600)
    path.write_text("0f" * 32)


def _environment(project: Project) -> dict[str, str]:
    return project.environment() | {"NETRC": str(project.folder / "netrc")}


@contextmanager
def _running(project: Project, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The workflow on the cluster, in the background; it is stopped at the end."""
    with (project.folder / "run.log").open("a") as log:
        run = subprocess.Popen(
            ["env", "--default-signal=INT", *PROFILE, *OFTEN, *options],
            cwd=project.folder,
            env=_environment(project),
            stdout=log,
            stderr=log,
            text=True,
        )
    try:
        yield run
    finally:
        if run.poll() is None:
            _interrupt(run)


def _interrupt(run: subprocess.Popen[str]) -> None:
    """Ctrl-C, which cancels what the cluster still runs."""
    run.send_signal(signal.SIGINT)
    try:
        run.wait(60)
    finally:
        run.kill()


def _on_cluster(project: Project, *options: str) -> None:
    with _running(project, *options) as run:
        assert run.wait(240) == 0, (project.folder / "run.log").read_text()[-6000:]


def _outputs(project: Project) -> dict[str, dict[str, str]]:
    found = {step: tree(project.results / step) for step in OUTPUTS}
    return found | {"delivered": tree(project.folder / "delivered")}


def _check_nobody_is_named(
    slurm: Slurm, project: Project, canaries: list[str], watch: Watch
) -> None:
    texts = {
        "squeue": slurm.squeue("%all"),
        "scontrol": slurm.scontrol(),
        "logs": slurm.logs(),
        "command lines": "\n".join(watch.seen),
    }
    if slurm.accounting:
        texts["sacct"] = slurm.sacct()
        assert "_wildcards_" in texts["sacct"]
    for name, text in texts.items():
        for canary in canaries:
            assert canary not in text, name
    hidden = (project.folder / ".snakemake", slurm.folder / "state", project.results / "logs")
    paths = [p for folder in hidden for p in folder.rglob("*") if p.is_file()]
    paths += [*slurm.folder.glob("spool-*/**/*"), project.folder / "run.log"]
    assert any("slurm_logs" in str(path) for path in paths) or slurm.accounting
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            for canary in canaries:
                assert canary.encode() not in content, path
                assert canary not in path.name


def test_a_cohort_through_the_profile_gives_what_it_gives_here(
    tmp_path: Path, slurm: Slurm, orthanc: Orthanc
) -> None:
    who = _identity("A")
    series = [
        data.ct(tmp_path / "ct", who, slices=12, size=128),
        data.mr(tmp_path / "mr", who.series(2), times=2, slices=6),
    ]
    for one in series:
        orthanc.store(one.paths)
    place = (orthanc.host, orthanc.port)
    here, there = (Project.clone(tmp_path / name, demo=False) for name in ("here", "there"))
    for project in (here, there):
        _configure(project, place, orthanc.aet, series, shard_size=len(series))
        _same_keys(project)
    with Watch() as watch:
        _on_cluster(
            there,
            "--slurm-keep-successful-logs",
            "--set-resources",
            "fetch:slurm_partition=archives",
        )
    done = here.run(*SNAKEMAKE)
    assert done.returncode == 0, done.stderr
    assert _outputs(there) == _outputs(here)
    assert {row["status"] for row in there.table()} == {"complete"}
    ran = slurm.squeue("%k|%P|%D").splitlines()
    assert len(ran) == 3  # one for each step of the shard
    assert {line.split("|")[1] for line in ran if "_fetch_" in line} == {"archives"}
    assert {line.split("|")[1] for line in ran if "_fetch_" not in line} == {"all"}
    _check_nobody_is_named(slurm, there, _canaries(*series), watch)
    assert not any(SECRET in one for one in watch.seen)


def _staged(project: Project) -> dict[str, int]:
    """How many instances of each series are verified and wait."""
    folders = (project.results / "staging").glob("*")
    return {folder.name: len([*folder.glob("*.dcm")]) for folder in folders}


def _state(slurm: Slurm, job: str) -> str:
    return slurm.jobs()[job]


def test_killed_fetches_leave_nothing_partial_and_go_on_where_they_were(
    tmp_path: Path, slurm: Slurm
) -> None:
    series = [
        data.mr(tmp_path / f"mr{n}", _identity(f"K{n}"), times=1, slices=SLICES) for n in range(4)
    ]
    with FaultyArchive([path for one in series for path in one.paths]) as archive:
        project = Project.clone(tmp_path / "clone", demo=False)
        place = (archive.host, archive.port)
        slow = {"instances_per_second": 4, "associations": 4}  # one a second for each job
        _configure(project, place, archive.aet, series, **slow)
        _same_keys(project)
        assert project.run("seriesport", "plan").returncode == 0
        ledgers = [f"results/dicom/source-{n:04d}/ledger.tsv" for n in (1, 2, 3, 4)]
        with Watch() as watch, _running(project, "--retries=0", *ledgers) as run:
            wait_until(
                lambda: len(_staged(project)) == 4 and min(_staged(project).values()) > 3,
                90,
                "four fetches",
            )
            jobs = [line.split("|") for line in slurm.squeue("%T|%N|%i").splitlines()]
            running = sorted((node, job) for state, node, job in jobs if state == "RUNNING")
            (node, cancelled), (_, lost), (_, ended), (_, requeued) = running
            slurm.end_at_once(ended)
            slurm.scancel(cancelled)
            slurm.requeue(requeued)
            wait_until(lambda: _state(slurm, cancelled) == "CANCELLED", 30, "scancel")
            slurm.lose(node)
            wait_until(lambda: _state(slurm, ended) == "TIMEOUT", 90, "the wall time")
            wait_until(lambda: _state(slurm, lost) == "PENDING", 90, "the loss of a node")
            for job in (requeued, lost):
                assert "Restarts=1" in slurm.run("scontrol", "show", "job", job)
            assert not [*project.results.glob("dicom/*/*.zip")]
            assert not [*project.results.glob("dicom/*/ledger.tsv")]
            kept = _staged(project)
            assert len(kept) == 4
            _interrupt(run)
        slurm.restore(node)
        wait_until(
            lambda: not set(slurm.jobs().values()) & {"RUNNING", "PENDING", "COMPLETING"},
            60,
            "an end",
        )
        kept = _staged(project)
        assert min(kept.values()) > 3
        assert not [*project.results.glob("dicom/*/*.zip")]

        _serve(project, place, associations=2)
        archive.forget()
        archive.at_once = 0
        assert project.run(*SNAKEMAKE, "--unlock").returncode == 0
        with Watch() as again:
            _on_cluster(project, *ledgers)
        missing = 4 * SLICES - sum(kept.values())
        assert len(archive.sent) == missing
        assert archive.at_once <= 2
        bundles = [*project.results.glob("dicom/*/*.zip")]
        got = {one.uid: one.payload.open().read() for path in bundles for one in read_bundle(path)}
        assert got == {uid: content for one in series for uid, content in one.datasets.items()}
        assert not [*project.results.glob("*/*/lease*")]
        watch.seen |= again.seen
        _check_nobody_is_named(slurm, project, _canaries(*series), watch)


def _later(minutes: int) -> str:
    return (datetime.now() + timedelta(minutes=minutes)).strftime("%H:%M")  # noqa: DTZ005


def test_a_fetch_waits_in_the_queue_until_the_window_opens(tmp_path: Path, slurm: Slurm) -> None:
    made = data.mr(tmp_path / "mr", _identity("W"), times=1, slices=3)
    project = Project.clone(tmp_path / "clone", demo=False)

    def held_back() -> list[str]:
        lines = [line.split("|") for line in slurm.squeue("%i|%T|%r|%k").splitlines()]
        return [
            one[0] for one in lines if "fetch" in one[3] and one[1:3] == ["PENDING", "BeginTime"]
        ]

    with FaultyArchive(made.paths) as archive:
        window = f"{_later(120)}-{_later(180)}"
        _configure(project, (archive.host, archive.port), archive.aet, [made], window=window)
        assert project.run("seriesport", "plan").returncode == 0
        archive.forget()
        with _running(project, "results/dicom/source-0001/ledger.tsv"):
            wait_until(held_back, 60, "a fetch that is held back")
            [first] = held_back()
            slurm.release(first)
            wait_until(lambda: set(held_back()) - {first}, 90, "the fetch that was sent again")
        assert not archive.asked
        assert not [*project.results.glob("dicom/*/ledger.tsv")]
    log = (project.results / "logs" / "fetch" / "source-0001.log").read_text()
    assert "window-closed" in log


def test_a_job_gets_more_of_what_it_ran_out_of_and_goes_on_where_it_was(
    tmp_path: Path, slurm: Slurm
) -> None:
    made = data.mr(tmp_path / "mr", _identity("M"), times=1, slices=60)
    project = Project.clone(tmp_path / "clone", demo=False)
    ledger = "results/dicom/source-0001/ledger.tsv"
    with FaultyArchive(made.paths) as archive:
        slow = {"instances_per_second": 15}
        _configure(project, (archive.host, archive.port), archive.aet, [made], **slow)
        assert project.run("seriesport", "plan").returncode == 0
        archive.forget()
        before = set(slurm.jobs())

        def jobs() -> list[str]:
            return sorted(set(slurm.jobs()) - before, key=int)

        with _running(
            project, "--set-resources", "fetch:mem_mb=180", "--retries=0", "--", ledger
        ) as run:
            assert run.wait(120) == 1
        with _running(project, ledger) as run:
            wait_until(lambda: [*_staged(project).values()] > [30], 90, "a fetch that goes on")
            slurm.scancel(jobs()[1])
            assert run.wait(120) == 0, (project.folder / "run.log").read_text()[-6000:]
        assert set(archive.sent) == set(made.uids)
        assert len(archive.sent) - len(made.uids) <= 6  # on its way, or being checked, at the ends
    killed, cancelled, last = jobs()
    assert re.search(rf"(Job {killed}|StepId={killed}\.\w+) exceeded memory limit", slurm.logs())
    assert [slurm.jobs()[job] for job in (cancelled, last)] == ["CANCELLED", "COMPLETED"]
    asked = dict(line.split("|", 1) for line in slurm.squeue("%i|%m %l").splitlines())
    assert [asked[job] for job in (killed, cancelled, last)] == [
        "180M 21:00",
        "1528M 21:00",
        "1528M 21:00",
    ]
    [bundle] = project.results.glob("dicom/*/*.zip")
    assert {one.uid for one in read_bundle(bundle)} == set(made.uids)
    assert not [*project.results.glob("logs/*/*.needs")]


@pytest.mark.usefixtures("slurm")
def test_the_jobs_of_a_cluster_together_keep_to_the_associations_of_an_archive(
    tmp_path: Path,
) -> None:
    series = [data.mr(tmp_path / f"mr{n}", _identity(f"T{n}"), times=1, slices=8) for n in range(6)]
    project = Project.clone(tmp_path / "clone", demo=False)
    with FaultyArchive([path for one in series for path in one.paths]) as archive:
        limits = {"associations": 3, "instances_per_second": 6}
        place = (archive.host, archive.port)
        _configure(project, place, archive.aet, series, shard_size=3, **limits)
        assert project.run("seriesport", "plan").returncode == 0
        archive.at_once = 0
        ledgers = [f"results/dicom/source-{n:04d}/ledger.tsv" for n in (1, 2)]
        _on_cluster(project, *ledgers)
        assert sorted(archive.sent) == sorted(uid for one in series for uid in one.uids)
        assert archive.at_once == 3


def _ledgers(step: str) -> list[str]:
    return [f"results/{step}/local-{n:04d}/ledger.tsv" for n in (1, 2, 3)]


def _at_once(requests: list[Logged]) -> int:
    """The most requests at one time, save for the moment in which a reply is on its way."""
    return max(sum(o.began <= r.began < o.ended - 0.1 for o in requests) for r in requests)


def test_the_jobs_of_a_cluster_together_keep_to_the_connections_of_an_xnat(
    tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = [
        data.mr(tmp_path / "mr" / f"{n}", _identity("X").series(n), times=1, slices=4)
        for n in range(1, 4)
    ]
    project = Project.clone(tmp_path / "clone", demo=False)
    with Xnat(tmp_path / "xnat") as xnat, Watch() as watch:
        xnat.add_user("researcher", SECRET)
        xnat.add_project("STUDY", researcher="member")
        xnat.faults.add(Fault("stall", "*", seconds=0.2, times=None))
        config = {
            "formats": ["preview"],
            "shard_size": 1,
            "servers": {"xnat": {"url": xnat.url, "connections": 2}},
        }
        (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        # Each into an experiment of its own, since into one they take turns.
        session = "xnat://xnat/STUDY/CANARYsubject/CANARYsession"
        entries = [
            {"source": f"{tmp_path}/mr/{n}", "destinations": [f"{session}{n}"]} for n in range(1, 4)
        ]
        project.write_cohort(yaml.safe_dump({"cohort": entries}))
        netrc = project.folder / "netrc"
        netrc.touch(0o600)
        netrc.write_text(f"machine 127.0.0.1 login researcher password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(netrc))
        assert project.run("seriesport", "plan").returncode == 0
        refused = project.run(*PROFILE, "--slurm-array-jobs=all")
        assert refused.returncode == 1
        assert "(upload: 3 jobs share 2 connections to xnat): give" in refused.stderr
        [works] = re.findall("give (--slurm-array-jobs=[a-z,]+)", refused.stderr)
        _on_cluster(project, works, *_ledgers("dicom"))
        assert sum("_" in job for job in slurm.jobs()) == 3  # the tasks of an array
        done = project.run(*SNAKEMAKE, *_ledgers("converted"))
        assert done.returncode == 0, done.stderr
        _on_cluster(project)
        assert _at_once(xnat.requests) == 2
        stored = [xnat.stored("STUDY", f"CANARYsession{n}", str(n)) for n in range(1, 4)]
        assert [len(files) for files in stored] == [len(one.uids) for one in series]
        before = xnat.count("PUT", "/files/")
        _on_cluster(project)
        assert xnat.count("PUT", "/files/") == before
    canaries = [*_canaries(*series), "CANARYsubject", "CANARYsession"]
    _check_nobody_is_named(slurm, project, canaries, watch)
