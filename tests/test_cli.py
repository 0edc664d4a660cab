"""`seriesport` as a person at the terminal, or a script, meets it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import data
from peers.xnat import Xnat
from project import BIN
from seriesport import Series
from seriesport.errors import REASONS
from seriesport.serve.archive import Archive
from seriesport.store.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = data.identity("cli", patient_id="0047 cli")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> data.Made:
    return data.mr(tmp_path_factory.mktemp("cli") / "series", WHO, times=1, slices=4)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive", "ARCHIVE") as archive:
        yield archive


class Terminal:
    """Types commands in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "seriesport"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> list[dict[str, object]]:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def fails(self, *arguments: str) -> str:
        """One line on stderr that ends with what to do; gives it."""
        done = self(*arguments)
        assert done.returncode not in (0, 70)
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("seriesport: ")
        return done.stderr


@pytest.fixture
def seriesport(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


def test_a_series_goes_round_by_way_of_archive_zip_and_folder(
    seriesport: Terminal, series: data.Made, archive: Archive
) -> None:
    folder = str(series.paths[0].parent)
    up = seriesport.json("cp", folder, archive.url)
    assert (up[0]["instances"], up[0]["sent"], up[0]["proof"]) == (4, 4, "listed")
    address = f"{archive.url}/0047%20cli/{WHO.accession_number}/1"
    assert seriesport.json("cp", address, "all.zip")[0]["proof"] == "digest"
    assert seriesport.json("cp", "all.zip", "back")[0]["instances"] == 4
    back = sorted((seriesport.folder / "back").rglob("*.dcm"))
    assert [data.dataset_bytes(path) for path in back] == list(series.datasets.values())


@pytest.mark.slow
def test_a_second_copy_sends_nothing(
    seriesport: Terminal, series: data.Made, archive: Archive
) -> None:
    folder = str(series.paths[0].parent)
    for destination in (archive.url, "out", "out.zip"):
        assert seriesport.json("cp", folder, destination)[0]["sent"] == 4
        again = seriesport.json("cp", folder, destination)[0]
        assert (again["sent"], again["there_already"]) == (0, 4)


def test_a_copy_leaves_nothing_behind_in_its_cache(seriesport: Terminal, series: data.Made) -> None:
    seriesport.json("cp", str(series.paths[0].parent), "out")
    assert [p.name for p in (seriesport.folder / "cache" / "seriesport").iterdir()] == ["secret"]


def test_others_cannot_read_a_copy_unless_config_says_that_the_group_may(
    seriesport: Terminal, series: data.Made
) -> None:
    folder = str(series.paths[0].parent)
    config = seriesport.folder / "group.yaml"
    config.write_text("readable_by: group")
    for options, readers in (((), 0), (("--config", "group.yaml"), 0o050)):
        out = seriesport.folder / f"out{readers}"
        seriesport.json("cp", folder, out.name, *options)
        found = {stat.S_IMODE(path.stat().st_mode) for path in (out, *out.rglob("*"))}
        assert found == {0o700 | readers, 0o600 | readers & 0o040}


def test_a_cohort_that_git_tracks_is_warned_of_without_its_identifiers(
    seriesport: Terminal, series: data.Made
) -> None:
    cohort = seriesport.folder / "config" / "cohort.yaml"
    write_text(
        cohort, f"cohort: [{{source: {series.paths[0].parent}, patient: '{WHO.patient_id}'}}]"
    )
    write_text(cohort.with_name("config.yaml"), "formats: []")
    subprocess.run(["git", "init", "-q", seriesport.folder], check=True, timeout=60)
    before = seriesport("plan")
    assert (before.returncode, before.stderr) == (0, "")
    subprocess.run(["git", "add", "config"], cwd=seriesport.folder, check=True, timeout=60)
    after = seriesport("plan")
    assert after.returncode == 0
    assert after.stderr == (
        "seriesport: git tracks config/cohort.yaml, so that a commit publishes its identifiers;"
        " run: git rm --cached config/cohort.yaml [cohort-tracked]\n"
    )


def test_ls_lists_series_with_their_identifiers(
    seriesport: Terminal, series: data.Made, archive: Archive
) -> None:
    seriesport.json("cp", str(series.paths[0].parent), archive.url)
    (row,) = seriesport.json("ls", archive.url)
    assert row["patient"] == "0047 cli"
    assert row["series"] == WHO.series_instance_uid
    assert row["instances"] == 4
    plain = seriesport("ls", archive.url).stdout.splitlines()
    assert plain[0].split("\t")[0] == "patient"
    assert len(plain) == 2


def test_verify_tells_a_whole_series_from_a_damaged_one(
    seriesport: Terminal, series: data.Made
) -> None:
    seriesport.json("cp", str(series.paths[0].parent), "out")
    assert seriesport("verify", "out").returncode == 0
    victim = sorted((seriesport.folder / "out").rglob("*.dcm"))[2]
    victim.write_bytes(victim.read_bytes()[:-10])
    line = seriesport.fails("verify", "out")
    assert "[instance-truncated]" in line
    assert "1 of 4" in line


def test_verify_against_an_archive_names_what_is_not_there(
    seriesport: Terminal, series: data.Made, archive: Archive, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    part.mkdir()
    for path in series.paths[:3]:
        (part / path.name).write_bytes(path.read_bytes())
    seriesport.json("cp", str(part), archive.url)
    assert seriesport("verify", str(part), "--against", archive.url).returncode == 0
    line = seriesport.fails("verify", str(series.paths[0].parent), "--against", archive.url)
    assert "1 of 4 instances is not there (number 4)" in line


@pytest.fixture
def copied(seriesport: Terminal, archive: Archive, tmp_path: Path) -> list[Path]:
    """Two series of one study in an archive and in `out`: the files there, a folder a series."""
    for number, slices in ((1, 3), (2, 4)):
        made = data.ct(tmp_path / "made" / str(number), WHO.series(number), slices=slices, size=8)
        assert len(made.paths) == slices
    seriesport.json("cp", "made", archive.url)
    seriesport.json("cp", "made", "out")
    return sorted((tmp_path / "out").iterdir())


def compared(seriesport: Terminal, *arguments: str) -> tuple[int, str, dict[str, dict[str, str]]]:
    """Exit code, message and rows by series number of a comparison."""
    done = seriesport("verify", *arguments, "--json")
    return done.returncode, done.stderr, {r["series_number"]: r for r in json.loads(done.stdout)}


@pytest.mark.slow
def test_verify_against_an_archive_names_what_is_missing_here(
    seriesport: Terminal, archive: Archive, copied: list[Path]
) -> None:
    against = ("--against", f"{archive.url}//{WHO.study_instance_uid}")
    status, message, rows = compared(seriesport, "out", *against)
    assert (status, message) == (0, "")
    assert {row["result"] for row in rows.values()} == {"whole"}
    sorted(copied[0].iterdir())[1].unlink()
    status, message, rows = compared(seriesport, "out", *against)
    assert status == 3
    assert rows["1"]["result"] == "1 of 3 instances are not here (number 2)"
    assert rows["2"]["result"] == "whole"
    assert "[missing-here]" in message
    shutil.rmtree(copied[1])
    status, message, rows = compared(seriesport, "out", *against)
    assert status == 3
    assert rows["2"]["result"] == "none of its 4 instances is here"
    assert (rows["2"]["instances"], rows["2"]["there"]) == (0, 4)
    assert "2 of 2 series failed" in message
    # of a whole archive, the studies that are here are compared
    status, _, rows = compared(seriesport, "out", "--against", archive.url)
    assert (status, sorted(rows)) == (3, ["1", "2"])


@pytest.mark.slow
def test_verify_tells_which_side_lacks_what(
    seriesport: Terminal, tmp_path: Path, copied: list[Path]
) -> None:
    min(copied[0].iterdir()).unlink()
    status, message, rows = compared(seriesport, "made", "--against", "out")
    assert status == 4
    assert "[missing-there]" in message
    assert rows["1"]["result"] == "1 of 3 instances is not there (number 1)"
    shutil.rmtree(tmp_path / "made" / "2")
    status, message, rows = compared(seriesport, "made", "--against", "out")
    assert status == 5
    assert "[missing-both]" in message
    assert rows["2"]["result"] == "none of its 4 instances is here"


def stray(path: Path, **elements: str) -> None:
    """Write a DICOM file without SOP Class UID and SOP Instance UID."""
    stray = Dataset()
    stray.PatientName = "Stray^File"
    for name, value in elements.items():
        setattr(stray, name, value)
    stray.preamble = bytes(128)
    stray.file_meta = FileMetaDataset()
    stray.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stray.save_as(path, enforce_file_format=False)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_a_stray_dicom_file_is_named_and_keeps_nobody_from_the_others(
    seriesport: Terminal, tmp_path: Path, *, zipped: bool
) -> None:
    for number in (1, 2):
        data.ct(tmp_path / "in" / str(number), WHO.series(number), slices=2, size=8)
    stray(tmp_path / "in" / "0.dcm")
    source = "in"
    if zipped:
        source = shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in")
    for command in (("ls", source), ("cp", source, "out"), ("verify", source)):
        done = seriesport(*command)
        assert done.returncode == 0, done.stderr
        assert re.search(r"passed over (file|member) \d of \d.*\[instance-invalid\]", done.stderr)
        assert len(done.stdout.splitlines()) == 3
        assert "Stray" not in done.stdout + done.stderr
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 4
    assert Series(source if zipped else tmp_path / "in", opts={"series": 2}).shape == (2, 8, 8)


@pytest.mark.slow
def test_a_file_without_uids_fails_the_series_that_it_names(
    seriesport: Terminal, tmp_path: Path
) -> None:
    for number in (1, 2):
        data.ct(tmp_path / "in" / str(number), WHO.series(number), slices=2, size=8)
    stray(tmp_path / "in" / "x.dcm", SeriesInstanceUID=WHO.series(2).series_instance_uid)
    done = seriesport("cp", "in", "out")
    assert done.returncode == 1
    assert "series 2 of 2: file 1 of 5" in done.stderr
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2
    assert seriesport("ls", "in").returncode == 1


def test_echo_says_whether_the_archive_answers(seriesport: Terminal, archive: Archive) -> None:
    done = seriesport("echo", f"{archive.url}?calling=RESEARCH1")
    assert done.stdout.splitlines()[0].split("ok: ")[1] == "'RESEARCH1' at 'ARCHIVE', without TLS"
    services = [line.split()[0] for line in done.stdout.splitlines() if " ok" in line]
    assert services == ["association", "C-ECHO", "C-FIND", "C-GET", "C-STORE"]
    told = json.loads(seriesport("echo", archive.url, "--json").stdout)
    assert told["ok"]
    assert told["checks"][2] == {"service": "C-FIND", "ok": True, "code": "", "detail": ""}
    assert "[association-rejected]" in seriesport.fails("echo", archive.url[:-1] + "X")
    assert "[archive-unreachable]" in seriesport.fails("echo", "dicom://127.0.0.1:1/ARCHIVE")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("ls", "dicom://host:x/A"), "address-invalid"),
        (("ls", "dicom://pacs/A"), "server-unknown"),
        (("ls", "absent"), "not-found"),
        (("ls", "xnat://127.0.0.1:1/project"), "server-unreachable"),
        (("cp", "absent", "out"), "not-found"),
        (("echo", "folder"), "scheme-unsupported"),
        (("plan", "--config", "absent.yaml"), "file-unreadable"),
        (("plan",), "config-missing"),
        (("serve", "absent"), "file-unreadable"),
    ],
)
def test_wrong_input_is_one_line_with_a_reason_code(
    seriesport: Terminal, arguments: tuple[str, ...], code: str
) -> None:
    line = seriesport.fails(*arguments)
    assert f"[{code}]" in line
    assert line.rstrip().endswith(REASONS[code].advice)


