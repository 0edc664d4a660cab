"""Bundles: a fetched series as one ZIP of stored members, with a manifest."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest

import data
from seriesport.dicom.part10 import load_instance
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.store.bundle import (
    digest_member,
    read_bundle,
    read_manifest,
    unpack,
    verify_bundle,
    write_bundle,
)
from seriesport.store.zipfiles.records import StoredMember, end_records

if TYPE_CHECKING:
    from seriesport.model.instance import Instance


def instances(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


def content(instance: Instance) -> bytes:
    with instance.payload.open() as stream:
        return stream.read()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "deflated", "rle"])
def test_a_bundle_gives_back_every_data_set_bit_by_bit(tmp_path: Path, syntax: str) -> None:
    made = data.ct(tmp_path / "ct", data.identity("bits"), syntax=syntax)
    path = tmp_path / "x" / "KEY.zip"
    manifest = write_bundle(path, instances(made), source="file")
    back = read_bundle(path)
    assert {i.uid: content(i) for i in back} == made.datasets
    assert [i.header.instance_number for i in back] == [1, 2, 3, 4, 5]
    assert {i.transfer_syntax_uid for i in back} == {made.transfer_syntax_uid}
    assert [i.header for i in back] == [i.header for i in instances(made)]
    assert (manifest.expected, manifest.received, manifest.source) == (5, 5, "file")
    assert manifest == read_manifest(path)
    verify_bundle(path, manifest)


def test_every_tool_opens_a_bundle(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("tools"))
    path = tmp_path / "KEY.zip"
    write_bundle(path, instances(made), source="file")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{n:06d}.dcm" for n in range(1, 6)]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for name, original in zip(archive.namelist(), made.paths, strict=True):
            read = pydicom.dcmread(io.BytesIO(archive.read(name)))
            assert read == pydicom.dcmread(original)
            assert read.file_meta.ImplementationVersionName == "SERIESPORT"
    subprocess.run([sys.executable, "-m", "zipfile", "-t", path], check=True, timeout=60)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("same"))
    found = instances(made)
    write_bundle(tmp_path / "a.zip", found, source="file")
    digests = {i.uid: digest_member(i) for i in found}
    write_bundle(tmp_path / "b.zip", reversed(found), source="dicom", digests=digests)
    write_bundle(tmp_path / "c.zip", read_bundle(tmp_path / "a.zip"), source="zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()


def test_instances_without_a_number_come_last_in_order_of_uid(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("unnumbered"), slices=3)
    first, *rest = instances(made)
    unnumbered = replace(first, header=replace(first.header, instance_number=None))
    manifest = write_bundle(tmp_path / "a.zip", [unnumbered, *rest], source="file")
    assert [member.instance_number for member in manifest.instances] == [2, 3, None]


def test_the_manifest_names_classes_and_digests_and_no_identifier(tmp_path: Path) -> None:
    who = data.identity("canary", patient_id="CANARY1", accession_number="CANARY2")
    made = data.ct(tmp_path / "ct", who)
    path = tmp_path / "KEY.zip"
    write_bundle(path, instances(made), source="dicom", expected=5)
    text = (tmp_path / "KEY.json").read_text("utf-8")
    for secret in ("CANARY", who.study_instance_uid, who.series_instance_uid, *made.uids):
        assert secret not in text
    read = json.loads(text)
    assert list(read) == [*sorted(read.keys() - {"seal"}), "seal"]
    assert read["instances"][0]["sop_class_uid"] == made.sop_class_uid
    assert read["instances"][0]["transfer_syntax_uid"] == made.transfer_syntax_uid
    assert read["size"] == path.stat().st_size


def test_a_flipped_bit_anywhere_is_damage(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("flip"), slices=2, size=16)
    path = tmp_path / "KEY.zip"
    manifest = write_bundle(path, instances(made), source="file")
    whole = path.read_bytes()
    for at in (0, 40, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        verify_bundle(path, manifest, full=False)
        with pytest.raises(SeriesportError) as caught:
            verify_bundle(path, manifest)
        assert caught.value.code == "bundle-damaged"


def test_a_short_or_missing_bundle_is_damage_even_to_the_cheap_check(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("short"), slices=2, size=16)
    path = tmp_path / "KEY.zip"
    manifest = write_bundle(path, instances(made), source="file")
    path.write_bytes(path.read_bytes()[:-1])
    for action in (
        lambda: verify_bundle(path, manifest, full=False),
        lambda: read_bundle(path),
        lambda: unpack(path, tmp_path / "out"),
    ):
        with pytest.raises(SeriesportError) as caught:
            action()
        assert caught.value.code == "bundle-damaged"
    path.unlink()
    with pytest.raises(SeriesportError) as caught:
        verify_bundle(path, manifest, full=False)
    assert caught.value.code == "bundle-damaged"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', "{"])
def test_a_manifest_that_cannot_be_read_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "KEY.json").write_text(text)
    with pytest.raises(SeriesportError) as caught:
        read_manifest(tmp_path / "KEY.zip")
    assert caught.value.code == "bundle-damaged"


def test_a_data_set_that_is_not_what_its_digest_says_never_enters_a_bundle(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("changed"))
    found = instances(made)
    digests = {i.uid: digest_member(i) for i in found}
    raw = bytearray(made.paths[2].read_bytes())
    raw[-1] ^= 1
    made.paths[2].write_bytes(raw)
    with pytest.raises(SeriesportError) as caught:
        write_bundle(tmp_path / "out" / "KEY.zip", found, source="file", digests=digests)
    assert caught.value.code == "source-changed"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_became_shorter_never_enters_a_bundle(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("shorter"))
    found = instances(made)
    made.paths[0].write_bytes(made.paths[0].read_bytes()[:-100])
    with pytest.raises(SeriesportError) as caught:
        write_bundle(tmp_path / "out" / "KEY.zip", found, source="file")
    assert caught.value.code == "source-changed"
    assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_series_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError) as caught:
        write_bundle(tmp_path / "KEY.zip", [], source="file")
    assert caught.value.code == "incomplete"
    assert list(tmp_path.iterdir()) == []


def test_unpacked_files_are_the_members_in_order(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("unpack"))
    path = tmp_path / "KEY.zip"
    write_bundle(path, reversed(instances(made)), source="file")
    paths = unpack(path, tmp_path / "out")
    assert [p.name for p in paths] == [f"{n:06d}.dcm" for n in range(1, 6)]
    assert list(map(data.dataset_bytes, paths)) == list(made.datasets.values())


def test_memory_does_not_grow_with_an_instance(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("big"), slices=1)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(128 << 20)
    payload = FileSlice(tmp_path / "big", 0, 128 << 20)
    one = replace(instances(made)[0], payload=payload)
    tracemalloc.start()
    try:
        write_bundle(tmp_path / "KEY.zip", [one], source="file")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_zip64_records_are_what_the_standard_library_reads() -> None:
    member = StoredMember("000001.dcm", 5 << 30, 7, 6 << 30)
    directory = member.entry * 70_000
    end = end_records(70_000, len(directory), 11 << 30)
    assert member.header[4:6] == b"\x2d\0"
    info = zipfile.ZipFile(Offset(directory + end, 11 << 30)).infolist()
    assert len(info) == 70_000
    assert (info[0].file_size, info[0].header_offset, info[0].CRC) == (5 << 30, 6 << 30, 7)


class Offset(io.BytesIO):
    """A file whose content begins far behind."""

    def __init__(self, content: bytes, offset: int) -> None:
        super().__init__(content)
        self._offset = offset

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0:
            return super().seek(max(0, position - self._offset)) + self._offset
        return super().seek(position, whence) + self._offset

    def tell(self) -> int:
        return super().tell() + self._offset
