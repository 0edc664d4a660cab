from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role
from pynetdicom.events import EVT_C_STORE, Event
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

import data
from peers import wait_until
from peers.dcmtk import send
from peers.process import echo, program
from seriesport.config.settings import Settings
from seriesport.dimse import message
from seriesport.dimse.acceptor import decode_request
from seriesport.dimse.association import Association as Requestor
from seriesport.dimse.contexts import IDENTIFIER_SYNTAXES, Proposal
from seriesport.dimse.message import Field, Kind
from seriesport.errors import SeriesportError
from seriesport.serve import archive as scp
from seriesport.serve.archive import Archive
from seriesport.serve.catalog import ATTRIBUTES, matcher
from seriesport.serve.identifier import Identifier
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.fetch import fetch_series
from seriesport.transports.registry import open_transport, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "archive") as running:
        yield running


def find(
    archive: Archive, level: str, *, patient_root: bool = False, **keys: str | None
) -> list[Dataset]:
    """Ask as pynetdicom does: the answers, or a ValueError with the status of a failure."""
    model = (
        PatientRootQueryRetrieveInformationModelFind
        if patient_root
        else StudyRootQueryRetrieveInformationModelFind
    )
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    entity = AE()
    entity.add_requested_context(model)
    association = entity.associate(archive.host, archive.port, ae_title=archive.aet)
    assert association.is_established
    try:
        answers: list[Dataset] = []
        for status, answer in association.send_c_find(query, model):
            if status.Status == 0xFF00:
                answers.append(answer)
            elif status.Status:
                raise ValueError(hex(status.Status))
        return answers
    finally:
        association.release()


