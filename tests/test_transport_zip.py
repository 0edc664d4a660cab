"""ZIP files as sources and destinations, friendly and hostile."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data
import zips
from seriesport.config.settings import Settings, ZipLimits
from seriesport.dicom.part10 import load_instance
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof
from seriesport.transports.zip.address import ZipAddress
from seriesport.transports.zip.selection import select
from seriesport.transports.zip.transport import ZipTransport
from zips import Part

if TYPE_CHECKING:
    from seriesport.model.instance import Instance
    from seriesport.model.series import Receipt, SeriesReference


def opened(path: Path, limits: ZipLimits | None = None) -> ZipTransport:
    return ZipTransport(ZipAddress(path), Settings(zip_limits=limits or ZipLimits()))


def find(path: Path, selection: str = "") -> list[SeriesReference]:
    return opened(path).find(ZipAddress(path, selection))


def fetched(path: Path, selection: str = "") -> dict[str, bytes]:
    transport = opened(path)
    (series,) = transport.find(ZipAddress(path, selection))
    found: dict[str, bytes] = {}
    for one in transport.fetch(series, transport.expect(series), (), path.parent):
        with one.payload.open() as stream:
            found[one.uid] = stream.read()
    return found


def store(path: Path, made: data.Made, selection: str = "", name: str | None = None) -> Receipt:
    return opened(path).store(instances(made), ZipAddress(path, selection), name)


def instances(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


def packed(path: Path, made: data.Made, folder: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "a", method) as archive:
        for one in made.paths:
            archive.write(one, folder + one.name)
    return path


def refusal(content: bytes, path: Path, limits: ZipLimits | None = None) -> str:
    path.write_bytes(content)
    with pytest.raises(SeriesportError) as caught:
        opened(path, limits).find(ZipAddress(path))
    return caught.value.code


# Reading


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_bit_by_bit(tmp_path: Path, method: int) -> None:
    made = data.ct(tmp_path / "ct", data.identity("read"), slices=3)
    assert fetched(packed(tmp_path / "x.zip", made, "a/", method)) == made.datasets


@pytest.mark.parametrize("syntax", ["deflated", "big-endian", "rle", "implicit"])
def test_deflated_members_of_any_syntax_are_read(tmp_path: Path, syntax: str) -> None:
    made = data.ct(tmp_path / "ct", data.identity(f"z {syntax}"), slices=2, syntax=syntax)
    path = packed(tmp_path / "x.zip", made, "", zipfile.ZIP_DEFLATED)
    assert fetched(path) == made.datasets


def test_other_members_and_zips_within_are_passed_over(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("other"), slices=2)
    inner = packed(tmp_path / "inner.zip", made)
    path = packed(tmp_path / "x.zip", made)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "inner.zip")
        archive.writestr("readme.txt", "text")
        archive.mkdir("empty")
        archive.write(data.WHEEL / "dicomdirtests" / "DICOMDIR", "DICOMDIR")
    transport = opened(path)
    (series,) = transport.find(ZipAddress(path))
    assert series.instances == 2
    assert transport.passed_over == 3


def test_a_zip_written_as_a_stream_is_read(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("stream"), slices=2)
    path = tmp_path / "x.zip"
    with path.open("wb") as raw:
        stream = Unseekable(raw)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in made.paths:
                archive.writestr(one.name, one.read_bytes())
    assert fetched(path) == made.datasets


class Unseekable:
    """A stream that only goes on, as a pipe does."""

    def __init__(self, raw) -> None:
        self.write, self.flush = raw.write, raw.flush


def test_a_zip64_file_is_read(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("64"), slices=2)
    parts = [Part(p.name.encode(), p.read_bytes()) for p in made.paths]
    path = tmp_path / "x.zip"
    path.write_bytes(zips.with_zip64(parts))
    assert fetched(path) == made.datasets


NAMES = [
    "top.dcm",
    "time/1.dcm",
    "a/time/1.dcm",
    "a/time/2.dcm",
    "a/times/1.dcm",
    "b/x/time",
    "b/[1]/q?.dcm",
    "b/[1]/qq.dcm",
    "c/s1/d/1.dcm",
    "c/s2/1.dcm",
]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ("time", {"time/1.dcm", "a/time/1.dcm", "a/time/2.dcm", "b/x/time"}),
        ("a/time", {"a/time/1.dcm", "a/time/2.dcm"}),
        ("time/1.dcm", {"time/1.dcm", "a/time/1.dcm"}),
        ("time*", {"time/1.dcm", "a/time/1.dcm", "a/time/2.dcm", "a/times/1.dcm", "b/x/time"}),
        ("time/*.dcm", {"time/1.dcm", "a/time/1.dcm", "a/time/2.dcm"}),
        ("a/*/2.dcm", {"a/time/2.dcm"}),
        ("c/*/1.dcm", {"c/s2/1.dcm"}),
        ("c/**/1.dcm", {"c/s1/d/1.dcm", "c/s2/1.dcm"}),
        ("c/**", {"c/s1/d/1.dcm", "c/s2/1.dcm"}),
        ("**/1.dcm", {n for n in NAMES if n.endswith("/1.dcm")}),
        ("s?", {"c/s1/d/1.dcm", "c/s2/1.dcm"}),
        ("q?.dcm", {"b/[1]/q?.dcm"}),
        ("[1]", {"b/[1]/q?.dcm", "b/[1]/qq.dcm"}),
        ("im", set()),
        ("ime", set()),
        ("1.dc", set()),
        ("top.dcm", {"top.dcm"}),
        ("", set()),
    ],
)
def test_a_selection_matches_whole_path_parts_anywhere(selection: str, chosen: set[str]) -> None:
    assert select(NAMES, selection) == chosen


def test_a_pattern_of_stars_is_matched_in_time() -> None:
    start = time.monotonic()
    select(["a" * 60 + "/" + "b" * 60], "*a" * 4 + "c")
    assert time.monotonic() - start < 5


def test_a_folder_and_a_member_can_be_chosen(tmp_path: Path) -> None:
    who = data.identity("choose")
    first = data.ct(tmp_path / "1", who, slices=3, size=8)
    second = data.ct(tmp_path / "2", who.series(2), slices=2, size=8)
    path = packed(tmp_path / "x.zip", first, "study/time/")
    packed(path, second, "study/space/")
    assert len(find(path)) == 2
    assert fetched(path, "time") == first.datasets
    assert fetched(path, "space/000002.dcm") == {second.uids[1]: second.datasets[second.uids[1]]}
    assert fetched(path, "s*e/*1.dcm") == {second.uids[0]: second.datasets[second.uids[0]]}
    assert find(path, "nothing") == []


def test_a_missing_zip_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError) as caught:
        find(tmp_path / "gone.zip")
    assert caught.value.code == "not-found"


def test_a_zip_that_changes_while_it_is_fetched_is_noticed(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("changes"), slices=3, size=8)
    path = packed(tmp_path / "x.zip", made)
    transport = opened(path)
    (series,) = transport.find(ZipAddress(path))
    arriving = transport.fetch(series, transport.expect(series), (), tmp_path)
    next(arriving)
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(SeriesportError) as caught:
        next(arriving)
    assert caught.value.code == "source-changed"


@pytest.mark.parametrize("method", [0, 8])
def test_a_member_that_does_not_have_its_crc_is_damaged(tmp_path: Path, method: int) -> None:
    made = data.ct(tmp_path / "ct", data.identity("crc"), slices=1)
    path = tmp_path / "x.zip"
    path.write_bytes(zips.build([Part(b"1", made.paths[0].read_bytes(), method, crc=1)]))
    with pytest.raises(SeriesportError) as caught:
        fetched(path)
    assert caught.value.code == "zip-invalid"


# Hostile ZIPs: each is refused before anything is read from a member


@pytest.mark.parametrize(
    "name",
    [
        b"/etc/passwd", b"../x", b"a/../../x", b"a/..", b"C:/x", b"c:x", b"a\\..\\x", b"a\0b",
        b"a\nb", b"\x1b[2J", b"", b"./x", b"a//b", b"a/./b", b"x" * 300, b"//server/x",
    ],
)  # fmt: skip
def test_names_that_are_none_are_refused(tmp_path: Path, name: bytes) -> None:
    content = zips.build([Part(b"good"), Part(name)])
    assert refusal(content, tmp_path / "x.zip") == "zip-unsafe-name"


def test_a_name_that_is_no_utf8_though_it_says_so_is_refused(tmp_path: Path) -> None:
    assert refusal(zips.build([Part(b"\xff\xfe")]), tmp_path / "x.zip") == "zip-unsafe-name"


@pytest.mark.parametrize("kind", [0o120777, 0o010644, 0o020644, 0o060644, 0o140644])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    content = zips.build([Part(b"link", b"/etc/passwd", mode=kind)])
    assert refusal(content, tmp_path / "x.zip") == "zip-symlink"


@pytest.mark.parametrize("second", [b"a", b"a/"])
def test_two_members_of_one_name_are_refused(tmp_path: Path, second: bytes) -> None:
    content = zips.build([Part(b"a"), Part(second, b"")])
    assert refusal(content, tmp_path / "x.zip") == "zip-duplicate"


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    same = Part(b"aa", b"x" * 50)
    content = zips.build([same, Part(b"aa", b"x" * 50, phantom=True, offset=0)])
    assert refusal(content, tmp_path / "x.zip") == "zip-duplicate"
    inner = Part(b"b", b"in").local()
    outer = Part(b"a", inner)
    nested = Part(b"b", b"in", phantom=True, offset=len(outer.local()) - len(inner))
    assert refusal(zips.build([outer, nested]), tmp_path / "x.zip") == "zip-overlap"


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    content = zips.build([Part(b"a", b"x" * 10, size=60, compressed_size=60)])
    assert refusal(content, tmp_path / "x.zip") == "zip-overlap"


def test_bytes_before_the_first_member_hide_no_second_zip(tmp_path: Path) -> None:
    inner = zips.build([Part(b"a")])
    content = inner + zips.build([Part(b"b")])
    assert refusal(content, tmp_path / "x.zip") == "zip-invalid"


def test_a_zip64_locator_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    parts = [Part(b"a")]
    for content in (
        zips.with_zip64(parts, locator=0),
        zips.with_zip64(parts, locator=1 << 40),
        zips.with_zip64(parts, magic=b"PK\6\0"),
        zips.with_zip64(parts, gap=b"room for another record"),
    ):
        assert refusal(content, tmp_path / "x.zip") == "zip-invalid"


def test_two_end_records_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    content = bytearray(zips.with_zip64([Part(b"a"), Part(b"b")]))
    content[-14:-10] = struct.pack("<2H", 1, 1)
    assert refusal(bytes(content), tmp_path / "x.zip") == "zip-invalid"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"no zip at all" * 100,
        zips.build([Part(b"a")])[:-1],
        zips.build([Part(b"a")])[1:],
        zips.build([Part(b"a")]) + b"tail",
        zips.build([Part(b"a")], count=2),
        zips.build([Part(b"a"), Part(b"b")], count=1),
        zips.build([Part(b"a")], directory_size=10),
        zips.build([Part(b"a")], directory_offset=3),
        zips.build([Part(b"a")], before_end=b"gap"),
        zips.build([Part(b"a")], disk=1),
        zips.build([Part(b"a", local_name=b"b")]),
        zips.build([Part(b"a", local_size=3)]),
        zips.build([Part(b"a", offset=5)]),
        zips.build([Part(b"a", offset=1 << 30)]),
        zips.build([Part(b"a", size=3)]),
        zips.build([Part(b"a", offset=0xFFFFFFFF)]),
        zips.build([Part(b"a", extra=struct.pack("<2H", 1, 900))]),
        zips.build([Part(b"a/", b"folder with content")]),
    ],
)
def test_damaged_zips_are_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(content, tmp_path / "x.zip") == "zip-invalid"


@settings(max_examples=300, deadline=None)
@given(pick=st.data())
def test_a_zip_with_any_byte_changed_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, pick: st.DataObject
) -> None:
    whole = zips.with_zip64([Part(b"a", b"x" * 30), Part(b"b/c", b"y" * 30, method=8)])
    at = pick.draw(st.integers(0, len(whole) - 1))
    cut = pick.draw(st.integers(at, len(whole)))
    content = whole[:at] + bytes([pick.draw(st.integers(0, 255))]) + whole[at + 1 : cut]
    path = tmp_path_factory.mktemp("fuzz") / "x.zip"
    path.write_bytes(content)
    try:
        find(path)
    except SeriesportError as error:
        assert error.code.startswith("zip-")  # noqa: PT017 - most changes are refused, not all


def test_too_many_members_are_a_bomb(tmp_path: Path) -> None:
    content = zips.build([Part(f"{n}".encode()) for n in range(11)])
    assert refusal(content, tmp_path / "x.zip", ZipLimits(members=10)) == "zip-bomb"


def test_too_many_bytes_are_a_bomb(tmp_path: Path) -> None:
    content = zips.build([Part(b"a", bytes(600)), Part(b"b", bytes(600))])
    path = tmp_path / "x.zip"
    assert refusal(content, path, ZipLimits(bytes=1000)) == "zip-bomb"
    assert refusal(content, path, ZipLimits(member_bytes=500)) == "zip-bomb"


def test_a_member_that_expands_too_much_is_a_bomb(tmp_path: Path) -> None:
    content = zips.build([Part(b"a", bytes(8 << 20), method=8)])
    assert len(content) < 20_000
    assert refusal(content, tmp_path / "x.zip") == "zip-bomb"
    opened(tmp_path / "x.zip", ZipLimits(ratio=5000)).find(ZipAddress(tmp_path / "x.zip"))


def test_a_member_that_expands_beyond_its_declared_size_is_a_bomb(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("liar"), slices=1)
    honest = made.paths[0].read_bytes()
    engine_input = honest + bytes(50 << 20)
    packed_body = Part(b"a", engine_input, method=8).body
    path = tmp_path / "x.zip"
    path.write_bytes(zips.build([Part(b"a", honest, method=8, compressed=packed_body)]))
    with pytest.raises(SeriesportError) as caught:
        fetched(path)
    assert caught.value.code == "zip-bomb"


@pytest.mark.parametrize(("method", "flags"), [(12, 0), (14, 0), (93, 0), (9, 0), (0, 1), (8, 1)])
def test_encryption_and_rare_compression_are_refused_with_a_reason(
    tmp_path: Path, method: int, flags: int
) -> None:
    made = data.ct(tmp_path / "ct", data.identity("rare"), slices=1, size=8)
    path = tmp_path / "x.zip"
    good = Part(b"good", made.paths[0].read_bytes())
    path.write_bytes(
        zips.build([good, Part(b"CANARY", b"x" * 9, method, flags, compressed=b"x" * 9)])
    )
    transport = opened(path)
    (series,) = transport.find(ZipAddress(path))
    with pytest.raises(SeriesportError) as caught:
        transport.expect(series)
    assert caught.value.code == "zip-unsupported"
    assert "member 2 of 2" in str(caught.value)
    assert "CANARY" not in str(caught.value)
    transport.expect(*transport.find(ZipAddress(path, "good")))


# Writing


def raw_members(path: Path) -> dict[str, tuple[int, bytes]]:
    """Where each member's local header begins, and its raw bytes up to the next."""
    with zipfile.ZipFile(path) as archive:
        starts = [(i.header_offset, i.filename) for i in archive.infolist()]
        ends = [*sorted(s for s, _ in starts)[1:], archive.start_dir]
    content = path.read_bytes()
    by_start = dict(zip(sorted(s for s, _ in starts), ends, strict=True))
    return {name: (start, content[start : by_start[start]]) for start, name in starts}


