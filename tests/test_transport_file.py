"""Folders and single files as sources and destinations."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import data
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice, PlainFile
from seriesport.model.series import Harm, Proof, SeriesReference
from seriesport.store.bundle import write_bundle
from seriesport.store.files import PART_SUFFIX
from seriesport.transports.file.address import FileAddress
from seriesport.transports.file.transport import FileTransport

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from seriesport.model.instance import Instance
    from seriesport.model.series import Receipt

FORK = multiprocessing.get_context("fork")


def opened(folder: Path) -> FileTransport:
    return FileTransport(FileAddress(folder), Settings())


def find(folder: Path) -> list[SeriesReference]:
    return opened(folder).find(FileAddress(folder))


def refusal(folder: Path) -> SeriesportError:
    transport = opened(folder)
    (series,) = transport.find(FileAddress(folder))
    with pytest.raises(SeriesportError) as caught:
        transport.expect(series)
    return caught.value


def store(folder: Path, made: data.Made, name: str | None = None) -> Receipt:
    return opened(folder).store(instances(made), FileAddress(folder), name)


def instances(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# Reading


def test_a_folder_is_searched_to_its_leaves_and_files_are_known_by_content(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("leaves"), slices=3)
    places = ["a/b/c/IM0001", ".hidden/x.txt", "a/.also"]
    for path, place in zip(made.paths, places, strict=True):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, tmp_path / "in" / place)
    for name in ("notes.dcm", "a/readme", "empty"):
        (tmp_path / "in" / name).write_bytes(b"" if name == "empty" else b"not DICOM")
    shutil.copy(data.WHEEL / "dicomdirtests" / "DICOMDIR", tmp_path / "in" / "DICOMDIR")
    transport = opened(tmp_path / "in")
    (series,) = transport.find(transport.address)
    assert series.instances == 3
    assert set(transport.expect(series)) == set(made.uids)
    assert transport.passed_over == 4


def test_a_single_file_is_a_series_of_one(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("single"), slices=2)
    transport = opened(made.paths[1])
    (series,) = transport.find(transport.address)
    assert list(transport.expect(series)) == [made.uids[1]]


def test_several_series_in_one_folder_are_told_apart_in_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    who = data.identity("several")
    for number in (10, 2, 1):
        made = data.ct(tmp_path / "x", who.series(number), slices=number, size=8)
        for path in made.paths:
            path.rename(tmp_path / f"{number}-{path.name}")
    (tmp_path / "x").rmdir()
    found = find(tmp_path)
    assert [(s.series_number, s.instances) for s in found] == [("1", 1), ("2", 2), ("10", 10)]
    assert {s.patient_id for s in found} == {who.patient_id}
    assert found[2].series_instance_uid == who.series(10).series_instance_uid


def test_one_series_uid_under_two_patients_is_two_series(tmp_path: Path) -> None:
    who = data.identity("two patients")
    data.ct(tmp_path / "a", who, slices=1, size=8)
    other = data.identity("x", series_instance_uid=who.series_instance_uid)
    data.ct(tmp_path / "b", other, slices=1, size=8)
    assert sorted(s.patient_id for s in find(tmp_path)) == sorted(
        [who.patient_id, other.patient_id]
    )


def test_a_repeated_instance_counts_once(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "a", data.identity("repeated"), slices=3, size=8)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    transport = opened(tmp_path)
    (series,) = transport.find(transport.address)
    assert series.instances == 3
    for _ in range(2):
        expected = transport.expect(series)
        assert set(expected) == set(made.uids)
        assert transport.duplicates == 3
    assert len(list(transport.fetch(series, expected, (), tmp_path))) == 3


def test_one_uid_with_two_contents_is_a_conflict(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "a", data.identity("conflict"), slices=3, size=8)
    raw = bytearray(made.paths[1].read_bytes())
    raw[-1] ^= 1
    (tmp_path / "z").write_bytes(raw)
    error = refusal(tmp_path)
    assert error.code == "instance-conflict"
    assert made.uids[1] not in str(error)


def test_a_damaged_file_is_a_reason_that_names_its_position_and_not_its_name(
    tmp_path: Path,
) -> None:
    data.ct(tmp_path, data.identity("damaged"), slices=3, size=8)
    (tmp_path / "CANARY").write_bytes(bytes(128) + b"DICM\x02\0\x10\0UI\x40\0")
    assert len(find(tmp_path)) == 1
    error = refusal(tmp_path)
    assert error.code == "instance-truncated"
    assert "CANARY" not in str(error)
    assert "file 4 of 4" in str(error)


def test_a_folder_of_damaged_files_alone_is_no_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(128) + b"DICM\x02\0\x10\0UI\x40\0")
    with pytest.raises(SeriesportError) as caught:
        find(tmp_path)
    assert caught.value.code == "instance-truncated"


def test_a_file_that_may_not_be_read_is_a_reason(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("secret"), slices=3, size=8)
    made.paths[0].chmod(0)
    command = [
        sys.executable,
        "-c",
        "from seriesport.cli.main import main; main()",
        "cp",
        "in",
        "out",
    ]
    if os.getuid() == 0:  # who may read every file, but for this
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "[file-unreadable]" in done.stderr
    assert done.returncode
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_nowhere_is_a_reason(tmp_path: Path) -> None:
    data.ct(tmp_path, data.identity("dangling"), slices=3, size=8)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert refusal(tmp_path).code == "file-unreadable"


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "store", data.identity("links"), slices=3, size=8)
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "file").symlink_to(made.paths[0])
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "a" / "self").symlink_to(tmp_path / "in" / "a")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "store")
    transport = opened(tmp_path / "in")
    (series,) = transport.find(transport.address)
    assert set(transport.expect(series)) == set(made.uids)
    assert transport.duplicates == 1


def test_pipes_and_files_that_are_being_written_are_never_opened(tmp_path: Path) -> None:
    data.ct(tmp_path, data.identity("pipe"), slices=1, size=8)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / f".x{PART_SUFFIX}").write_bytes(bytes(128) + b"DICM")
    transport = opened(tmp_path)
    assert len(transport.find(transport.address)) == 1
    assert transport.passed_over == 0


def test_a_file_that_changes_while_it_is_fetched_is_noticed(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("changes"), slices=3, size=8)
    transport = opened(tmp_path)
    (series,) = transport.find(transport.address)
    arriving = transport.fetch(series, transport.expect(series), (), tmp_path)
    next(arriving)
    raw = bytearray(made.paths[1].read_bytes())
    raw[-1] ^= 1
    made.paths[1].write_bytes(raw)
    with pytest.raises(SeriesportError) as caught:
        next(arriving)
    assert caught.value.code == "source-changed"


def test_a_file_that_goes_away_while_it_is_fetched_is_noticed(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("goes"), slices=3, size=8)
    transport = opened(tmp_path)
    (series,) = transport.find(transport.address)
    arriving = transport.fetch(series, transport.expect(series), (), tmp_path)
    next(arriving)
    made.paths[1].unlink()
    with pytest.raises(SeriesportError) as caught:
        next(arriving)
    assert caught.value.code == "source-changed"


def test_a_new_file_is_seen_by_the_next_listing(tmp_path: Path) -> None:
    who = data.identity("new")
    made = data.ct(tmp_path / "all", who, slices=3, size=8)
    held = made.paths[2].rename(tmp_path / "held")
    transport = opened(tmp_path / "all")
    (series,) = transport.find(transport.address)
    assert len(transport.expect(series)) == 2
    held.rename(made.paths[2])
    assert len(transport.expect(series)) == 3


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError) as caught:
        find(tmp_path / "CANARY")
    assert caught.value.code == "not-found"
    assert "CANARY" not in str(caught.value)


@pytest.mark.slow
def test_twenty_thousand_files_are_listed_in_seconds(tmp_path: Path) -> None:
    made = data.mr(tmp_path / "one", data.identity("many"), times=1, slices=1, size=16)
    content, uid = made.paths[0].read_bytes(), made.uids[0].encode()
    for number in range(20_000):
        new = str(number).zfill(len(uid) - 2).replace("0", "1").encode()
        (tmp_path / f"{number}").write_bytes(content.replace(uid, b"1." + new))
    start = time.process_time()
    (series,) = find(tmp_path)
    assert series.instances is not None
    assert time.process_time() - start < 10


# Writing


def test_a_series_is_written_under_its_name_with_numbered_files(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("write"), slices=3)
    receipt = store(tmp_path / "out", made, "KEY")
    assert [(e.uid, e.sent, e.proof) for e in receipt.entries] == [
        (uid, True, Proof.DIGEST) for uid in made.uids
    ]
    assert files(tmp_path / "out") == [f"KEY/{n:06d}.dcm" for n in (1, 2, 3)]
    written = sorted((tmp_path / "out" / "KEY").iterdir())
    assert list(map(data.dataset_bytes, written)) == list(made.datasets.values())


def test_only_what_is_missing_is_added(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("missing"), slices=4)
    store(tmp_path / "out", made, "KEY")
    kept = tmp_path / "out" / "KEY" / "000001.dcm"
    before = kept.stat()
    (tmp_path / "out" / "KEY" / "000003.dcm").unlink()
    receipt = store(tmp_path / "out", made, "KEY")
    assert [e.sent for e in receipt.entries] == [False, False, True, False]
    assert receipt.complete
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert files(tmp_path / "out") == [f"KEY/{n:06d}.dcm" for n in (1, 2, 3, 4)]


def test_a_foreign_file_is_never_replaced(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("foreign"), slices=2)
    folder = tmp_path / "out" / "KEY"
    folder.mkdir(parents=True)
    (folder / "000001.dcm").write_bytes(b"mine")
    assert store(tmp_path / "out", made, "KEY").complete
    assert (folder / "000001.dcm").read_bytes() == b"mine"
    assert files(folder) == ["000001.dcm", "000002.dcm", "000003.dcm"]
    assert not any(e.sent for e in store(tmp_path / "out", made, "KEY").entries)


def test_an_instance_with_other_bytes_is_a_conflict_and_stays(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("other"), slices=2)
    store(tmp_path / "out", made, "KEY")
    old = (tmp_path / "out" / "KEY" / "000001.dcm").read_bytes()
    raw = bytearray(made.paths[0].read_bytes())
    raw[-1] ^= 1
    made.paths[0].write_bytes(raw)
    receipt = store(tmp_path / "out", made, "KEY")
    assert [(e.code, e.proof) for e in receipt.entries] == [
        ("destination-conflict", None),
        ("", Proof.DIGEST),
    ]
    assert not receipt.complete
    assert (tmp_path / "out" / "KEY" / "000001.dcm").read_bytes() == old


def test_without_a_name_a_series_goes_where_it_is_or_to_the_next_free_folder(
    tmp_path: Path,
) -> None:
    who = data.identity("unnamed")
    first = data.ct(tmp_path / "1", who, slices=2)
    second = data.ct(tmp_path / "2", who.series(2), slices=2)
    out = tmp_path / "out"
    store(out, first)
    store(out, second)
    (out / "series-001").rename(out / "renamed")
    (out / "renamed" / "000002.dcm").unlink()
    assert [e.sent for e in store(out, first).entries] == [False, True]
    assert files(out) == [
        "renamed/000001.dcm",
        "renamed/000002.dcm",
        "series-002/000001.dcm",
        "series-002/000002.dcm",
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\0", "x" * 300])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    made = data.ct(tmp_path / "ct", data.identity("name"), slices=1, size=8)
    with pytest.raises(SeriesportError) as caught:
        store(tmp_path / "out", made, name)
    assert caught.value.code == "address-invalid"
    assert not (tmp_path / "out").exists()


def test_a_file_where_the_folder_should_be_is_a_conflict(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("blocked"), slices=1, size=8)
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(SeriesportError) as caught:
        store(tmp_path / "out", made, "KEY")
    assert caught.value.code == "destination-conflict"


def test_a_full_disk_is_a_reason_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.ct(tmp_path / "ct", data.identity("full"), slices=2)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SeriesportError) as caught:
        store(tmp_path / "out", made, "KEY")
    assert caught.value.code == "file-unwritable"
    assert files(tmp_path / "out") == []


def plain(folder: Path, content: bytes, name: str = "a/b.nii") -> PlainFile:
    folder.mkdir(exist_ok=True)
    path = folder / "content"
    path.write_bytes(content)
    return PlainFile(name, FileSlice(path, 0, len(content)))


def store_files(files: list[PlainFile], folder: Path, resource: str = "NIFTI") -> Receipt:
    nobody = SeriesReference(FileAddress(folder), "", "", "", plain=True)
    return opened(folder).store_files(files, FileAddress(folder), resource, nobody)


def test_plain_files_go_to_a_folder_named_as_their_resource(tmp_path: Path) -> None:
    file = plain(tmp_path / "source", b"content")
    for sent in (True, False):
        (entry,) = store_files([file], tmp_path / "there").entries
        assert (entry.uid, entry.sent, entry.proof) == ("a/b.nii", sent, Proof.DIGEST)
    (path,) = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert path == tmp_path / "there" / "NIFTI" / "a" / "b.nii"
    assert path.read_bytes() == b"content"


def test_an_empty_plain_file_is_a_file_as_well(tmp_path: Path) -> None:
    assert store_files([plain(tmp_path / "source", b"")], tmp_path, "").complete
    assert (tmp_path / "a" / "b.nii").read_bytes() == b""


@pytest.mark.parametrize("there", [b"other 8", b"longer than it", None])
def test_a_plain_file_never_replaces_what_has_its_name(tmp_path: Path, there: bytes | None) -> None:
    path = tmp_path / "there" / "NIFTI" / "a" / "b.nii"
    path.parent.mkdir(parents=True)
    if there is None:
        path.mkdir()
    else:
        path.write_bytes(there)
    (entry,) = store_files([plain(tmp_path / "source", b"content")], tmp_path / "there").entries
    assert (entry.sent, entry.proof, entry.code) == (False, None, "destination-conflict")
    assert there is None or path.read_bytes() == there


@pytest.mark.parametrize("name", ["../b.nii", "/b.nii", "a//b.nii", "a\\b.nii", "a\nb.nii"])
def test_a_plain_file_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SeriesportError) as caught:
        store_files([plain(tmp_path / "source", b"x", name)], tmp_path / "there")
    assert caught.value.code == "name-unsafe"
    assert not (tmp_path / "there").exists()


def test_a_plain_file_that_ends_early_is_not_written(tmp_path: Path) -> None:
    file = plain(tmp_path / "source", b"content")
    (tmp_path / "source" / "content").write_bytes(b"con")
    with pytest.raises(SeriesportError) as caught:
        store_files([file], tmp_path / "there")
    assert caught.value.code == "source-changed"
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


# Several processes at one folder


def _store_all(folder: Path, made: list[data.Made], ready: Barrier) -> None:
    ready.wait()
    for one in made:
        store(folder, one).require_complete()


@pytest.mark.slow
def test_copies_into_one_folder_at_one_time_never_mix_series(tmp_path: Path) -> None:
    made = [
        data.ct(tmp_path / "made" / str(n), data.identity(f"at once {n}"), slices=3, size=8)
        for n in range(3)
    ]
    for number in range(20):
        folder = tmp_path / str(number)
        ready = FORK.Barrier(4)
        orders = (made, made[::-1], made[1:], made[:1])
        copies = [FORK.Process(target=_store_all, args=(folder, o, ready)) for o in orders]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join(120)
        assert [copy.exitcode for copy in copies] == [0] * 4
        assert len(files(folder)) == 9
        for one in folder.iterdir():
            assert len(find(one)) == 1, f"{one.name} holds several series"


def test_a_folder_that_a_killed_copy_left_empty_is_used_by_the_next(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("left empty"), slices=2, size=8)
    (tmp_path / "out" / "series-001").mkdir(parents=True)
    store(tmp_path / "out", made)
    assert files(tmp_path / "out") == ["series-001/000001.dcm", "series-001/000002.dcm"]


def test_a_folder_that_holds_another_series_is_not_given_a_second(tmp_path: Path) -> None:
    for number in (1, 2):
        made = data.ct(tmp_path / str(number), data.identity(f"own {number}"), slices=1, size=8)
        if number == 1:
            store(tmp_path / "out", made, "mine")
    with pytest.raises(SeriesportError, match="another series"):
        store(tmp_path / "out", made, "mine")


# Bundles below a folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of bundles as the workflow leaves them, of a series and of plain files."""
    folder = tmp_path / "dicom"
    made = data.ct(tmp_path / "made", data.identity("bundled"), slices=3, size=8)
    write_bundle(folder / "s-01" / "aaaaaaaaaaaaaaaa.zip", instances(made), source="dicom")
    plain = PlainFile("a.nii.gz", FileSlice(made.paths[0], 0, 10))
    write_bundle(folder / "s-02" / "bbbbbbbbbbbbbbbb.zip", [plain], source="xnat")
    return folder