def get(archive: Archive, folder: Path, *options: str, **keys: str) -> list[Path]:
    """Retrieve by DCMTK's getscu, each data set written as it came."""
    folder.mkdir()
    asked = [part for keyword, value in keys.items() for part in ("-k", f"{keyword}={value}")]
    command = [program("getscu"), "-S", "+B", *options, "-od", str(folder), *asked]
    subprocess.run(
        [*command, "-aec", archive.aet, archive.host, str(archive.port)],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return sorted(folder.iterdir())


def received(paths: list[Path]) -> set[bytes]:
    return {data.dataset_bytes(path) for path in paths}


def test_it_answers_echo_under_its_own_title_only(archive: Archive) -> None:
    assert echo(archive.port, "SERIESPORT")
    assert not echo(archive.port, "OTHER")


def test_its_address_is_one_that_is_understood(archive: Archive) -> None:
    assert archive.url == f"dicom://127.0.0.1:{archive.port}/SERIESPORT"


def test_a_series_is_listed_at_every_level(tmp_path: Path) -> None:
    who = data.identity("levels", patient_name="Jürgens^Åse", study_description="Kopf / Hals")
    data.mr(tmp_path / "a", who, times=2, slices=3)
    data.ct(tmp_path / "b" / "deep", who.series(2), slices=4)
    data.sr(tmp_path / "c", data.identity("somebody else"))
    (tmp_path / "notes.txt").write_text("no image")
    with Archive(tmp_path) as archive:
        patients = find(archive, "PATIENT", patient_root=True, PatientID="", PatientName="")
        studies = find(
            archive,
            "STUDY",
            PatientID=who.patient_id,
            StudyInstanceUID="",
            StudyDescription="",
            ModalitiesInStudy="",
            NumberOfStudyRelatedSeries="",
            NumberOfStudyRelatedInstances="",
        )
        series = find(
            archive,
            "SERIES",
            StudyInstanceUID=who.study_instance_uid,
            SeriesInstanceUID="",
            SeriesNumber="",
            Modality="",
            NumberOfSeriesRelatedInstances="",
        )
        images = find(
            archive,
            "IMAGE",
            StudyInstanceUID=who.study_instance_uid,
            SeriesInstanceUID=who.series(2).series_instance_uid,
            SOPInstanceUID="",
            SOPClassUID="",
            InstanceNumber="",
        )
    assert len(patients) == 2
    assert "Jürgens^Åse" in {str(one.PatientName) for one in patients}
    assert [one.StudyDescription for one in studies] == ["Kopf / Hals"]
    assert list(studies[0].ModalitiesInStudy) == ["CT", "MR"]
    assert studies[0].NumberOfStudyRelatedSeries == 2
    assert studies[0].NumberOfStudyRelatedInstances == 10
    found = {(one.SeriesNumber, one.Modality, one.NumberOfSeriesRelatedInstances) for one in series}
    assert found == {(1, "MR", 6), (2, "CT", 4)}
    assert [one.InstanceNumber for one in images] == [1, 2, 3, 4]
    assert len({one.SOPInstanceUID for one in images}) == 4


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientID": "0012"}, ["0012"]),
        ({"PatientID": "12"}, []),
        ({"PatientID": "00*"}, ["0012", "00[2]", "00x2"]),
        ({"PatientID": "00?2"}, ["0012", "00x2"]),
        ({"PatientID": "00[2]"}, ["00[2]"]),
        ({"PatientID": "00[2*"}, ["00[2]"]),
        ({"PatientID": "*"}, ["0012", "00[2]", "00x2", "Ærø 1"]),
        ({"PatientID": "Ærø 1"}, ["Ærø 1"]),
        ({"PatientName": "ada^l*"}, ["0012"]),
        ({"StudyDate": "20240101-20240103"}, ["0012", "00[2]", "00x2", "Ærø 1"]),
        ({"StudyDate": "20240103-"}, []),
        ({"StudyDate": "-20240102"}, ["0012", "00[2]", "00x2", "Ærø 1"]),
        ({"ModalitiesInStudy": "SR", "PatientID": "0*"}, ["0012", "00[2]", "00x2"]),
        ({"ModalitiesInStudy": "CT"}, []),
        ({"StudyInstanceUID": "1.2.3"}, []),
    ],
)
def test_keys_match_as_the_standard_says(
    tmp_path: Path, keys: dict[str, str], expected: list[str]
) -> None:
    for i, patient in enumerate(("0012", "00x2", "00[2]", "Ærø 1")):
        name = "Ada^Lovelace" if i == 0 else "Other"
        who = data.identity(f"match {i}", patient_id=patient, patient_name=name)
        data.sr(tmp_path / str(i), who)
    with Archive(tmp_path) as archive:
        found = find(archive, "STUDY", **({"PatientID": ""} | keys))
    assert sorted(one.PatientID for one in found) == sorted(expected)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_every_real_file_is_listed_with_all_that_can_be_asked() -> None:
    keys = {one.keyword: None for one in ATTRIBUTES.values()}
    with Archive(data.WHEEL) as archive:
        images = find(archive, "IMAGE", patient_root=True, **keys)
        series = find(archive, "SERIES", patient_root=True, **keys)
    assert len(images) == len({one.SOPInstanceUID for one in images}) > 100
    assert {"CT", "MR", "SR", "RTDOSE", "US"} <= {one.Modality for one in series}
    assert sum(one.NumberOfSeriesRelatedInstances for one in series) == len(images)


def test_a_retrieval_can_be_cancelled(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("cancel"), slices=20)
    model = StudyRootQueryRetrieveInformationModelGet
    received: list[str] = []

    def keep(event: Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        if len(received) == 2:
            event.assoc.send_c_cancel(1, query_model=model)
        return 0

    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = made.identity.study_instance_uid
    entity = AE()
    entity.add_requested_context(model)
    entity.add_requested_context(made.sop_class_uid, made.transfer_syntax_uid)
    role = build_role(made.sop_class_uid, scp_role=True)
    with Archive(tmp_path) as archive:
        association = entity.associate(
            archive.host,
            archive.port,
            ae_title=archive.aet,
            ext_neg=[role],
            evt_handlers=[(EVT_C_STORE, keep)],
        )
        statuses = [status.Status for status, _ in association.send_c_get(query, model)]
        association.release()
    assert statuses[-1] == 0xFE00
    assert 2 <= len(received) < 20


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_association_request_breaks_the_archive(body: bytes) -> None:
    with suppress(SeriesportError):
        decode_request(body)
    with suppress(SeriesportError):
        decode_request(bytes(68) + body)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(IDENTIFIER_SYNTAXES))
