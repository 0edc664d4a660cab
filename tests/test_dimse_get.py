"""C-GET: what arrives goes to files as it came, and each is answered when it is whole."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import data
import transcript
from seriesport.dimse.attributes import Key
from seriesport.dimse.get import GetResult, Received, Spool, get
from seriesport.dimse.message import Field, Kind, decode
from seriesport.dimse.pdu import COMMAND, LAST, PduReader, UnexpectedPdu, data_header
from seriesport.errors import SeriesportError
from transcript import CT, CT_CONTEXT, archive, associate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seriesport.dimse.association import Association

KEYS = {Key.LEVEL: "SERIES", Key.STUDY_INSTANCE_UID: "1.2", Key.SERIES_INSTANCE_UID: "1.2.3"}


def gotten(association: Association, spool: Path) -> tuple[list[Received], GetResult]:
    received: list[Received] = []
    arriving = get(association, KEYS, Spool(spool))
    while True:
        try:
            received.append(next(arriving))
        except StopIteration as end:
            return received, end.value


def statuses(theirs: socket.socket) -> list[int]:
    """Of the C-STORE responses among what the engine said."""
    said = transcript.said(theirs)[len(transcript.request()) :]

    class Said:
        at = 0

        def receive_into(self, view: memoryview) -> int:
            piece = said[self.at : self.at + len(view)]
            if not piece:
                raise EOFError
            view[: len(piece)] = piece
            self.at += len(piece)
            return len(piece)

    reader, found = PduReader(Said()), []
    content = bytearray()

    def keep(pieces: list[memoryview]) -> None:
        for piece in pieces:
            content.extend(piece)

    with contextlib.suppress(EOFError, UnexpectedPdu):
        while True:
            content.clear()
            reader.part(COMMAND, lambda _: True, keep, 1 << 16)
            command = decode(bytes(content))
            if command.kind == Kind.C_STORE_RSP:
                found.append(command.status)
            elif command.has_data:
                reader.part(0, lambda _: True, keep, 1 << 16)
    return found


def one_instance(content: bytes, uid: str = "1.2.3.4", sop_class_uid: str = CT) -> bytes:
    return transcript.store_request(uid, sop_class_uid=sop_class_uid) + transcript.data(
        CT_CONTEXT, content
    )


def test_data_sets_lie_in_files_as_they_came(tmp_path: Path) -> None:
    contents = [bytes(range(256)) * 300, b"odd", b""]
    said = transcript.acceptance()
    for i, content in enumerate(contents):
        said += one_instance(content, f"1.2.3.{i + 1}")
    with archive(said + transcript.get_response()) as (ours, theirs):
        received, result = gotten(associate(ours), tmp_path)
        assert statuses(theirs) == [0, 0, 0]
    assert [data.dataset_bytes(one.path) for one in received] == contents
    assert [one.sop_instance_uid for one in received] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert [one.path.name for one in received] == ["000001.dcm", "000002.dcm", "000003.dcm"]
    assert all(data.transfer_syntax(one.path) == "1.2.840.10008.1.2.1" for one in received)
    assert [(one.size, one.path.stat().st_size - one.offset) for one in received] == [
        (len(content), len(content)) for content in contents
    ]
    assert result.status == 0
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_files_that_are_there_already_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "000007.dcm").write_bytes(b"mine")
    (tmp_path / "000009.part").write_bytes(b"mine")
    said = transcript.acceptance() + one_instance(b"new") + transcript.get_response()
    with archive(said) as (ours, _):
        received, _ = gotten(associate(ours), tmp_path)
    assert [one.path.name for one in received] == ["000010.dcm"]
    assert (tmp_path / "000007.dcm").read_bytes() == b"mine"


@pytest.mark.parametrize("uid", ["../../etc/x", "/tmp/x", "a/b"])
def test_a_received_uid_never_becomes_a_path(tmp_path: Path, uid: str) -> None:
    said = transcript.acceptance() + one_instance(b"x", uid) + transcript.get_response()
    with archive(said) as (ours, _), pytest.raises(SeriesportError):
        gotten(associate(ours), tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_failed_instances_are_told_with_the_result(tmp_path: Path) -> None:
    failed = b"\x08\0\x58\0UI\x0c\0" + b"1.2.3\\1.2.4\0"
    said = transcript.acceptance() + transcript.command(
        transcript.GET_CONTEXT,
        {
            Field.COMMAND_FIELD: Kind.C_GET_RSP,
            Field.MESSAGE_ID_RESPONDED_TO: 1,
            Field.DATA_SET_TYPE: 1,
            Field.STATUS: 0xB000,
            Field.COMPLETED: 5,
            Field.FAILED: 2,
            Field.WARNING: 0,
        },
    )
    with archive(said + transcript.data(transcript.GET_CONTEXT, failed)) as (ours, _):
        _, result = gotten(associate(ours), tmp_path)
    assert result == GetResult(0xB000, 5, 2, 0, ("1.2.3", "1.2.4"))


def test_an_instance_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    said = transcript.acceptance() + one_instance(bytes(50_000))[:-1000]
    with archive(said) as (ours, theirs):
        with pytest.raises(SeriesportError) as caught:
            gotten(associate(ours), tmp_path)
        assert statuses(theirs) == []
    assert caught.value.code == "association-aborted"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Files cannot grow above 64 kB; a disk that is full fails in the same place."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_told_to_the_archive_and_to_the_user(tmp_path: Path) -> None:
    said = transcript.acceptance() + one_instance(b"ok") + one_instance(bytes(100_000))
    with archive(said + transcript.get_response()) as (ours, theirs):
        with pytest.raises(SeriesportError) as caught:
            gotten(associate(ours), tmp_path)
        assert statuses(theirs) == [0, 0xA700]
    assert caught.value.code == "file-unwritable"
    assert [path.name for path in tmp_path.iterdir()] == ["000001.dcm"]


def test_a_spool_that_is_gone_is_told(tmp_path: Path) -> None:
    said = transcript.acceptance() + one_instance(b"x") + transcript.get_response()
    with archive(said) as (ours, theirs):
        with pytest.raises(SeriesportError) as caught:
            gotten(associate(ours), tmp_path / "gone")
        assert statuses(theirs) == [0xA700]
    assert caught.value.code == "file-unwritable"


def test_leaving_early_ends_the_association(tmp_path: Path) -> None:
    said = transcript.acceptance() + one_instance(b"1") + one_instance(b"2")
    with archive(said) as (ours, _):
        association = associate(ours)
        arriving = get(association, KEYS, Spool(tmp_path))
        next(arriving)
        arriving.close()
        assert not association.usable


def test_a_store_request_without_a_data_set_is_refused(tmp_path: Path) -> None:
    said = transcript.acceptance() + transcript.command(
        CT_CONTEXT,
        {
            Field.AFFECTED_SOP_CLASS_UID: CT,
            Field.COMMAND_FIELD: Kind.C_STORE_RQ,
            Field.MESSAGE_ID: 1,
            Field.DATA_SET_TYPE: 0x0101,
            Field.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
        },
    )
    with archive(said) as (ours, _), pytest.raises(SeriesportError, match="no data set"):
        gotten(associate(ours), tmp_path)


@pytest.fixture
def large() -> Iterator[socket.socket]:
    """Our end of an association over which one instance of 26 MB comes."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        theirs.sendall(transcript.acceptance() + transcript.store_request())
        for start in range(0, 26_000_000, 100_000):
            last = LAST if start == 25_900_000 else 0
            theirs.sendall(data_header(CT_CONTEXT, last, 100_000) + bytes(100_000))
        theirs.sendall(transcript.get_response())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with ours, theirs:
        yield ours
        thread.join(10)


def test_memory_does_not_grow_with_the_instance(large: socket.socket, tmp_path: Path) -> None:
    tracemalloc.start()
    received, _ = gotten(associate(large, wall_clock=60), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert received[0].size == 26_000_000
    assert peak < 3_000_000