def test_a_copy_refuses_a_wrong_destination_before_it_fetches(
    seriesport: Terminal, series: data.Made
) -> None:
    line = seriesport.fails("cp", str(series.paths[0].parent), "out.tar.gz")
    assert "a folder's name does not end in .tar.gz" in line
    assert not list(seriesport.folder.glob("cache/seriesport/*/bundle.zip"))
    assert not (seriesport.folder / "out.tar.gz").exists()


def test_serve_gives_the_exit_code_of_its_command_and_stops_with_it(
    seriesport: Terminal, series: data.Made
) -> None:
    folder = str(series.paths[0].parent)
    command = 'echo "$SERIESPORT_SERVER_DEMO"; exit 7'
    done = seriesport("serve", folder, "--name", "demo", "--", "sh", "-c", command)
    assert done.returncode == 7
    host, port = done.stdout.strip().split(":")
    line = seriesport.fails("echo", f"dicom://{host}:{port}/SERIESPORT")
    assert "[archive-unreachable]" in line


def test_serve_without_a_command_serves_until_it_is_told_to_stop(
    seriesport: Terminal, series: data.Made
) -> None:
    folder = str(series.paths[0].parent)
    server = subprocess.Popen(
        [str(BIN / "seriesport"), "serve", folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        assert len(seriesport.json("ls", url)) == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=10) == 0
    finally:
        server.kill()
        server.wait()


def test_explain_tells_what_every_code_means(seriesport: Terminal) -> None:
    assert REASONS["incomplete"].advice in seriesport("explain", "incomplete").stdout
    listed = seriesport("explain").stdout
    assert all(re.search(f"^{code}: ", listed, re.MULTILINE) for code in REASONS)
    assert seriesport("explain", "no-such-code").returncode == 2


@pytest.mark.slow
def test_a_killed_copy_goes_on_where_it_was(
    seriesport: Terminal, tmp_path: Path, archive: Archive
) -> None:
    big = data.ct(tmp_path / "ct", data.identity("cli kill"), slices=40)
    copy = subprocess.Popen(
        [str(BIN / "seriesport"), "cp", str(big.paths[0].parent), archive.url],
        cwd=tmp_path,
        env=seriesport.environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not list((tmp_path / "archive").rglob("*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.005)
    copy.kill()
    copy.wait()
    row = seriesport.json("cp", str(big.paths[0].parent), archive.url)[0]
    assert row["instances"] == 40
    assert len(list((tmp_path / "archive").rglob("*.dcm"))) == 40


@pytest.fixture
def xnat(tmp_path: Path, seriesport: Terminal) -> Iterator[Xnat]:
    """An XNAT that config/config.yaml calls `lab`, with a scan and a user who may write."""
    with Xnat(tmp_path / "xnat") as server:
        server.add_user("me", "secret", P="member")
        made = data.ct(tmp_path / "made", data.identity("cli xnat"), slices=3, size=16)
        files = {path.name: path for path in made.paths}
        server.add_scan("P", "sub", "ses", "4", files, type="localizer", quality="questionable")
        server.add_scan("P", "sub", "ses", "4", {"a.nii.gz": b"image", "a.json": b"{}"}, "NIFTI")
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / "config.yaml").write_text(
            f"servers:\n  lab: {{url: '{server.url}'}}\n"
        )
        seriesport.environment |= {"SERIESPORT_USER_LAB": "me", "SERIESPORT_PASSWORD_LAB": "secret"}
        yield server


@pytest.mark.usefixtures("xnat")
def test_an_xnat_is_listed_by_its_scans(seriesport: Terminal) -> None:
    told = seriesport("echo", "xnat://lab/P/sub").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in told] == [
        ["log-in", "ok: with an account"],
        ["project", "ok: 1 subject"],
    ]
    (row,) = seriesport.json("ls", "xnat://lab/P")
    told = {key: row[key] for key in ("subject", "experiment", "scan", "type", "quality")}
    assert told == {
        "subject": "sub",
        "experiment": "ses",
        "scan": "4",
        "type": "localizer",
        "quality": "questionable",
    }
    assert row["instances"] == 3
    gone = seriesport.fails("echo", "xnat://lab/NOPE")
    assert "the project of the address is not there" in gone


def test_files_that_are_no_dicom_are_copied_between_xnat_and_folders(
    seriesport: Terminal, xnat: Xnat, archive: Archive, tmp_path: Path
) -> None:
    seriesport("cp", "xnat://lab/P/sub/ses/4/NIFTI", "out")
    assert (tmp_path / "out" / "a.nii.gz").read_bytes() == b"image"
    seriesport("cp", "xnat://lab/P/sub/ses/4/NIFTI", "xnat://lab/P/sub/ses/4/COPY")
    again = seriesport.json("cp", "xnat://lab/P/sub/ses/4/NIFTI", "xnat://lab/P/sub/ses/4/COPY")
    assert (again[0]["sent"], again[0]["there_already"]) == (0, 2)
    assert xnat.stored("P", "ses", "4", "COPY") == {"a.nii.gz": b"image", "a.json": b"{}"}
    line = seriesport.fails("cp", "xnat://lab/P/sub/ses/4/NIFTI", archive.url)
    assert "takes DICOM alone" in line