def test_no_identifier_breaks_the_archive(body: bytes, syntax: str) -> None:
    with suppress(SeriesportError):
        Identifier.decode(body, syntax)


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["LO", "PN", "IS", "UI", "DA"]))
def test_a_key_always_matches_itself_or_not_but_never_fails(key: str, value: str, vr: str) -> None:
    matches = matcher(vr, key)
    assert matches(key) or vr in ("UI", "DA")
    assert matches(value) in (True, False)


def test_a_list_of_uids_matches_each(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("uid list"), slices=5)
    with Archive(tmp_path) as archive:
        found = find(archive, "IMAGE", SOPInstanceUID="\\".join(made.uids[1:3]))
    assert {one.SOPInstanceUID for one in found} == set(made.uids[1:3])


def test_a_query_without_a_level_is_refused(archive: Archive) -> None:
    with pytest.raises(ValueError, match="0xa900"):
        find(archive, "", PatientID="")


@pytest.mark.parametrize(
    ("syntax", "option"),
    [("explicit", "+x="), ("implicit", "+x="), ("big-endian", "+xb"), ("rle", "+xr")],
)
def test_data_sets_leave_as_they_lie_on_disk(tmp_path: Path, syntax: str, option: str) -> None:
    made = data.ct(tmp_path / "held", data.identity(f"as stored {syntax}"), syntax=syntax)
    with Archive(tmp_path / "held") as archive:
        got = get(
            archive,
            tmp_path / "got",
            option,
            QueryRetrieveLevel="SERIES",
            StudyInstanceUID=made.identity.study_instance_uid,
            SeriesInstanceUID=made.identity.series_instance_uid,
        )
    assert received(got) == set(made.datasets.values())


def test_single_instances_can_be_retrieved(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "held", data.identity("single"))
    with Archive(tmp_path / "held") as archive:
        got = get(
            archive, tmp_path / "got", QueryRetrieveLevel="IMAGE", SOPInstanceUID=made.uids[3]
        )
    assert received(got) == {made.datasets[made.uids[3]]}


def test_a_retrieval_without_its_unique_key_is_refused(tmp_path: Path) -> None:
    data.ct(tmp_path / "held", data.identity("no unique key"))
    with Archive(tmp_path / "held") as archive:
        got = get(archive, tmp_path / "got", QueryRetrieveLevel="STUDY", PatientID="*")
    assert got == []