def test_a_missing_zip_is_made_with_numbered_members(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("make"), slices=3)
    path = tmp_path / "new" / "x.zip"
    receipt = store(path, made, "a/b", "KEY")
    assert [(e.uid, e.sent, e.proof) for e in receipt.entries] == [
        (uid, True, Proof.DIGEST) for uid in made.uids
    ]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"a/b/KEY/{n:06d}.dcm" for n in (1, 2, 3)]
    assert fetched(path) == made.datasets
    assert [p.name for p in path.parent.iterdir()] == ["x.zip"]


def test_adding_leaves_every_old_member_as_it_was(tmp_path: Path) -> None:
    who = data.identity("add")
    first = data.ct(tmp_path / "1", who, slices=2)
    second = data.ct(tmp_path / "2", who.series(2), slices=2)
    path = packed(tmp_path / "x.zip", first, "old/", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("note.txt", (2001, 2, 3, 4, 5, 6))
        info.extra, info.comment = struct.pack("<2H4s", 0x7777, 4, b"mine"), b"a member's comment"
        archive.writestr(info, "text")
        archive.comment = b"the archive's comment"
    path.chmod(0o640)
    before, old = raw_members(path), zipfile.ZipFile(path).infolist()
    assert store(path, second, "", "KEY").complete
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment == b"the archive's comment"
        for was, now in zip(old, archive.infolist(), strict=False):
            assert (was.filename, was.extra, was.comment, was.date_time, was.external_attr) == (
                now.filename, now.extra, now.comment, now.date_time, now.external_attr,
            )  # fmt: skip
    after = raw_members(path)
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == ["KEY/000001.dcm", "KEY/000002.dcm"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert fetched(path, "KEY") == second.datasets


def test_adding_what_is_there_does_not_touch_the_file(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("noop"), slices=3)
    path = tmp_path / "x.zip"
    store(path, made, "", "KEY")
    before = path.stat()
    receipt = store(path, made, "", "KEY")
    after = path.stat()
    assert receipt.complete
    assert not any(e.sent for e in receipt.entries)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_another_tool_stored_compressed_is_not_added_again(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("tool"), slices=3)
    path = packed(tmp_path / "x.zip", made, "KEY/", zipfile.ZIP_DEFLATED)
    assert not any(e.sent for e in store(path, made, "", "KEY").entries)
    assert not any(e.sent for e in store(path, made).entries)


def test_an_instance_with_other_bytes_is_a_conflict_and_stays(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("other bytes"), slices=2)
    path = tmp_path / "x.zip"
    store(path, made, "", "KEY")
    before = path.read_bytes()
    raw = bytearray(made.paths[0].read_bytes())
    raw[-1] ^= 1
    made.paths[0].write_bytes(raw)
    receipt = store(path, made, "", "KEY")
    assert [e.code for e in receipt.entries] == ["destination-conflict", ""]
    assert path.read_bytes() == before


def test_without_a_name_a_series_goes_where_it_is_or_to_the_next_free_folder(
    tmp_path: Path,
) -> None:
    who = data.identity("unnamed zip")
    made = [data.ct(tmp_path / str(n), who.series(n), slices=2, size=8) for n in (1, 2)]
    path = tmp_path / "x.zip"
    for _ in range(2):
        for one in made:
            assert store(path, one, "sub").complete
    names = zipfile.ZipFile(path).namelist()
    assert names == [f"sub/series-{s:03d}/{n:06d}.dcm" for s in (1, 2) for n in (1, 2)]


def test_a_member_where_the_folder_should_be_is_a_conflict(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("blocked zip"), slices=1, size=8)
    path = tmp_path / "x.zip"
    path.write_bytes(zips.build([Part(b"a")]))
    for selection, name in (("", "a"), ("a", "b"), ("a/b", "c")):
        with pytest.raises(SeriesportError) as caught:
            store(path, made, selection, name)
        assert caught.value.code == "destination-conflict"


@pytest.mark.parametrize("selection", ["a*", "a/**", "x?"])
def test_a_pattern_is_no_place_to_write(tmp_path: Path, selection: str) -> None:
    made = data.ct(tmp_path / "ct", data.identity("pattern"), slices=1, size=8)
    with pytest.raises(SeriesportError) as caught:
        store(tmp_path / "x.zip", made, selection, "KEY")
    assert caught.value.code == "address-invalid"


def test_nothing_is_added_to_a_hostile_zip(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("hostile"), slices=1, size=8)
    path = tmp_path / "x.zip"
    path.write_bytes(zips.build([Part(b"../x")]))
    before = path.read_bytes()
    with pytest.raises(SeriesportError) as caught:
        store(path, made, "", "KEY")
    assert caught.value.code == "zip-unsafe-name"
    assert path.read_bytes() == before


def test_a_link_to_a_zip_stays_a_link(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "ct", data.identity("link"), slices=1, size=8)
    (tmp_path / "real").mkdir()
    (tmp_path / "x.zip").symlink_to(tmp_path / "real" / "x.zip")
    store(tmp_path / "x.zip", made, "", "KEY")
    assert (tmp_path / "x.zip").is_symlink()
    assert fetched(tmp_path / "real" / "x.zip") == made.datasets


def test_a_zip64_file_is_added_to(tmp_path: Path) -> None:
    who = data.identity("add 64")
    first = data.ct(tmp_path / "1", who, slices=2, size=8)
    second = data.ct(tmp_path / "2", who.series(2), slices=2, size=8)
    path = tmp_path / "x.zip"
    path.write_bytes(zips.with_zip64([Part(p.name.encode(), p.read_bytes()) for p in first.paths]))
    store(path, second, "", "KEY")
    assert zipfile.ZipFile(path).testzip() is None
    assert len(find(path)) == 2


ADDER = """
import sys
from pathlib import Path
from seriesport.transports.zip.address import ZipAddress
from seriesport.dicom.part10 import load_instance
from seriesport.config.settings import Settings
from seriesport.transports.zip.transport import ZipTransport
target, folder, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
found = [load_instance(p) for p in sorted(folder.iterdir())]
with ZipTransport(ZipAddress(target), Settings()) as transport:
    print("ready", flush=True)
    sys.stdin.readline()
    assert transport.store(found, ZipAddress(target), name).complete
"""


def adder(path: Path, made: data.Made, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", ADDER, path, made.paths[0].parent, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


def test_four_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    who = data.identity("at once")
    made = [data.ct(tmp_path / str(n), who.series(n), slices=6) for n in range(1, 5)]
    path = tmp_path / "out" / "x.zip"
    running = [adder(path, one, f"s{n}") for n, one in enumerate(made)]
    for process in running:
        ready(process)
    for process in running:
        go(process)
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    found = find(path)
    assert [series.instances for series in found] == [6, 6, 6, 6]
    assert zipfile.ZipFile(path).testzip() is None
    assert [p.name for p in path.parent.iterdir()] == ["x.zip"]


def test_a_killed_addition_leaves_the_old_zip_and_the_next_one_completes(tmp_path: Path) -> None:
    who = data.identity("killed")
    first = data.ct(tmp_path / "1", who, slices=2)
    second = data.ct(tmp_path / "2", who.series(2), slices=20, size=256)
    path = tmp_path / "out" / "x.zip"
    store(path, first, "", "old")
    before = path.read_bytes()
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        process = adder(path, second, "new")
        ready(process)
        go(process)
        time.sleep(delay)  # any moment will do: what is checked holds at each
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert zipfile.ZipFile(path).testzip() is None
        found = [series.instances for series in find(path)]
        assert found == [2, 20] or path.read_bytes() == before
    assert store(path, second, "", "new").complete
    assert [p.name for p in path.parent.iterdir()] == ["x.zip"]
    assert [series.instances for series in find(path)] == [2, 20]
