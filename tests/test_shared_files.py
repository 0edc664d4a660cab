"""File systems that several machines share: no locks, coarse times, and two jobs on one shard."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import data
from faulty import Fault, FaultyArchive
from peers import wait_until
from project import SNAKEMAKE, Project, tree
from seriesport.errors import SeriesportError
from seriesport.store.files import write_text
from seriesport.store.lease import SILENCE, Pace, lease
from stopped import intruders, is_stopped, wake

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = Pace(beat=0.05, silence=0.6)
ELSEWHERE = f"{'e' * 16}-17-4711-{'0' * 16}"
TIMES = 2
"""Seconds in which the odd file system counts times."""


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes a folder an odd file system for the processes that load it."""
    library = tmp_path_factory.mktemp("odd") / "odd_files.so"
    source = Path(__file__).with_name("odd_files.c")
    command = ["/usr/bin/gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def _oddly(odd: Path, folder: Path) -> dict[str, str]:
    return {"LD_PRELOAD": str(odd), "ODD_FILES": str(folder)}


def _python(
    code: str, *arguments: object, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | (env or {}),
    )


def _output(process: subprocess.Popen[str], timeout: float = 60) -> str:
    try:
        return process.communicate(timeout=timeout)[0]
    finally:
        process.kill()


HOLD = """
import sys, time
from pathlib import Path
from seriesport.store.lease import lease
with lease(Path(sys.argv[1]), wait=0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_leaves_at_once_while_the_first_is_at_work(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with _python(HOLD, path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(SeriesportError) as caught, lease(path, wait=0):
            pass
        first.kill()
    assert caught.value.code == "shard-busy"
    assert time.monotonic() - started < SILENCE / 2


def test_a_killed_process_of_this_machine_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with _python(HOLD, path) as first:
        assert first.stdout is not None
        first.stdout.readline()
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried yet
        started = time.monotonic()
        with lease(path, wait=0):
            assert time.monotonic() - started < SILENCE / 2
    assert list(tmp_path.iterdir()) == []


@contextmanager
def _beating(path: Path, beats: int = 10_000) -> Iterator[None]:
    """A holder on another machine that shows that it lives."""
    ended = threading.Event()

    def beat() -> None:
        for count in range(beats):
            (path / f"{ELSEWHERE}-{count}").rename(path / f"{ELSEWHERE}-{count + 1}")
            if ended.wait(0.05):
                return

    (path / f"{ELSEWHERE}-0").mkdir(parents=True)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_holder_on_another_machine_is_respected_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with (
        _beating(path),
        pytest.raises(SeriesportError) as caught,
        lease(path, wait=0, pace=QUICK),
    ):
        pass
    assert caught.value.code == "shard-busy"
    assert [one.name.startswith(ELSEWHERE) for one in path.iterdir()] == [True]


@pytest.mark.parametrize("left", [f"{ELSEWHERE}-4", "what is this"], ids=["holder", "unknown"])
def test_a_silent_holder_on_another_machine_is_replaced(tmp_path: Path, left: str) -> None:
    path = tmp_path / "lease"
    (path / left).mkdir(parents=True)
    started = time.monotonic()
    with lease(path, wait=0, pace=QUICK):
        assert QUICK.silence <= time.monotonic() - started < SILENCE / 2
    assert list(tmp_path.iterdir()) == []


DIE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from stopped import at_lines
from seriesport.store.lease import lease
left = int(sys.argv[2])
def act(frame):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
at_lines(act, "_take", "begin", "beat", "end")
with lease(Path(sys.argv[1]), wait=0):
    pass
"""


@pytest.mark.slow
def test_a_process_killed_at_any_line_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    codes: list[int] = []
    while 0 not in codes:
        path = tmp_path / str(len(codes))
        with _python(DIE, path, len(codes) + 1, Path(__file__).parent) as killed:
            codes.append(killed.wait(60))
        started = time.monotonic()
        with lease(path, wait=0):
            assert time.monotonic() - started < SILENCE / 2
        assert not path.exists()
    assert len(codes) > 20
    assert set(codes[:-1]) == {-signal.SIGKILL}


def test_a_holder_that_was_replaced_stops_and_leaves_the_other_alone(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    stopped = threading.Event()
    with lease(path, wait=0, pace=QUICK, on_lost=stopped.set):
        _replace(path)
        assert stopped.wait(5)
        with pytest.raises(SeriesportError) as caught:
            write_text(tmp_path / "made", "of one who was replaced")
    assert caught.value.code == "shard-busy"
    assert [one.name for one in path.iterdir()] == [f"{ELSEWHERE}-0"]
    assert not (tmp_path / "made").exists()


def _replace(path: Path) -> None:
    """Do what another process does that takes a lease over."""
    for one in path.iterdir():
        one.rmdir()
    (path / f"{ELSEWHERE}-0").mkdir()


def test_a_job_that_was_replaced_ends(tmp_path: Path) -> None:
    code = HOLD.replace("wait=0", "wait=0, pace=Pace(0.05, 0.6)").replace(
        "import lease", "import Pace, lease"
    )
    with _python(code, tmp_path / "lease") as job:
        assert job.stdout is not None
        job.stdout.readline()
        shutil.rmtree(tmp_path / "lease")
        assert job.wait(10) == -signal.SIGTERM


LATE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from stopped import PACE, at_lines, stop
from seriesport.store.lease import lease
at_lines(stop, sys.argv[2])
with lease(Path(sys.argv[1]), wait=0, pace=PACE):
    print("held", flush=True)
"""


@contextmanager
def _stopping(path: Path, function: str) -> Iterator[subprocess.Popen[str]]:
    """A process that wants a lease and stops at each line of a function."""
    with _python(LATE, path, function, Path(__file__).parent) as late:
        try:
            wait_until(lambda: is_stopped(late), 30, "the first stop")
            yield late
        finally:
            late.kill()


@pytest.mark.parametrize("function", ["_end", "begin", "beat"])
def test_who_was_stopped_in_a_take_over_leaves_the_next_holder_alone(
    tmp_path: Path, function: str
) -> None:
    path = tmp_path / "lease"
    (path / f"{'d' * 16}-17-4711-{'0' * 16}-4").mkdir(parents=True)
    with _stopping(path, function) as late:
        shutil.rmtree(path, ignore_errors=True)
        with _beating(path):
            wake([late])
            said = _output(late)
            assert [one.name.startswith(ELSEWHERE) for one in path.iterdir()] == [True]
    assert "held" not in said
    assert "another process is at work here" in said


def test_a_sign_of_life_in_the_last_moment_saves_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with _beating(path, beats=0), _stopping(path, "_end") as late:
        (path / f"{ELSEWHERE}-0").rename(path / f"{ELSEWHERE}-1")
        wake([late])
        assert "another process is at work here" in _output(late)
        assert [one.name for one in path.iterdir()] == [f"{ELSEWHERE}-1"]


@pytest.mark.parametrize("where", ["here", "other"])
@pytest.mark.parametrize("files", ["plain", "odd"])
@pytest.mark.slow
def test_of_many_that_find_a_dead_holder_and_are_stopped_anywhere_one_goes_at_a_time(
    tmp_path: Path, odd: Path, where: str, files: str
) -> None:
    rounds = 6
    for one in range(rounds):
        (tmp_path / f"lease{one}" / f"{ELSEWHERE}-0").mkdir(parents=True)
    env = os.environ | (_oddly(odd, tmp_path) if files == "odd" else {})
    script = Path(__file__).with_name("stopped.py")
    several = [
        subprocess.Popen(
            [sys.executable, script, tmp_path, str(n), "5", str(rounds), where], env=env, text=True
        )
        for n in range(5)
    ]
    wake(several)
    assert [one.returncode for one in several] == [0] * 5
    lines = (tmp_path / "log").read_text().splitlines()
    assert [*intruders(lines)] == []
    assert sum(line.startswith("kept") for line in lines) > rounds
    assert not [*tmp_path.glob("*lease*")]


WRITE = """
import sys
from pathlib import Path
from seriesport.store.files import writing
for _ in range(15):
    with writing(Path(sys.argv[1])) as stream:
        for _ in range(50):
            stream.write(sys.argv[2].encode() * 2000)
"""


def test_two_writers_of_one_file_take_turns_without_locks(tmp_path: Path, odd: Path) -> None:
    path = tmp_path / "file"
    env = _oddly(odd, tmp_path)
    writers = [_python(WRITE, path, letter, env=env) for letter in "ab"]
    seen: set[bytes] = set()
    while any(one.poll() is None for one in writers):
        with suppress(FileNotFoundError):
            seen.add(path.read_bytes())
    assert [_output(one) for one in writers] == ["", ""]
    assert seen <= {b"a" * 100_000, b"b" * 100_000}
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


HALF = """
import sys
from pathlib import Path
from seriesport.store.files import writing
with writing(Path(sys.argv[1])) as stream:
    stream.write(sys.argv[2].encode() * 1000)
    print("half", flush=True)
    sys.stdin.readline()
    stream.write(sys.argv[2].encode() * 1000)
"""


def test_a_writer_that_was_stopped_and_replaced_leaves_the_file_to_the_other(
    tmp_path: Path, odd: Path
) -> None:
    path = tmp_path / "file"
    env = _oddly(odd, tmp_path)
    with _python(HALF, path, "a", env=env) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "half\n"
        first.send_signal(signal.SIGSTOP)
        shutil.rmtree(next(tmp_path.glob("*.lease*")))  # as others do after a minute
        with _python(HALF, path, "b", env=env) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "half\n"
            first.send_signal(signal.SIGCONT)
            said = first.communicate("\n", timeout=60)[0]
            assert not path.exists()
            assert second.communicate("\n", timeout=60)[0] == ""
    assert "another process has taken this work over" in said
    assert path.read_bytes() == b"b" * 2000
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def _run(project: Project, *command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=project.folder,
        env=project.environment() | env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_a_cohort_gives_the_same_results_on_an_odd_file_system(tmp_path: Path, odd: Path) -> None:
    made = data.mr(tmp_path / "made", data.identity("odd files"), times=1, slices=6)
    found: list[dict[str, str]] = []
    for name in ("plain", "odd"):
        project = Project.clone(tmp_path / name, demo=False)
        shutil.copytree(made.paths[0].parent, project.folder / "source")
        project.write_cohort("cohort: [{source: source, destinations: [out, out.zip]}]")
        (project.folder / "config" / "config.yaml").write_text("formats: [nifti, preview]\n")
        project.results.mkdir(mode=0o700)
        (project.results / "secret").write_bytes(b"0f" * 32)
        (project.results / "secret").chmod(0o600)
        env = _oddly(odd, project.folder / "results") if name == "odd" else {}
        done = _run(project, *SNAKEMAKE, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        made_of_it = [tree(project.results / step) for step in ("dicom", "converted")]
        found.append(
            {k: v for one in [*made_of_it, tree(project.folder / "out")] for k, v in one.items()}
        )
    assert found[0] == found[1]
    before = project.bundles()
    again = _run(project, *SNAKEMAKE, env=env)
    assert again.returncode == 0
    assert "rule fetch" not in again.stderr
    assert project.bundles() == before


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[FaultyArchive, data.Made]]:
    made = data.mr(tmp_path / "made", data.identity("shared files"), times=1, slices=40)
    with FaultyArchive(made.paths) as archive:
        yield archive, made


def _project(folder: Path, archive: FaultyArchive, made: data.Made, **limits: Any) -> Project:
    project = Project.clone(folder, demo=False)
    server = {"host": archive.host, "port": archive.port, "attempts": 1, **limits}
    config = {"formats": ["nifti"], "servers": {"faulty": server}}
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    project.write_cohort(
        "cohort:\n"
        f"  - source: dicom://faulty/{archive.aet}\n"
        f'    patient: "{made.identity.patient_id}"\n'
        f'    study: "{made.identity.study_instance_uid}"\n'
    )
    return project


def _shown(path: Path) -> int:
    """When a file was written, as the odd file system tells its processes."""
    return int(path.stat().st_mtime) // TIMES * TIMES


@pytest.mark.slow
def test_what_failed_is_tried_again_where_times_are_coarse(
    tmp_path: Path, odd: Path, archive: tuple[FaultyArchive, data.Made]
) -> None:
    server, made = archive
    project = _project(tmp_path / "clone", server, made)
    env = _oddly(odd, project.results)
    server.fail(Fault.FEWER, times=100)
    failed = _run(project, *SNAKEMAKE, env=env)
    assert failed.returncode != 0
    assert "[cohort-failed]" in failed.stderr
    [ledger] = project.results.glob("dicom/*/ledger.tsv")
    [order] = project.results.glob("plan/retry/dicom/*")
    assert _shown(order) >= _shown(ledger) + TIMES
    server.heal()
    done = _run(project, *SNAKEMAKE, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


FETCH = """
import sys
from pathlib import Path
import yaml
from seriesport.store import lease
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.job import job
if sys.argv[1]:
    lease._here = lambda: sys.argv[1]
config = yaml.safe_load(Path("config/config.yaml").read_text())
with job(f"log-{sys.argv[2]}", config) as (results, config):
    fetch_shard(results, next(Path("results/plan/shards").iterdir()).stem, config.settings)
"""


@pytest.mark.slow
def test_of_two_nodes_on_one_shard_the_second_leaves_and_the_series_is_whole(
    tmp_path: Path,
    archive: tuple[FaultyArchive, data.Made],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, made = archive
    project = _project(tmp_path / "clone", server, made, instances_per_second=4, associations=1)
    planned = project.snakemake("results/plan/shards.tsv")
    assert planned.returncode == 0, planned.stderr
    monkeypatch.chdir(project.folder)
    server.forget()
    first = _python(FETCH, "", 1)
    staging = project.results / "staging"
    wait_until(lambda: bool([*staging.glob("*/*.dcm")]), 30, "the first instance")
    second = _python(FETCH, "e" * 16, 2)
    assert _output(second) == ""
    assert "another job is at work on this shard [shard-busy]" in Path("log-2").read_text()
    assert second.returncode == 1
    assert first.poll() is None
    assert _output(first) == ""
    assert first.returncode == 0
    assert sorted(server.sent) == sorted(made.uids)
    assert len([*project.results.glob("dicom/*/*.zip")]) == 1
    assert not [*project.results.glob("dicom/*/lease*")]