def test_what_is_stored_becomes_numbered_files_that_are_listed_and_served(
    archive: Archive, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", data.identity("stored"))
    send(archive.port, archive.aet, made.paths)
    files = sorted(archive.folder.iterdir())
    assert [path.name for path in files] == [f"00000{i}.dcm" for i in range(1, 6)]
    assert received(files) == set(made.datasets.values())
    assert {data.transfer_syntax(path) for path in files} == {made.transfer_syntax_uid}
    images = find(archive, "IMAGE", SeriesInstanceUID=made.identity.series_instance_uid)
    assert len(images) == 5


def test_what_is_stored_is_there_after_a_restart(archive: Archive, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("restart"))
    send(archive.port, archive.aet, made.paths[:3])
    archive.stop()
    with Archive(archive.folder) as again:
        send(again.port, again.aet, made.paths)
        assert received(sorted(again.folder.iterdir())) == set(made.datasets.values())
        assert len(list(again.folder.iterdir())) == 5


def test_the_same_instance_again_is_accepted_and_changes_nothing(
    archive: Archive, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", data.identity("twice"))
    send(archive.port, archive.aet, made.paths)
    before = {path: path.stat() for path in archive.folder.iterdir()}
    send(archive.port, archive.aet, made.paths)
    after = {path: path.stat() for path in archive.folder.iterdir()}
    assert [(p, s.st_mtime_ns) for p, s in before.items()] == [
        (p, s.st_mtime_ns) for p, s in after.items()
    ]


def test_the_same_uid_with_other_bytes_is_refused(archive: Archive, tmp_path: Path) -> None:
    who = data.identity("conflict")
    first = data.sr(tmp_path / "a", who)
    other = data.sr(tmp_path / "b", data.identity("conflict", patient_name="Someone^Else"))
    assert first.uids == other.uids
    send(archive.port, archive.aet, first.paths)
    with pytest.raises(RuntimeError, match="dcmsend"):
        send(archive.port, archive.aet, other.paths)
    assert received(list(archive.folder.iterdir())) == set(first.datasets.values())


def test_an_upload_that_breaks_off_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("broken off"), slices=1, size=512)
    with Association(archive, made.sop_class_uid, made.transfer_syntax_uid) as peer:
        peer.send_command(made.sop_class_uid, made.uids[0])
        peer.send_data(made.datasets[made.uids[0]][:100_000], last=False)
        wait_until(lambda: any(archive.folder.iterdir()), 5, "a file is being written")
    wait_until(lambda: not any(archive.folder.iterdir()), 5, "nothing is left")
    assert len(archive.catalog) == 0


@pytest.mark.parametrize("cut", [1, 100, 20_000])
def test_a_truncated_data_set_is_refused(archive: Archive, tmp_path: Path, cut: int) -> None:
    made = data.ct(tmp_path / "made", data.identity("cut"), slices=1, size=128)
    with Association(archive, made.sop_class_uid, made.transfer_syntax_uid) as peer:
        peer.send_command(made.sop_class_uid, made.uids[0])
        peer.send_data(made.datasets[made.uids[0]][:-cut], last=True)
        assert peer.status() == 0xC000
    assert list(archive.folder.iterdir()) == []


def test_a_received_uid_never_becomes_a_path(archive: Archive, tmp_path: Path) -> None:
    made = data.sr(tmp_path / "made", data.identity("climber"))
    for uid in ("../../climbed", "/tmp/climbed", "1.2.3"):
        with Association(archive, made.sop_class_uid, made.transfer_syntax_uid) as peer:
            peer.send_command(made.sop_class_uid, uid)
            peer.send_data(made.datasets[made.uids[0]], last=True)
            assert peer.status() in (0xA900, 0xC000, None)
    assert list(archive.folder.iterdir()) == []
    assert not list(tmp_path.rglob("*climbed*"))


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xf0" + bytes(1000),
        b"\x01\x00\x00\x00\x00\x10" + bytes(16),
        b"\x01\x00\x00\x00\x00\x48" + bytes(68) + b"\x20\x00\xff\xff",
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00",
        b"\x63" * 64,
    ],
    ids=["http", "endless", "empty", "item too long", "data first", "release first", "unknown"],
)
def test_nonsense_ends_its_own_connection_only(archive: Archive, hostile: bytes) -> None:
    with socket.create_connection((archive.host, archive.port), timeout=5) as peer:
        peer.sendall(hostile)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass
    assert echo(archive.port, archive.aet)


def test_a_data_pdu_without_end_is_refused(archive: Archive, tmp_path: Path) -> None:
    made = data.sr(tmp_path / "made", data.identity("endless"))
    with Association(archive, made.sop_class_uid, made.transfer_syntax_uid) as peer:
        peer.socket.sendall(b"\x04\x00\xff\xff\xff\xf0\xff\xff\xff\xec\x01\x03")
        assert peer.socket.recv(100)[:1] == b"\x07"


def test_stopping_ends_associations_and_frees_the_port(archive: Archive, tmp_path: Path) -> None:
    made = data.sr(tmp_path / "made", data.identity("stop"))
    with Association(archive, made.sop_class_uid, made.transfer_syntax_uid) as peer:
        archive.stop()
        assert peer.socket.recv(100)[:1] in (b"", b"\x07")
    with Archive(archive.folder, port=archive.port) as again:
        assert echo(again.port, again.aet)