def test_bundles_below_a_folder_are_found(results: Path, tmp_path: Path) -> None:
    transport = opened(results)
    files, series = sorted(transport.find(transport.address), key=lambda s: s.modality)
    assert (files.plain, series.modality, series.instances) == (True, "CT", 3)
    for one, count in ((files, 1), (series, 3)):
        expected = transport.expect(one)
        assert len(list(transport.fetch(one, expected, (), tmp_path))) == count
    assert transport.left_out() == []


@pytest.mark.parametrize("victim", ["aaaaaaaaaaaaaaaa.json", "aaaaaaaaaaaaaaaa.zip"])
def test_a_damaged_bundle_is_named_by_its_key(results: Path, victim: str) -> None:
    path = results / "s-01" / victim
    path.write_bytes(path.read_bytes()[:-30])
    transport = opened(results)
    assert len(transport.find(transport.address)) == 1
    (left_out,) = transport.left_out()
    assert left_out.harm is Harm.ANY
    assert "aaaaaaaaaaaaaaaa" in left_out.error.message


def test_a_converted_zip_beside_its_sidecar_is_no_bundle(results: Path) -> None:
    (results / "s-01" / "aaaaaaaaaaaaaaaa.json").write_text('{"Modality": "CT"}')
    assert len(find(results)) == 1
