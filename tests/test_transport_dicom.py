from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest

import data
from peers import Authority, Certificate, Dcmqrscp, Orthanc, Storescp, free_port
from peers.dcmtk import ApplicationEntity
from seriesport.config.settings import Settings, Tls
from seriesport.dicom.part10 import load_instance
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof, SeriesReference
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.archive.transport import DicomTransport
from seriesport.transports.registry import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from seriesport.model.instance import Instance

    Peer = Orthanc | ApplicationEntity
    Build = Callable[[Path, data.Identity], data.Made]


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest) -> Peer:
    """Each of the real archives."""
    if request.param == "orthanc":
        return request.getfixturevalue("orthanc")
    server: Dcmqrscp = request.getfixturevalue("dcmqrscp")
    return ApplicationEntity(server.port, server.aet, server.folder / server.aet)


def address(url: str) -> DicomAddress:
    parsed = parse(url)
    assert isinstance(parsed, DicomAddress)
    return parsed


def connect(url: str, **server: Any) -> DicomTransport:
    """A transport to an archive, with short timeouts."""
    place = address(url)
    assert place.port is not None
    options: dict[str, Any] = {"timeout": 20.0, "connect_timeout": 5.0, "wall_clock": 120.0}
    described = DicomServer("here", place.server, place.port, **(options | server))
    named = replace(place, server="here", port=None)
    return _Here(named, Settings(servers={"here": described}))


class _Here(DicomTransport):
    def at(self, *parts: str) -> DicomAddress:
        """The address of a patient, study or series at this archive."""
        patient, study, series = (*parts, "", "", "")[:3]
        return replace(self._address, patient=patient, study=study, series=series)


@dataclass(frozen=True)
class Got:
    datasets: dict[str, bytes]
    syntaxes: set[str]
    classes: set[str]


def content(instance: Instance) -> bytes:
    with instance.payload.open() as stream:
        return stream.read()


def fetch(transport: DicomTransport, series: SeriesReference, spool: Path) -> Got:
    spool.mkdir()
    expected = transport.expect(series)
    instances = list(transport.fetch(series, expected, (), spool))
    assert len(instances) == len(expected)
    assert {one.uid for one in instances} == set(expected)
    return Got(
        {one.uid: content(one) for one in instances},
        {one.transfer_syntax_uid for one in instances},
        {one.header.sop_class_uid for one in instances},
    )