def test_a_port_that_is_taken_is_an_error(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(SeriesportError) as caught:
        Archive(tmp_path, port=archive.port).start()
    assert caught.value.code == "port-taken"


def test_many_at_once_are_served(archive: Archive, tmp_path: Path) -> None:
    made = [data.ct(tmp_path / str(i), data.identity(f"many {i}")) for i in range(4)]
    running = [
        subprocess.Popen(
            [program("dcmsend"), "-q", "-aec", archive.aet, archive.host, str(archive.port)]
            + [str(path) for path in one.paths]
        )
        for one in made
    ]
    assert [process.wait(30) for process in running] == [0] * 4
    expected = {content for one in made for content in one.datasets.values()}
    assert received(list(archive.folder.iterdir())) == expected


def test_a_thousand_files_are_served_at_once(tmp_path: Path) -> None:
    made = data.sr(tmp_path / "one", data.identity("thousand"), instances=100)
    for i in range(10):
        for path in made.paths:
            content = path.read_bytes()
            (tmp_path / f"{i}-{path.name}").write_bytes(content)
    started = time.monotonic()
    with Archive(tmp_path) as archive:
        assert echo(archive.port, archive.aet)
        assert time.monotonic() - started < 5  # 0.2 s when nothing else runs
        assert len(archive.catalog) == 100


class Association:
    """A requestor that sends what it is told to, right or wrong."""

    def __init__(self, archive: Archive, sop_class: str, syntax: str) -> None:
        entity = AE()
        entity.add_requested_context(sop_class, syntax)
        self.socket = socket.create_connection((archive.host, archive.port), timeout=10)
        self.socket.sendall(_request(archive.aet, sop_class, syntax))
        assert self._pdu()[0] == 2

    def send_command(self, sop_class: str, uid: str) -> None:
        command = message.encode(
            {
                Field.AFFECTED_SOP_CLASS_UID: sop_class,
                Field.COMMAND_FIELD: Kind.C_STORE_RQ,
                Field.MESSAGE_ID: 1,
                Field.PRIORITY: 0,
                Field.DATA_SET_TYPE: 0,
                Field.AFFECTED_SOP_INSTANCE_UID: uid,
            }
        )
        self._send(3, command)

    def send_data(self, content: bytes, *, last: bool) -> None:
        self._send(2 if last else 0, content)

    def status(self) -> int | None:
        """The status of the answer; None for an abort."""
        kind, body = self._pdu()
        return (
            int.from_bytes(body[body.index(b"\0\0\0\x09\2\0\0\0") + 8 :][:2], "little")
            if kind == 4
            else None
        )

    def _send(self, flags: int, content: bytes) -> None:
        size = len(content)
        head = (size + 6).to_bytes(4, "big") + (size + 2).to_bytes(4, "big")
        self.socket.sendall(b"\x04\x00" + head + bytes((1, flags)) + content)

    def _pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:], "big"))

    def _exactly(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            piece = self.socket.recv(count - len(read))
            assert piece, "the archive closed the connection"
            read += piece
        return read

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _request(aet: str, sop_class: str, syntax: str) -> bytes:
    def item(kind: int, content: bytes) -> bytes:
        return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content

    context = item(0x30, sop_class.encode()) + item(0x40, syntax.encode())
    body = b"\0\1\0\0" + aet.ljust(16).encode() + b"TEST".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\1\0\0\0" + context)
    body += item(0x50, item(0x51, (16384).to_bytes(4, "big")))
    return b"\x01\x00" + len(body).to_bytes(4, "big") + body


# Hard times


def _few_files(folder: Path, files: int) -> subprocess.Popen[str]:
    """Serve a folder in a process that may open only so many files."""
    code = "from seriesport.cli.main import main; main()"
    command = f'ulimit -n {files}; exec {sys.executable} -c "{code}" serve {folder}'
    return subprocess.Popen(
        ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_more_connections_than_files_are_refused_for_a_while_and_end_nothing(
    tmp_path: Path,
) -> None:
    data.ct(tmp_path / "in", data.identity("crowd"), slices=2, size=8)
    server = _few_files(tmp_path / "in", 64)
    connections: list[socket.socket] = []
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0]
        host, port = url.removeprefix("dicom://").partition("/")[0].split(":")
        for _ in range(80):
            with suppress(OSError):
                connections.append(socket.create_connection((host, int(port)), 5))
        listed = parse(url)
        assert isinstance(listed, DicomAddress)
        with pytest.raises(SeriesportError) as caught:
            query(listed)
        assert caught.value.code in ("association-busy", "association-aborted", "timeout")
        for connection in connections:
            connection.close()
        wait_until(lambda: _answers(listed), 60, "an answer after the crowd")
    finally:
        server.terminate()
        _, said = server.communicate(timeout=30)
    assert "Traceback" not in said
    assert server.returncode == 0


def query(address: DicomAddress) -> int:
    """How many series an archive lists, asked once."""
    with open_transport(address.root, Settings()) as transport:
        return len(transport.find(address))


def _answers(address: DicomAddress) -> bool:
    try:
        return query(address) == 1
    except SeriesportError:
        return False


def test_an_association_above_the_limit_is_rejected_as_congestion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scp, "_most_associations", lambda: 1)
    with Archive(tmp_path / "archive") as archive:
        address = parse(archive.url)
        assert isinstance(address, DicomAddress)
        with socket.create_connection((archive.host, archive.port)):
            with pytest.raises(SeriesportError) as caught:
                query(address)
            assert caught.value.code == "association-busy"
            assert "too many associations" in caught.value.message
        wait_until(lambda: echo(archive.port, archive.aet), 20, "a free place")


