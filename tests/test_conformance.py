"""One suite over every transport. A transport only says where to read and where to write.

With `SERIESPORT_TEST_XNAT=https://host/context/PROJECT` it also runs against a live XNAT, in a
subject of its own for each test, which it deletes at the end. The user, who must be an owner of the
project, since a member may not delete, comes from netrc, or from `SERIESPORT_USER_LIVE` and
`SERIESPORT_PASSWORD_LIVE`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from pydicom.uid import ExplicitVRLittleEndian

import data
from peers.dcmtk import ApplicationEntity
from peers.xnat import Xnat
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import check_whole, load_instance
from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.model.address import Address
from seriesport.model.instance import FileSlice, Instance, PlainFile
from seriesport.model.series import Proof, SeriesReference
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.file.address import FileAddress
from seriesport.transports.registry import open_transport, parse
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.xnat.paths import data_path, file_path
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.xnat.session import Session
from seriesport.transports.zip.address import ZipAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from peers import Dcmqrscp, Orthanc
    from seriesport.model.series import Receipt
    from seriesport.transports.contract import Transport

    Build = Callable[[Path, data.Identity], data.Made]


class Endpoint(Protocol):
    """One kind of source and destination, empty of the test's own series at first."""

    limits: frozenset[str]
    """What this kind of place cannot do, whoever asks it:

    - `compare`: it tells what it has by UID alone, not by bytes;
    - `describe`: it leaves descriptions out;
    - `compressed`: it takes no other transfer syntax than explicit little endian;
    - `unicode`: it answers in Latin-1.
    """

    settings: Settings

    def load(self, made: Sequence[data.Made]) -> None:
        """Put series there by other means than the transport."""
        ...

    def at(self, who: data.Identity) -> Address:
        """Where a study is, or would be."""
        ...


@dataclass
class Folder:
    """A folder, with a folder for each series and other files among them."""

    path: Path
    limits: frozenset[str] = frozenset()
    settings: Settings = field(default_factory=Settings)

    def load(self, made: Sequence[data.Made]) -> None:
        for n, one in enumerate(made):
            shutil.copytree(one.paths[0].parent, self.path / f"in {n}" / "deep")
        (self.path / "notes.txt").write_text("not DICOM")

    def at(self, who: data.Identity) -> Address:
        del who
        self.path.mkdir(exist_ok=True)
        return FileAddress(self.path)


@dataclass
class Zip:
    """A ZIP, with a folder for each series and other members among them."""

    path: Path
    method: int
    limits: frozenset[str] = frozenset()
    settings: Settings = field(default_factory=Settings)

    def load(self, made: Sequence[data.Made]) -> None:
        with zipfile.ZipFile(self.path, "w", self.method) as archive:
            archive.writestr("notes.txt", "not DICOM")
            for n, one in enumerate(made):
                for path in one.paths:
                    archive.write(path, f"in {n}/deep/{path.name}")

    def at(self, who: data.Identity) -> Address:
        del who
        if not self.path.exists():
            zipfile.ZipFile(self.path, "w").close()
        return ZipAddress(self.path)


@dataclass
class Archive:
    """A real archive; a study in it is named by its UID."""

    peer: Orthanc | ApplicationEntity
    limits: frozenset[str]
    settings: Settings = field(default_factory=Settings)

    def load(self, made: Sequence[data.Made]) -> None:
        self.peer.store([path for one in made for path in one.paths])

    def at(self, who: data.Identity) -> Address:
        address = parse(self.peer.url)
        assert isinstance(address, DicomAddress)
        return replace(address, study=who.study_instance_uid)


@dataclass
class Site:
    """Our own XNAT; a study is an experiment, its series are scans with files of odd names."""

    peer: Xnat
    settings: Settings
    limits: frozenset[str] = frozenset()

    def load(self, made: Sequence[data.Made]) -> None:
        for n, one in enumerate(made):
            scan = str(one.identity.series_number)
            files = {f"in {n}/{path.name}": path for path in one.paths}
            self.peer.add_scan("P", "S", "E", scan, files)
            self.peer.add_scan("P", "S", "E", scan, {"notes.txt": b"no DICOM"}, resource="NOTES")

    def at(self, who: data.Identity) -> Address:
        del who
        self.peer.add_experiment("P", "S", "E")
        return XnatAddress("here", None, "P", "S", "E")