def instances(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


KINDS: dict[str, Build] = {
    "CT": data.ct,
    "4-D MR": data.mr,
    "Enhanced MR": data.enhanced,
    "Enhanced CT": lambda folder, who: data.enhanced(folder, who, modality="CT"),
    "PET": data.pet,
    "SR": data.sr,
}
COMPRESSED: dict[str, tuple[Build, str]] = {
    "JPEG-LS": (data.jpeg_ls, "+xt"),
    "JPEG 2000": (lambda folder, who: data.ct(folder, who, syntax="jpeg2000"), "+xv"),
    "RLE": (lambda folder, who: data.mr(folder, who, syntax="rle"), "+xr"),
}
UNCOMPRESSED = {"implicit": "+x=", "big-endian": "+x=", "deflated": "+xd"}


def there_and_back(
    url: str, load: Callable[[Sequence[Path]], None], made: data.Made, tmp: Path
) -> None:
    """What was loaded is fetched with the same bytes, in the transfer syntax that it has."""
    load(made.paths)
    who = made.identity
    with connect(url) as transport:
        found = transport.find(
            transport.at(who.patient_id, who.study_instance_uid, who.series_instance_uid)
        )
        assert [one.series_instance_uid for one in found] == [who.series_instance_uid]
        got = fetch(transport, found[0], tmp / "spool")
    assert got.datasets == made.datasets
    assert got.syntaxes == {made.transfer_syntax_uid}
    assert got.classes == {made.sop_class_uid}


def up_and_back(url: str, made: data.Made, tmp: Path) -> None:
    """What is uploaded is read back with the same bytes; the second time nothing is sent."""
    who = made.identity
    with connect(url) as transport:
        first = transport.store(instances(made), transport.at())
        again = transport.store(instances(made), transport.at())
        found = transport.find(
            transport.at(who.patient_id, who.study_instance_uid, who.series_instance_uid)
        )
        got = fetch(transport, found[0], tmp / "back")
    assert [entry.uid for entry in first.entries] == made.uids
    assert all(entry.sent for entry in first.entries)
    assert first.complete
    assert all(entry.proof == Proof.LISTED for entry in first.entries)
    assert not any(entry.sent for entry in again.entries)
    assert again.complete
    assert got.datasets == made.datasets
    assert got.syntaxes == {made.transfer_syntax_uid}


@pytest.mark.parametrize("kind", KINDS)
def test_fetched_bytes_equal_what_was_stored(archive: Peer, tmp_path: Path, kind: str) -> None:
    made = KINDS[kind](tmp_path / "made", data.identity(f"fetch {kind}"))
    there_and_back(archive.url, archive.store, made, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_uploaded_instances_are_read_back_identical(
    archive: Peer, tmp_path: Path, kind: str
) -> None:
    made = KINDS[kind](tmp_path / "made", data.identity(f"upload {kind}"))
    up_and_back(archive.url, made, tmp_path)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_instances_come_from_orthanc_as_they_are(
    orthanc: Orthanc, tmp_path: Path, kind: str
) -> None:
    made = COMPRESSED[kind][0](tmp_path / "made", data.identity(f"fetch {kind}"))
    there_and_back(orthanc.url, orthanc.store, made, tmp_path)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_instances_go_to_orthanc_as_they_are(
    orthanc: Orthanc, tmp_path: Path, kind: str
) -> None:
    made = COMPRESSED[kind][0](tmp_path / "made", data.identity(f"upload {kind}"))
    up_and_back(orthanc.url, made, tmp_path)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_every_encoding_goes_to_orthanc_and_comes_back_as_it_is(
    orthanc: Orthanc, tmp_path: Path, syntax: str
) -> None:
    made = data.ct(tmp_path / "made", data.identity(f"encoding {syntax}"), syntax=syntax)
    up_and_back(orthanc.url, made, tmp_path)


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_what_dcmqrscp_converts_arrives_with_the_same_values(tmp_path: Path, syntax: str) -> None:
    made = data.ct(tmp_path / "made", data.identity(f"converted {syntax}"), syntax=syntax)
    who = made.identity
    (tmp_path / "spool").mkdir()
    options = [UNCOMPRESSED[syntax]]
    with Dcmqrscp(tmp_path / "server", options=options) as server, connect(server.url) as transport:
        assert transport.store(instances(made), transport.at()).complete
        assert {data.transfer_syntax(path) for path in server.files()} == {made.transfer_syntax_uid}
        (series,) = transport.find(transport.at(who.patient_id))
        expected = transport.expect(series)
        arrived = list(transport.fetch(series, expected, (), tmp_path / "spool"))
    assert {one.uid for one in arrived} == set(made.uids)
    for one in arrived:
        assert one.location is not None
        original = pydicom.dcmread(made.paths[made.uids.index(one.uid)])
        copy = pydicom.dcmread(one.location)
        assert np.array_equal(copy.pixel_array, original.pixel_array)
        del copy.PixelData, original.PixelData
        assert copy == original


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_instances_come_from_dcmqrscp_as_they_are(tmp_path: Path, kind: str) -> None:
    build, option = COMPRESSED[kind]
    made = build(tmp_path / "made", data.identity(f"dcmqrscp {kind}"))
    with Dcmqrscp(tmp_path / "server", options=[option]) as server:
        up_and_back(server.url, made, tmp_path)


def test_a_private_sop_class_is_fetched_from_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    made = data.private(tmp_path / "made", data.identity("private fetch"))
    there_and_back(orthanc.url, orthanc.store, made, tmp_path)


def test_a_private_sop_class_is_uploaded_to_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    made = data.private(tmp_path / "made", data.identity("private upload"))
    up_and_back(orthanc.url, made, tmp_path)


def test_a_series_of_several_syntaxes_and_classes_comes_whole(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    who = data.identity("mixed")
    parts = [
        data.ct(tmp_path / "a", who, slices=3),
        data.mr(tmp_path / "b", replace(who, seed="mixed b"), times=1, syntax="rle"),
        data.mr(tmp_path / "c", replace(who, seed="mixed c"), times=1, syntax="jpeg2000"),
        data.private(tmp_path / "d", replace(who, seed="mixed d")),
    ]
    for part in parts:
        orthanc.store(part.paths)
    with connect(orthanc.url) as transport:
        found = transport.find(transport.at(who.patient_id, who.study_instance_uid, "1"))
        got = fetch(transport, found[0], tmp_path / "spool")
    assert got.datasets == {uid: b for part in parts for uid, b in part.datasets.items()}


@pytest.mark.slow
def test_a_ct_of_200_slices_comes_whole(archive: Peer, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("CT 200"), slices=200, size=512)
    there_and_back(archive.url, archive.store, made, tmp_path)


@pytest.mark.slow
def test_a_ct_of_200_slices_goes_up_whole(archive: Peer, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("CT 200 up"), slices=200, size=512)
    up_and_back(archive.url, made, tmp_path)


@pytest.mark.slow
def test_an_enhanced_ct_of_500_frames_comes_whole(archive: Peer, tmp_path: Path) -> None:
    who = data.identity("Enhanced 500")
    made = data.enhanced(tmp_path / "made", who, frames=500, size=256, modality="CT")
    there_and_back(archive.url, archive.store, made, tmp_path)


# What an address names


@pytest.fixture
def family(archive: Peer, tmp_path: Path, request: pytest.FixtureRequest) -> list[data.Identity]:
    """A patient with two studies under one accession number, two series in the first."""
    who = data.identity(f"family {request.node.name}")
    second = who.study("second", accession_number=who.accession_number)
    all_of_them = [who, who.series(7, series_description="Other"), second]
    for i, one in enumerate(all_of_them):
        archive.store(data.ct(tmp_path / f"family{i}", one, slices=2 + i).paths)
    return all_of_them


def names(found: list[SeriesReference]) -> list[tuple[str, str]]:
    return sorted((one.study_instance_uid, one.series_instance_uid) for one in found)


def expected_names(identities: Sequence[data.Identity]) -> list[tuple[str, str]]:
    return sorted((one.study_instance_uid, one.series_instance_uid) for one in identities)


def test_a_series_is_found_by_uid_and_by_number(archive: Peer, family: list[data.Identity]) -> None:
    who, other, _ = family
    with connect(archive.url) as transport:
        place = (who.patient_id, who.study_instance_uid)
        assert names(transport.find(transport.at(*place))) == expected_names([who, other])
        assert names(transport.find(transport.at(*place, "7"))) == expected_names([other])
        by_uid = transport.find(transport.at(*place, who.series_instance_uid))
        assert names(by_uid) == expected_names([who])
        assert transport.find(transport.at(*place, "70")) == []
        assert transport.find(transport.at(*place, "1.2.3.4")) == []


def test_a_reference_says_what_the_archive_knows(
    archive: Peer, family: list[data.Identity]
) -> None:
    who, other, _ = family
    with connect(archive.url) as transport:
        (found,) = transport.find(transport.at(who.patient_id, who.study_instance_uid, "7"))
    assert found.patient_id == who.patient_id
    assert found.accession_number == who.accession_number
    assert found.modality == "CT"
    assert found.series_number == "7"
    # dcmqrscp does not index descriptions
    assert found.series_description in (other.series_description, "")
    assert found.instances in (3, None)
    assert found.address == DicomAddress(
        "here",
        None,
        address(archive.url).aet,
        who.patient_id,
        who.study_instance_uid,
        other.series_instance_uid,
    )


def test_an_accession_number_finds_every_study_that_has_it(
    archive: Peer, family: list[data.Identity]
) -> None:
    who = family[0]
    with connect(archive.url) as transport:
        assert names(transport.find(transport.at("", who.accession_number))) == expected_names(
            family
        )
        both = transport.find(transport.at(who.patient_id, who.accession_number))
        assert names(both) == expected_names(family)
        one = transport.find(transport.at(who.patient_id, who.accession_number, "7"))
        assert names(one) == expected_names(family[1:2])


def test_a_patient_alone_names_all_of_their_series(
    archive: Peer, family: list[data.Identity]
) -> None:
    with connect(archive.url) as transport:
        found = transport.find(transport.at(family[0].patient_id))
        assert names(found) == expected_names(family)
        assert [one.series_instance_uid for one in found] == [
            one.series_instance_uid for one in transport.find(transport.at(family[0].patient_id))
        ]


def test_the_study_of_another_patient_is_not_found(
    archive: Peer, family: list[data.Identity]
) -> None:
    who = family[0]
    with connect(archive.url) as transport:
        assert transport.find(transport.at("Somebody", who.study_instance_uid)) == []
        assert transport.find(transport.at(who.patient_id, "no-such-accession")) == []
        assert transport.find(transport.at(who.patient_id.lower(), who.study_instance_uid)) == []


def test_what_is_there_already_is_not_asked_for(archive: Peer, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity(f"have {archive.aet}"), slices=6)
    archive.store(made.paths)
    who = made.identity
    (tmp_path / "spool").mkdir()
    with connect(archive.url) as transport:
        (series,) = transport.find(transport.at(who.patient_id, who.study_instance_uid))
        expected = transport.expect(series)
        have = made.uids[:4]
        arrived = list(transport.fetch(series, expected, have, tmp_path / "spool"))
        assert {one.uid for one in arrived} == set(made.uids[4:])
        assert list(transport.fetch(series, expected, made.uids, tmp_path / "spool")) == []


def test_expected_instances_have_their_numbers(archive: Peer, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity(f"numbers {archive.aet}"), slices=4)
    archive.store(made.paths)
    who = made.identity
    with connect(archive.url) as transport:
        (series,) = transport.find(transport.at(who.patient_id, who.study_instance_uid))
        expected = transport.expect(series)
    assert {uid: one.instance_number for uid, one in expected.items()} == {
        uid: i + 1 for i, uid in enumerate(made.uids)
    }


def test_a_single_missing_instance_is_all_that_an_upload_sends(
    archive: Peer, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", data.identity(f"rest {archive.aet}"), slices=5)
    archive.store(made.paths[:2] + made.paths[3:])
    with connect(archive.url) as transport:
        receipt = transport.store(instances(made), transport.at())
    assert receipt.complete
    assert [entry.uid for entry in receipt.entries if entry.sent] == [made.uids[2]]


# Identifiers


HARD_IDS = [
    "A/B",
    "A#B",
    "A?B",
    "A%B",
    "A%2FB",
    "A^B",
    "A B",
    "A*B",
    "0012345",
    "00 12 / # ? % ^ *",
    "Zoë-Ærø",
    "[A]",
    "A=B&c;d",
    "'A\"B",
]


@pytest.mark.parametrize("patient", HARD_IDS)
def test_a_patient_with_a_difficult_id_is_found_and_nobody_else(
    archive: Peer, tmp_path: Path, patient: str
) -> None:
    who = data.identity(f"hard {patient}", patient_id=patient)
    others = [
        data.identity(f"hard other {patient} {other}", patient_id=other)
        for other in (
            patient.replace("*", "xx").replace("?", "x"),
            patient.lstrip("0").upper() + "1",
            patient.replace("/", "").replace(" ", ""),
        )
        if other != patient
    ]
    made = data.sr(tmp_path / "who", who)
    archive.store(made.paths)
    for i, other in enumerate(others):
        archive.store(data.sr(tmp_path / f"other{i}", other).paths)
    with connect(archive.url) as transport:
        place = transport.at(patient, who.study_instance_uid, who.series_instance_uid)
        assert parse(place.url) == place
        (series,) = transport.find(place)
        assert series.patient_id == patient
        got = fetch(transport, series, tmp_path / "spool")
        assert got.datasets == made.datasets
        if not set("*?") & set(patient):
            by_patient = transport.find(transport.at(patient))
            assert names(by_patient) == expected_names([who])
        for other in others:
            wrong = transport.at(other.patient_id, who.study_instance_uid)
            assert transport.find(wrong) == []


@pytest.mark.parametrize("patient", ["A*C", "A?C", "*", "?", "A\\C", "A*\\C"])
def test_a_wildcard_in_a_patient_id_never_finds_anybody_else(
    archive: Peer, tmp_path: Path, patient: str
) -> None:
    plain = data.identity(f"wild other {patient}", patient_id="ABC")
    archive.store(data.sr(tmp_path / "other", plain).paths)
    with connect(archive.url) as transport, pytest.raises(SeriesportError) as caught:
        transport.find(transport.at(patient))
    assert caught.value.code == "identifier-wildcard"
    assert "ABC" not in caught.value.message


# What keeps an archive from answering


def failure(url: str, **server: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught, connect(url, **server) as transport:
        transport.find(transport.at("anybody"))
    assert "\n" not in caught.value.message
    return caught.value


def test_an_echo_succeeds(archive: Peer) -> None:
    with connect(archive.url) as transport:
        checks = list(transport.echo(transport.at()))
    assert [check.service for check in checks if check.error is None] == [
        "association",
        "C-ECHO",
        "C-FIND",
        "C-GET",
        "C-STORE",
    ]
    assert "CT, MR" in checks[-1].detail
    assert checks[-2].detail.startswith("contexts for CT, MR")


def test_nothing_listening_is_unreachable() -> None:
    error = failure(f"dicom://127.0.0.1:{free_port()}/ANY")
    assert error.code == "archive-unreachable"
    assert error.transient


def test_a_host_that_cannot_be_resolved_is_unreachable() -> None:
    assert failure("dicom://no-such-host.invalid:104/ANY").code == "archive-unreachable"


def test_a_wrong_title_is_rejected_and_said_so(archive: Peer) -> None:
    place = address(archive.url)
    error = failure(replace(place, aet="NOBODY").url)
    assert error.code == "association-rejected"
    assert not error.transient
    assert "called AE title" in error.message


def test_a_port_that_speaks_another_protocol_is_told_from_an_archive(orthanc: Orthanc) -> None:
    error = failure(f"dicom://127.0.0.1:{orthanc.http_port}/ANY", timeout=3.0)
    assert error.code in ("protocol-error", "association-denied")


def test_a_port_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        error = failure(f"dicom://127.0.0.1:{port}/ANY", timeout=0.5)
    assert error.code == "timeout"


def test_an_archive_without_queries_says_so(storescp: Storescp) -> None:
    with connect(storescp.url) as transport, pytest.raises(SeriesportError) as caught:
        transport.find(transport.at("anybody"))
    assert caught.value.code == "context-refused"


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that answers an echo to everybody, C-FIND to FINDER and all to KNOWN."""
    rights = {"FINDER": {"AllowFind": True}, "KNOWN": dict.fromkeys(_RIGHTS, True)}
    nobody = dict.fromkeys(("Find", "Get", "Store", "Move"), False)
    modalities = {
        aet: {"AET": aet, "Host": "127.0.0.1", "Port": 104, **dict.fromkeys(_RIGHTS, False), **own}
        for aet, own in rights.items()
    }
    options = {f"DicomAlwaysAllow{what}": allowed for what, allowed in nobody.items()}
    with Orthanc(
        tmp_path_factory.mktemp("choosy"), options={**options, "DicomModalities": modalities}
    ) as server:
        yield server


_RIGHTS = ("AllowEcho", "AllowFind", "AllowGet", "AllowStore", "AllowMove")


@pytest.mark.parametrize(
    ("calling", "refused"),
    [("STRANGER", ["C-FIND", "C-GET"]), ("FINDER", ["C-GET"]), ("KNOWN", [])],
)
def test_an_echo_tells_what_an_archive_does_not_allow_a_calling_title(
    choosy: Orthanc, calling: str, refused: list[str]
) -> None:
    place = address(f"{choosy.url}?calling={calling}")
    with DicomTransport(place, Settings()) as transport:
        checks = {check.service: check for check in transport.echo(place)}
    failed = {name: check.error for name, check in checks.items() if check.error}
    assert list(failed) == refused
    for name, error in failed.items():
        assert error.code == "association-denied"
        assert f"calling AE title '{calling}' or not allow {name}" in error.message


def test_a_denied_archive_says_so_where_series_are_listed_and_fetched(
    choosy: Orthanc, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", data.identity("denied"), slices=1, size=16)
    new = data.ct(tmp_path / "new", data.identity("denied up"), slices=1, size=16)
    choosy.store(made.paths)
    who = made.identity
    place = address(f"{choosy.url}/{who.patient_id}?calling=STRANGER")
    with DicomTransport(place, Settings()) as transport:
        with pytest.raises(SeriesportError, match="title 'STRANGER' or not allow C-FIND"):
            transport.find(place)
        with pytest.raises(SeriesportError, match="title 'STRANGER' or not allow C-FIND"):
            transport.check_destination(place)
    place = address(f"{choosy.url}/{who.patient_id}?calling=FINDER")
    with DicomTransport(place, Settings()) as transport:
        (series,) = transport.find(place)
        with pytest.raises(SeriesportError, match="title 'FINDER' or not allow C-GET"):
            fetch(transport, series, tmp_path / "spool")
        with pytest.raises(SeriesportError, match="title 'FINDER' or not allow C-STORE"):
            transport.store(instances(new), place).require_complete()


def test_a_receiver_without_queries_is_a_destination_and_no_source(storescp: Storescp) -> None:
    with connect(storescp.url) as transport:
        transport.check_destination(transport.at())
        checks = {check.service: check.error for check in transport.echo(transport.at())}
    refused = {name: error.code for name, error in checks.items() if error is not None}
    assert refused == {"C-FIND": "context-refused", "C-GET": "context-refused"}


# TLS


@pytest.fixture
def tls(authority: Authority, client_certificate: Certificate) -> Tls:
    return Tls(authority.ca, client_certificate.chain, client_certificate.key)


def test_a_series_is_fetched_over_tls(orthanc_tls: Orthanc, tls: Tls, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("tls"), size=256)
    orthanc_tls.store(made.paths)
    who = made.identity
    with connect(orthanc_tls.url, tls=tls) as transport:
        (series,) = transport.find(transport.at(who.patient_id, who.study_instance_uid))
        got = fetch(transport, series, tmp_path / "spool")
    assert got.datasets == made.datasets


def test_a_series_is_uploaded_over_tls(orthanc_tls: Orthanc, tls: Tls, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", data.identity("tls up"), size=256)
    with connect(orthanc_tls.url, tls=tls) as transport:
        assert transport.store(instances(made), transport.at()).complete


def test_without_a_client_certificate_the_server_refuses(
    orthanc_tls: Orthanc, authority: Authority
) -> None:
    error = failure(orthanc_tls.url, tls=Tls(authority.ca))
    assert error.code == "tls-failed"


def test_a_plain_requestor_is_told_about_tls(orthanc_tls: Orthanc) -> None:
    error = failure(orthanc_tls.url, timeout=5.0)
    assert error.code in ("tls-failed", "association-denied")
    assert "TLS" in error.message


@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x03\0\x02\x02\x46"], ids=["hangs-up", "alert"])
def test_a_plain_requestor_is_told_about_tls_however_the_port_answers(answer: bytes) -> None:
    error = failure(f"dicom://127.0.0.1:{answering(answer)}/ANY", timeout=5.0)
    assert "TLS" in error.message


def answering(answer: bytes | None) -> int:
    """The port of a server that gives every connection this answer, or none, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            sock.recv(1 << 16)
            if answer is None:
                sock.settimeout(20)
                with suppress(OSError):
                    while sock.recv(1 << 16):
                        pass
            else:
                sock.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "answer", [None, b"", b"\x07\0\0\0\0\x04\0\0\0\0"], ids=["silent", "hangs-up", "abort"]
)
def test_tls_towards_a_port_without_it_says_so(answer: bytes | None, tls: Tls) -> None:
    url = f"dicom://127.0.0.1:{answering(answer)}/ANY"
    error = failure(url, tls=tls, connect_timeout=2.0)
    assert error.code == "tls-failed"
    assert "plain DICOM" in error.message


def test_tls_towards_a_plain_port_fails(orthanc: Orthanc, tls: Tls) -> None:
    assert failure(orthanc.url, tls=tls, connect_timeout=3.0).code == "tls-failed"


def test_an_authority_that_is_not_trusted_is_refused(
    orthanc_tls: Orthanc, client_certificate: Certificate, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other", "Somebody else")
    error = failure(
        orthanc_tls.url, tls=Tls(other.ca, client_certificate.chain, client_certificate.key)
    )
    assert error.code == "tls-untrusted"
    assert "authority" in error.message


@pytest.mark.parametrize(
    "case",
    [("127.0.0.1", True, "expired"), ("archive.example", False, "another host")],
    ids=["expired", "wrong host"],
)
def test_a_bad_certificate_is_refused_with_its_own_message(
    tmp_path: Path, authority: Authority, tls: Tls, case: tuple[str, bool, str]
) -> None:
    host, expired, message = case
    certificate = authority.certificate(f"bad-{message}", hosts=(host,), expired=expired)
    with Storescp(tmp_path / "scp", certificate=certificate) as server:
        error = failure(server.url, tls=tls)
    assert error.code == "tls-untrusted"
    assert message in error.message


def test_a_name_of_its_own_fits_a_certificate_for_another_host(
    tmp_path: Path, authority: Authority, tls: Tls
) -> None:
    certificate = authority.certificate("named", hosts=("archive.example",))
    with Storescp(tmp_path / "scp", certificate=certificate) as server:
        named = replace(tls, server_name="archive.example")
        with connect(server.url, tls=named) as transport:
            transport.echo(transport.at())


def test_a_certificate_that_cannot_be_read_is_an_error(
    orthanc_tls: Orthanc, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    assert failure(orthanc_tls.url, tls=Tls(tmp_path / "bad.pem")).code == "tls-failed"
    bad_client = Tls(authority.ca, tmp_path / "bad.pem", tmp_path / "bad.pem")
    assert failure(orthanc_tls.url, tls=bad_client).code == "tls-failed"
