"""`seriesport cp` of several series at once."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

import pytest
import yaml

import data
from faulty import Fault, FaultyArchive
from project import BIN
from seriesport.cli.cp import cp
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.transports.archive.server import DicomServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = data.identity("copying")
SIZES = (9, 2, 3, 2, 4, 2)
"""Instances of each series: the first takes longest."""
COUNT = sum(SIZES)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyArchive]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    paths: list[Path] = []
    for number, slices in enumerate(SIZES, 1):
        made = data.ct(tmp_path / "made" / str(number), WHO.series(number), slices=slices, size=8)
        paths += made.paths
    with FaultyArchive(paths) as archive:
        yield archive


def servers(
    archive: FaultyArchive, associations: int = 4, instances_per_second: float | None = None
) -> Settings:
    server = DicomServer(
        "pacs",
        archive.host,
        archive.port,
        associations=associations,
        instances_per_second=instances_per_second,
        attempts=2,
        backoff=0.05,
    )
    return Settings(servers={"pacs": server})


ADDRESS = f"dicom://pacs/FAULTY//{WHO.study_instance_uid}"


def copied(folder: Path) -> list[int]:
    """How many instances each folder has, in order of the folders' names."""
    return [len(list(one.glob("*.dcm"))) for one in sorted(folder.iterdir()) if one.is_dir()]


@pytest.mark.parametrize("associations", [1, 3])
def test_as_many_series_are_copied_at_once_as_the_server_allows(
    archive: FaultyArchive,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    associations: int,
) -> None:
    settings = servers(archive, associations=associations, instances_per_second=100)
    cp(ADDRESS, "out", settings, as_json=True)
    assert archive.at_once == associations
    assert len(archive.sent) == COUNT
    # in the order of the listing, whichever ended first
    assert [row["instances"] for row in json.loads(capsys.readouterr().out)] == list(SIZES)
    assert copied(tmp_path / "out") == list(SIZES)


def test_one_archive_under_two_titles_gets_no_more_associations_than_it_allows(
    archive: FaultyArchive,
) -> None:
    archive.bears = 1
    with pytest.raises(SeriesportError) as caught:
        cp(ADDRESS, "dicom://pacs/OTHER", servers(archive, associations=1), as_json=True)
    assert caught.value.code == "association-rejected"  # as it answers to one title; not: busy


@pytest.mark.parametrize("bears", [1, 2])
def test_an_archive_that_bears_less_than_it_is_said_to_gives_every_series(
    archive: FaultyArchive, tmp_path: Path, bears: int
) -> None:
    archive.bears = bears
    cp(ADDRESS, "out", servers(archive), as_json=True)
    assert archive.at_once <= bears
    assert sorted(copied(tmp_path / "out")) == sorted(SIZES)


@pytest.mark.parametrize("destination", ["out", "out.zip"])
def test_a_series_that_fails_does_not_keep_the_others(
    archive: FaultyArchive, capsys: pytest.CaptureFixture[str], destination: str
) -> None:
    archive.fail(Fault.FIND_STATUS, 1)
    settings = servers(archive, associations=1)
    with pytest.raises(SeriesportError) as caught:
        cp(ADDRESS, destination, settings, as_json=True)
    assert str(caught.value).startswith("series 1 of 6: ")
    assert caught.value.code == "dimse-failure"
    rows = json.loads(capsys.readouterr().out)
    assert [row["instances"] for row in rows] == list(SIZES[1:])
    cp(ADDRESS, destination, settings, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["sent"] for row in rows] == [SIZES[0], 0, 0, 0, 0, 0]


class _Typed:
    """A copy that somebody watches on a terminal."""

    def __init__(self, folder: Path, archive: FaultyArchive, rate: float) -> None:
        server = {
            "host": archive.host,
            "port": archive.port,
            "associations": 2,
            "instances_per_second": rate,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump({"servers": {"pacs": server}}))
        self._screen, side = pty.openpty()
        self.process = subprocess.Popen(
            [str(BIN / "seriesport"), "cp", "--config", "config.yaml", ADDRESS, "out"],
            cwd=folder,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=side,
        )
        os.close(side)
        self._shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # EIO is the end
            while more := os.read(self._screen, 1 << 16):
                self._shown += more

    def end(self) -> str:
        """Wait for the end; give what was on the screen."""
        try:
            self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self._reader.join()
            os.close(self._screen)
        return self._shown.decode()


def wait_for(archive: FaultyArchive, instances: int) -> None:
    deadline = time.monotonic() + 30
    while len(archive.sent) < instances and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_copy_that_is_stopped_says_how_far_it_is_and_goes_on_from_there(
    archive: FaultyArchive, tmp_path: Path, number: signal.Signals
) -> None:
    copy = _Typed(tmp_path, archive, rate=20)
    wait_for(archive, COUNT - 3)
    copy.process.send_signal(number)
    screen = copy.end()
    assert copy.process.returncode == 130
    assert "Traceback" not in screen
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert re.search(r"\d of 6 series complete .*/22 instances .* MB/s", plain)
    said = re.search(r"stopped at (\d) of 6 series complete; .* \[interrupted\] Run again", screen)
    assert said
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # the cursor is there again
    there = copied(tmp_path / "out")
    assert sum(one == of for one, of in zip(there, SIZES, strict=False)) >= int(said[1]) >= 1
    assert not list((tmp_path / "out").rglob(".*"))  # no partial file, no lock
    cp(ADDRESS, "out", servers(archive), as_json=True)
    assert len(archive.sent) < COUNT + 10  # what is there is not fetched again
    assert copied(tmp_path / "out") == list(SIZES)
    assert [p.name for p in (tmp_path / "cache" / "seriesport").iterdir()] == ["secret"]


def test_a_second_ctrl_c_ends_a_copy_that_waits_for_a_silent_archive(
    archive: FaultyArchive, tmp_path: Path
) -> None:
    archive.fail(Fault.SILENT, inf, at=2)
    copy = _Typed(tmp_path, archive, rate=100)
    wait_for(archive, 2)
    for _ in range(3):
        with suppress(ProcessLookupError):
            copy.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    screen = copy.end()
    assert copy.process.returncode == 130
    assert "Traceback" not in screen
    assert "[interrupted]" in screen