@dataclass
class LiveSite:
    """A live XNAT's project, with a subject and an experiment for one test."""

    session: Session
    settings: Settings
    place: XnatAddress
    limits: frozenset[str] = frozenset()

    def load(self, made: Sequence[data.Made]) -> None:
        for one in made:
            scan = self._path("scans", str(one.identity.series_number))
            self._put(scan, xsiType="xnat:otherDicomScanData")
            for path in one.paths:
                name = file_path(f"{scan}/resources/DICOM", f"in/{path.name}")
                self._put(name, path.read_bytes(), inbody="true")

    def at(self, who: data.Identity) -> Address:
        del who
        self._put(data_path("projects", self.place.project, "subjects", self.place.subject))
        self._put(self._path(), xsiType="xnat:otherDicomSessionData")
        return self.place

    def delete(self) -> None:
        """Delete the subject with all that is in it, and see that it is gone."""
        path = data_path("projects", self.place.project, "subjects", self.place.subject)
        with missing():
            self.session.send("DELETE", path, params={"removeFiles": "true"})
        with missing():
            self.session.get_json(path)
            pytest.fail(f"{path} is still there: delete it by hand", pytrace=False)

    def _path(self, *below: str) -> str:
        place = self.place
        parts = ("projects", place.project, "subjects", place.subject, "experiments")
        return data_path(*parts, place.experiment, *below)

    def _put(self, path: str, body: bytes | None = None, **params: str) -> None:
        self.session.send("PUT", path, params=params, body=body)


@contextmanager
def missing() -> Iterator[None]:
    """Take it for granted that what is asked for may be missing."""
    try:
        yield
    except StatusError as refused:
        if refused.status != 404:
            raise


@pytest.fixture
def xnat_1_6_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An XNAT without digests."""
    yield from _site(tmp_path, monkeypatch, "1.6.4", "absent")


@pytest.fixture
def xnat_1_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An XNAT with digests."""
    yield from _site(tmp_path, monkeypatch, "1.8", "on")


def _site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, digests: str
) -> Iterator[Site]:
    monkeypatch.setenv("SERIESPORT_USER_HERE", "admin")
    monkeypatch.setenv("SERIESPORT_PASSWORD_HERE", "admin")
    with Xnat(tmp_path / "xnat", profile, digests) as peer:
        yield Site(peer, Settings({"here": XnatServer("here", peer.url)}))


@pytest.fixture(scope="session")
def live_session() -> Iterator[Session]:
    """A session of an owner of the project that the environment names."""
    base, _, project = LIVE.rpartition("/")
    with closing(Session(XnatServer("live", base))) as session:
        groups = {f"{project}_nobody"}
        with missing():
            listed: Any = session.get_json(data_path("projects", project, "users"))
            rows = listed["ResultSet"]["Result"]
            # An administrator is not among them.
            groups = {row["GROUP_ID"] for row in rows if row["login"] == session.user.user}
        if groups - {f"{project}_owner"}:
            why = f"the suite needs an owner of the project {project}: nobody else may delete"
            pytest.fail(f"{why} what the tests make there", pytrace=False)
        yield session


@pytest.fixture
def xnat_live(request: pytest.FixtureRequest, live_session: Session) -> Iterator[LiveSite]:
    """The XNAT that the environment names."""
    server, project = live_session.server, LIVE.rpartition("/")[2]
    label = f"seriesport-{data.identity(request.node.nodeid).accession_number}"
    site = LiveSite(
        live_session,
        Settings({"live": server}),
        XnatAddress("live", None, project, label, f"{label}-1"),
    )
    # What a run that was killed has left is in the way.
    site.delete()
    yield site
    site.delete()