def test_a_syntax_of_40_kb_and_a_file_that_is_gone_end_one_request_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = data.ct(tmp_path / "archive", data.identity("gone"), slices=3, size=8)
    with Archive(tmp_path / "archive") as archive:
        with socket.create_connection((archive.host, archive.port), 10) as sock:
            syntax = b"1" * 40_000
            context = b"\x01\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, syntax)
            titles = archive.aet.ljust(16).encode() + b"ME".ljust(16)
            body = b"\0\1\0\0" + titles + bytes(32) + item(0x20, context)
            sock.sendall(b"\1\0" + len(body).to_bytes(4, "big") + body)
            assert sock.recv(100)[:1] == b"\x07"  # A-ABORT
        made.paths[1].unlink()
        address = parse(archive.url)
        with open_transport(address.root, Settings()) as transport:
            (series,) = transport.find(address)
            with pytest.raises(SeriesportError) as caught:
                fetch_series(transport, series, tmp_path / "b.zip", tmp_path / "staging")
        assert "1 of 3 instances missing (number 2)" in caught.value.message
        assert echo(archive.port, archive.aet)
    assert "Traceback" not in capfd.readouterr().err


def item(kind: int, content: bytes) -> bytes:
    """An item of an association request (PS3.8 section 9.3.2)."""
    return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content


def test_a_ct_that_is_announced_as_an_mr_is_refused(archive: Archive, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("disguised"), slices=1, size=8)
    server = DicomServer("here", archive.host, archive.port)
    proposals = [Proposal(c, (ExplicitVRLittleEndian,)) for c in (MRImageStorage, CTImageStorage)]
    statuses: list[int] = []
    with Requestor.connect(server, archive.aet, proposals, time.monotonic() + 60) as association:
        for number, context_id in enumerate(association.contexts, 1):
            command = message.encode(
                {
                    Field.AFFECTED_SOP_CLASS_UID: MRImageStorage,
                    Field.COMMAND_FIELD: Kind.C_STORE_RQ,
                    Field.MESSAGE_ID: number,
                    Field.PRIORITY: 0,
                    Field.DATA_SET_TYPE: 0,
                    Field.AFFECTED_SOP_INSTANCE_UID: made.uids[0],
                }
            )
            association.send(context_id, command, data.dataset_bytes(made.paths[0]))
            statuses.append(association.receive_response(Kind.C_STORE_RSP, number).status)
    assert statuses == [0xA900, 0xA900]
    assert len(archive.catalog) == 0
