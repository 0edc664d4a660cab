"""Who can read what is written: nobody but its user, or the group where config.yaml says so."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

import data
from seriesport import Series
from seriesport.access import make_folder, restrict, share_with
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.privacy import quiet_log
from seriesport.store.files import write_bytes
from seriesport.transports.file.address import FileAddress
from seriesport.transports.file.transport import FileTransport
from seriesport.transports.zip.address import ZipAddress
from seriesport.transports.zip.transport import ZipTransport
from seriesport.workflow.records import Records
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWNER, GROUP = {0o700, 0o600}, {0o750, 0o640}


@pytest.fixture(autouse=True, params=[0o022, 0o077])
def usual_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """The umask of most systems, and the strictest."""
    old = os.umask(request.param)
    yield
    os.umask(old)
    share_with("owner")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> set[int]:
    """The modes of folders and files from a folder to its leaves."""
    return {mode(path) for path in (folder, *folder.rglob("*"))}


def _write_everything(folder: Path) -> None:
    write_bytes(folder / "below" / "file", b"x")
    Records(folder / "records.jsonl").put("key", {})  # a journal, as a killed job leaves it
    quiet_log(folder / "logs" / "fetch" / "a.log")


def test_what_is_written_is_its_owners_alone(tmp_path: Path) -> None:
    _write_everything(tmp_path / "results")
    assert modes(tmp_path / "results") == OWNER


def test_the_group_can_read_where_that_is_chosen_but_never_what_is_private(tmp_path: Path) -> None:
    share_with("group")
    _write_everything(tmp_path / "results")
    assert modes(tmp_path / "results") == GROUP
    write_bytes(tmp_path / "plan" / "secret", b"x", private=True)
    assert modes(tmp_path / "plan") == OWNER


def test_a_folder_hands_its_group_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    share_with("group")
    make_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o2750
    assert mode(tmp_path) == 0o2770


def test_a_delivery_is_its_owners_alone_and_the_users_folder_keeps_its_mode(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "made", data.identity("access"), times=1, slices=2)
    instances = [load_instance(path) for path in made.paths]
    place, archive = tmp_path / "place", tmp_path / "all.zip"
    place.mkdir()
    place.chmod(0o755)
    FileTransport(FileAddress(place), Settings()).store(instances, FileAddress(place))
    ZipTransport(ZipAddress(archive), Settings()).store(instances, ZipAddress(archive))
    assert mode(place) == 0o755
    assert {mode(path) for path in place.rglob("*")} == OWNER
    assert mode(archive) == 0o600


def test_what_a_series_writes_is_its_owners_alone(tmp_path: Path) -> None:
    data.mr(tmp_path / "made", data.identity("access"), times=1, slices=2)
    series = Series(tmp_path / "made")
    for name in ("image.nii.gz", "image.mha", "dicom"):
        series.write(tmp_path / "out" / name)
    assert modes(tmp_path / "out") == OWNER


def test_results_of_an_earlier_run_follow_what_is_chosen_now(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    _write_everything(results.folder)
    write_bytes(results.secret, b"x", private=True)
    write_bytes(results.plan.index, b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x")
    elsewhere.chmod(0o666)
    for path in (results.folder, *results.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (results.folder / "link").symlink_to(elsewhere)

    share_with("group")
    restrict(results.folder, results.alone)
    assert modes(results.plan.folder) | {mode(results.secret)} == OWNER
    assert modes(results.folder / "logs") | {mode(results.folder)} == GROUP
    share_with("owner")
    restrict(results.folder, results.alone)
    (results.folder / "link").unlink()
    assert modes(results.folder) == OWNER
    assert mode(elsewhere) == 0o666