LIVE = os.environ.get("SERIESPORT_TEST_XNAT", "").rstrip("/")
ENDPOINTS = [
    *("file", "zip-stored", "zip-deflated", "orthanc", "dcmqrscp", "xnat_1_6_4", "xnat_1_8"),
    *(["xnat_live"] if LIVE else []),
]


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Endpoint:
    """Every kind of source and destination."""
    if request.param.startswith("xnat"):
        return request.getfixturevalue(request.param)
    if request.param == "file":
        return Folder(tmp_path / "endpoint")
    if request.param == "orthanc":
        return Archive(request.getfixturevalue("orthanc"), frozenset({"compare", "unicode"}))
    if request.param == "dcmqrscp":
        server: Dcmqrscp = request.getfixturevalue("dcmqrscp")
        entity = ApplicationEntity(server.port, server.aet, server.folder / server.aet)
        return Archive(entity, frozenset({"compare", "describe", "compressed"}))
    stored = request.param == "zip-stored"
    return Zip(tmp_path / "x.zip", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)


@pytest.fixture
def who(request: pytest.FixtureRequest) -> data.Identity:
    """Identifiers of the test's own."""
    return data.identity(request.node.nodeid)


@dataclass
class Party:
    """A transport that is open at a study."""

    transport: Transport
    address: Address
    folder: Path
    spools: int = 0

    def find(self) -> list[SeriesReference]:
        return self.transport.find(self.address)

    def fetch(self, series: SeriesReference, have: Collection[str] = ()) -> dict[str, Instance]:
        self.spools += 1
        spool = self.folder / f"spool {self.spools}"
        spool.mkdir()
        expected = self.transport.expect(series)
        arrived = list(self.transport.fetch(series, expected, have, spool))
        found = {item.uid: item for item in arrived if isinstance(item, Instance)}
        assert len(found) == len(arrived)
        assert {item.listed for item in arrived} == set(expected) - set(have)
        return found

    def store(self, instances: Sequence[Instance], name: str | None = "KEY") -> Receipt:
        return self.transport.store(instances, self.address, name)


@pytest.fixture
def party(endpoint: Endpoint, who: data.Identity, tmp_path: Path) -> Iterator[Party]:
    """The transport that is tested."""
    address = endpoint.at(who)
    with open_transport(address, endpoint.settings) as transport:
        yield Party(transport, address, tmp_path)
    transport.close()


def contents(instances: dict[str, Instance]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for uid, instance in instances.items():
        with instance.payload.open() as stream:
            found[uid] = stream.read()
        assert len(found[uid]) == instance.payload.size
    return found


def loaded(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


KINDS: dict[str, Build] = {
    "explicit": lambda folder, who: data.ct(folder, who, slices=4),
    "implicit": lambda folder, who: data.ct(folder, who, slices=4, syntax="implicit"),
    "rle": lambda folder, who: data.ct(folder, who, slices=4, syntax="rle"),
    "jpeg-ls": data.jpeg_ls,
    "enhanced": data.enhanced,
    "sr": data.sr,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_fetched_is_bit_by_bit_what_was_stored(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path, kind: str
) -> None:
    made = KINDS[kind](tmp_path / "made", who)
    if "compressed" in endpoint.limits and made.transfer_syntax_uid != ExplicitVRLittleEndian:
        made = KINDS["explicit"](tmp_path / "instead", who)
    endpoint.load([made])
    (series,) = party.find()
    found = party.fetch(series)
    assert contents(found) == made.datasets
    for instance in found.values():
        assert instance.transfer_syntax_uid == made.transfer_syntax_uid
        assert instance.header.sop_class_uid == made.sop_class_uid
        assert instance.header.series_instance_uid == who.series_instance_uid
        with instance.payload.open() as stream:
            check_whole(stream, instance.payload.size, instance.transfer_syntax_uid)


def test_a_series_is_described_as_its_headers_do(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path
) -> None:
    endpoint.load([data.ct(tmp_path / "made", who, slices=3)])
    (series,) = party.find()
    assert series.patient_id == who.patient_id
    assert series.study_instance_uid == who.study_instance_uid
    assert series.series_instance_uid == who.series_instance_uid
    assert series.modality == "CT"
    assert series.series_number == "1"
    if "describe" not in endpoint.limits:
        assert series.series_description == who.series_description
    assert series.accession_number == who.accession_number
    assert series.instances in (None, 3)
    expected = party.transport.expect(series)
    assert sorted(e.instance_number or e.place or 0 for e in expected.values()) == [1, 2, 3]
    assert all(name == e.listed for name, e in expected.items())


def test_a_series_is_found_again_by_the_address_that_was_given(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = [data.ct(tmp_path / str(n), who.series(n), slices=n + 1, size=16) for n in (1, 2)]
    endpoint.load(made)
    first = party.find()
    assert first == party.find()
    for series in first:
        assert series in party.transport.find(parse(series.address.url))


def test_several_series_are_told_apart(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = [data.ct(tmp_path / str(n), who.series(n), slices=n, size=16) for n in (1, 2, 3)]
    endpoint.load(made)
    found = {series.series_instance_uid: series for series in party.find()}
    assert set(found) == {who.series(n).series_instance_uid for n in (1, 2, 3)}
    for one in made:
        assert contents(party.fetch(found[one.identity.series_instance_uid])) == one.datasets


def test_only_what_is_not_there_yet_is_given(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", who, slices=5, size=16)
    endpoint.load([made])
    (series,) = party.find()
    names = {uid: instance.listed for uid, instance in party.fetch(series).items()}
    have = {made.uids[0], made.uids[3]}
    assert set(party.fetch(series, [names[uid] for uid in have])) == set(made.uids) - have
    assert party.fetch(series, list(names.values())) == {}
    assert party.transport.uids(series) == set(made.uids)


def test_an_empty_place_has_no_series(party: Party) -> None:
    assert party.find() == []


def test_what_is_stored_is_found_and_fetched_the_same(
    party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", who, slices=4)
    receipt = party.store(loaded(made))
    assert [entry.uid for entry in receipt.entries] == made.uids
    assert all(entry.sent for entry in receipt.entries)
    assert receipt.complete
    (series,) = party.find()
    assert contents(party.fetch(series)) == made.datasets


def test_storing_twice_sends_nothing_the_second_time(
    party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", who, slices=4, size=16)
    for name in ("KEY", "KEY"):
        receipt = party.store(loaded(made), name)
    assert receipt.complete
    assert not any(entry.sent for entry in receipt.entries)
    assert len(party.fetch(*party.find())) == 4


def test_only_what_is_missing_is_sent(party: Party, who: data.Identity, tmp_path: Path) -> None:
    made = data.ct(tmp_path / "made", who, slices=5, size=16)
    party.store(loaded(made)[1:3])
    receipt = party.store(loaded(made))
    assert [entry.sent for entry in receipt.entries] == [True, False, False, True, True]
    assert receipt.complete
    assert contents(party.fetch(*party.find())) == made.datasets


def test_without_a_name_a_series_comes_together_again(
    party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = [data.ct(tmp_path / str(n), who.series(n), slices=3, size=16) for n in (1, 2)]
    for one in made:
        party.store(loaded(one)[:2], None)
    for one in made:
        assert party.store(loaded(one), None).complete
    assert len(party.find()) == 2
    for series, one in zip(party.find(), made, strict=True):
        assert contents(party.fetch(series)) == one.datasets


def test_other_bytes_under_a_uid_that_is_there_never_replace_it(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path
) -> None:
    made = data.ct(tmp_path / "made", who, slices=2, size=16)
    party.store(loaded(made))
    before = made.datasets
    raw = bytearray(made.paths[0].read_bytes())
    raw[-1] ^= 1
    made.paths[0].write_bytes(raw)
    receipt = party.store(loaded(made))
    assert not any(entry.sent for entry in receipt.entries)
    assert contents(party.fetch(*party.find())) == before
    if "compare" not in endpoint.limits:
        assert [entry.code for entry in receipt.entries] == ["destination-conflict", ""]
        assert receipt.entries[1].proof is Proof.DIGEST


def test_storing_nothing_changes_nothing(party: Party) -> None:
    assert party.store([]).entries == ()
    assert party.find() == []


# Not the ones of test_transport_dicom.py, which a worker may run on the same servers.
ODD = ["0067890", "a/b", "a#b", "a?b", "a%41b", "Doe^John", "a b", "a*b", "Ä ß 王", "a'b\"c"]


@pytest.mark.parametrize("patient", ODD)
def test_odd_patient_ids_arrive_unchanged(
    endpoint: Endpoint, party: Party, who: data.Identity, tmp_path: Path, patient: str
) -> None:
    if "unicode" in endpoint.limits:
        patient = patient.encode("latin-1", "ignore").decode("latin-1").strip()
    made = data.ct(tmp_path / "made", replace(who, patient_id=patient), slices=2, size=16)
    endpoint.load([made])
    (series,) = party.find()
    assert series.patient_id == patient
    found = party.fetch(series)
    assert contents(found) == made.datasets
    assert {instance.header.patient_id for instance in found.values()} == {patient}


def files_at(folder: Path, **contents: bytes) -> list[PlainFile]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    slices = {name: FileSlice(folder / name, 0, len(data)) for name, data in contents.items()}
    return [PlainFile(name, payload) for name, payload in slices.items()]


def reference_of(party: Party, who: data.Identity) -> SeriesReference:
    uids = (who.study_instance_uid, who.series_instance_uid)
    return SeriesReference(party.address, who.patient_id, *uids, modality="CT", series_number="1")


def test_plain_files_are_stored_once_and_never_replaced(
    party: Party, who: data.Identity, tmp_path: Path
) -> None:
    series, transport = reference_of(party, who), party.transport
    if not party.address.takes_files:
        with pytest.raises(SeriesportError) as caught:
            transport.store_files([], party.address, "NIFTI", series)
        assert caught.value.code == "files-unsupported"
        return
    party.store(loaded(data.ct(tmp_path / "made", who, slices=2, size=16)))
    files = files_at(tmp_path / "files", image=b"an image", sidecar=b"{}")
    for sent in (True, False):
        receipt = transport.store_files(files, party.address, "NIFTI", series)
        assert [(e.uid, e.sent, e.proof) for e in receipt.entries] == [
            ("image", sent, Proof.DIGEST),
            ("sidecar", sent, Proof.DIGEST),
        ]
    changed = files_at(tmp_path / "changed", image=b"an imagE")
    receipt = transport.store_files(changed, party.address, "NIFTI", series)
    assert [entry.code for entry in receipt.entries] == ["destination-conflict"]
    assert transport.store_files(files, party.address, "NIFTI", series).complete
    assert len(party.fetch(*party.find())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "member"])
def test_on_a_server_of_ones_own_the_suite_needs_an_owner_and_leaves_nothing(
    tmp_path: Path, role: str
) -> None:
    chosen = "xnat_live and what_is_stored_is_found"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    with Xnat(tmp_path / "xnat", "1.6.5") as peer:
        peer.add_project("P", max=role)
        peer.add_user("max", "max")
        told = {"TEST_XNAT": f"{peer.url}/P", "USER_LIVE": "max", "PASSWORD_LIVE": "max"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", __file__, "-q", "-k", chosen],
            env={**clean, **{f"SERIESPORT_{key}": value for key, value in told.items()}},
            capture_output=True,
            text=True,
            check=False,
        )
        made = peer.count("PUT", "/subjects/")
        left = [item for item in peer.state.items.values() if item.kind != "project"]
    assert not left
    if role == "owner":
        assert done.returncode == 0, done.stdout
        assert made
    else:
        assert "the suite needs an owner of the project P" in done.stdout
        assert not made
