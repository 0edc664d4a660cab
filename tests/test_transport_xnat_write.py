"""Storing at an XNAT: nothing is reported as arrived that is not, and nobody's data is touched."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pydicom
import pytest

import data
from peers.xnat import Fault, Xnat
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice, Instance, PlainFile
from seriesport.model.series import Proof, Removal, SeriesReference, Written
from seriesport.transports.registry import open_transport
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.xnat.contents import Contents
from seriesport.transports.xnat.server import XnatServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from peers.xnat import Logged
    from seriesport.model.series import Receipt
    from seriesport.transports.served import Served
    from seriesport.transports.xnat.transport import XnatTransport

EXPERIMENT = XnatAddress("here", None, "P", "S1", "E1")
VARIANTS = [("1.6.4", "absent"), ("1.8", "on")]
modern = pytest.mark.parametrize("site", VARIANTS[1:], ids=["1.8"], indirect=True)
"""For what does not depend on the version."""


@dataclass
class Site:
    """An XNAT with project P, in which user `member` may edit and `viewer` may not."""

    peer: Xnat
    settings: Settings

    def store(self, what: Sequence[Instance], address: XnatAddress = EXPERIMENT) -> Receipt:
        with open_transport(address, self.settings) as transport:
            return transport.store(what, address, "KEY")

    def store_files(
        self,
        files: Sequence[PlainFile],
        series: SeriesReference,
        address: XnatAddress = EXPERIMENT,
        resource: str = "NIFTI",
        name: str | None = None,
    ) -> Receipt:
        with open_transport(address, self.settings) as transport:
            return transport.store_files(files, address, resource, series, name)

    def remove(self, written: Written, address: XnatAddress = EXPERIMENT) -> Removal:
        with open_transport(address, self.settings) as transport:
            return transport.remove(address, written)

    def fault(self, kind: str, **words: object) -> Fault:
        """A fault of the PUTs of files, if nothing else is said."""
        where = {"path": "*/files/*", "method": "PUT"} | words
        return self.peer.faults.add(Fault(kind, **where))

    @property
    def puts(self) -> list[Logged]:
        """The PUTs of files so far."""
        return [r for r in self.peer.requests if r.method == "PUT" and "/files/" in r.path]

    @property
    def changes(self) -> list[str]:
        """Every request so far that could change something."""
        every = [r for r in self.peer.requests if r.method in ("PUT", "POST", "DELETE")]
        return [f"{r.method} {r.path}" for r in every if "JSESSION" not in r.path]

    def stored(self, scan: str = "1", resource: str = "DICOM") -> dict[str, bytes]:
        return self.peer.stored("P", "E1", scan, resource)

    def fields(self, scan: str = "1") -> dict[str, str]:
        found = self.peer.scan("P", "E1", scan)
        assert found is not None
        return found.fields

    def log_in(self, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
        monkeypatch.setenv("SERIESPORT_USER_HERE", user)
        monkeypatch.setenv("SERIESPORT_PASSWORD_HERE", f"secret of {user}")


def made_site(folder: Path, profile: str, digests: str, **words: object) -> Site:
    peer = Xnat(folder, profile, digests)
    peer.add_project("P")
    roles = {"owner": "owner", "member": "member", "viewer": "collaborator", "stranger": ""}
    for user, role in roles.items():
        peer.add_user(user, f"secret of {user}", P=role)
    server = XnatServer("here", peer.url, connect_timeout=3, timeout=3, wall_clock=20, **words)
    return Site(peer, Settings({"here": server}))


@pytest.fixture(params=VARIANTS, ids=["1.6.4", "1.8"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """An XNAT without digests, and one with them."""
    made = made_site(tmp_path / "xnat", *request.param)
    made.log_in(monkeypatch, "member")
    with made.peer:
        yield made


@pytest.fixture
def who(request: pytest.FixtureRequest) -> data.Identity:
    return data.identity(request.node.nodeid)


@pytest.fixture
def made(tmp_path: Path, who: data.Identity) -> data.Made:
    """A CT of four small slices."""
    return data.ct(tmp_path / "made", who, slices=4, size=16)


def loaded(made: data.Made) -> list[Instance]:
    return [load_instance(path) for path in made.paths]


def whole(site: Site, made: data.Made, scan: str = "1") -> bool:
    """Whether a scan has just the instances of a series, bit by bit."""
    stored = {name.removesuffix(".dcm"): content for name, content in site.stored(scan).items()}
    wanted = made.datasets
    return stored.keys() == wanted.keys() and all(
        stored[uid].endswith(content) for uid, content in wanted.items()
    )


def proven(receipt: Receipt) -> bool:
    return receipt.complete and {entry.proof for entry in receipt.entries} == {Proof.DIGEST}


def reference(who: data.Identity, **changes: str) -> SeriesReference:
    words = {
        "accession_number": who.accession_number,
        "modality": "CT",
        "series_number": str(who.series_number),
        "series_description": who.series_description,
    }
    return SeriesReference(
        EXPERIMENT,
        who.patient_id,
        who.study_instance_uid,
        who.series_instance_uid,
        **(words | changes),
    )


def plain(folder: Path, **files: bytes) -> list[PlainFile]:
    folder.mkdir(exist_ok=True)
    made: list[PlainFile] = []
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        made.append(PlainFile(name.replace("__", "."), FileSlice(path, 0, len(content))))
    return made


# What is made


def test_a_series_arrives_in_a_new_scan_of_a_new_experiment(site: Site, made: data.Made) -> None:
    receipt = site.store(loaded(made))
    assert proven(receipt)
    assert all(entry.sent for entry in receipt.entries)
    assert site.peer.scans("P", "E1") == ["1"]
    assert whole(site, made)
    assert len(site.puts) == 4


def test_the_new_experiment_and_scan_are_of_the_modalitys_types(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    site.store(loaded(made))
    experiment, subject = site.peer.experiment("P", "E1"), site.peer.subject("P", "S1")
    scan = site.peer.scan("P", "E1", "1")
    assert experiment is not None
    assert subject is not None
    assert scan is not None
    assert experiment.xsi == "xnat:ctSessionData"
    assert experiment.parent == subject.id
    assert experiment.fields["UID"] == who.study_instance_uid
    assert scan.xsi == "xnat:ctScanData"


def test_a_scan_is_described_by_its_headers(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    site.store(loaded(made))
    fields = site.fields()
    assert fields["UID"] == who.series_instance_uid
    assert fields["series_description"] == fields["type"] == who.series_description
    assert fields["quality"] == "usable"
    assert fields["modality"] == "CT"
    assert fields["frames"] == "4"


def test_a_field_that_the_server_lacks_costs_no_other_field(
    site: Site, tmp_path: Path, who: data.Identity, caplog: pytest.LogCaptureFixture
) -> None:
    made = data.mr(tmp_path / "mr", who, times=1, slices=2, size=16)
    for path in made.paths:
        set_attributes(
            path, BodyPartExamined="HEAD", Manufacturer="ACME", MagneticFieldStrength="2.89"
        )
    with caplog.at_level(logging.WARNING, "seriesport"):
        assert proven(site.store(loaded(made)))
    fields = site.fields()
    assert fields["scanner/manufacturer"] == "ACME"
    assert fields["fieldStrength"] == "3.0"
    assert fields["frames"] == "2"
    assert "bodyPartExamined" not in fields
    assert "bodyPartExamined" in caplog.text
    assert who.series_instance_uid not in caplog.text


@modern
def test_a_value_that_the_server_stumbles_over_costs_no_other(
    site: Site, made: data.Made, caplog: pytest.LogCaptureFixture
) -> None:
    site.peer.faults.add(Fault("status", "*", "PUT", query="*frames*", status=500, times=None))
    for path in made.paths:
        set_attributes(path, Manufacturer="ACME")
    assert proven(site.store(loaded(made)))
    assert site.fields()["scanner/manufacturer"] == "ACME"
    assert "frames" in caplog.text


def test_a_field_that_somebody_set_stays(site: Site, made: data.Made, who: data.Identity) -> None:
    known = {"UID": who.series_instance_uid, "type": "T1", "quality": "unusable", "frames": "9"}
    site.peer.add_scan("P", "S1", "E1", "1", {}, xsi="xnat:ctScanData", **known)
    assert proven(site.store(loaded(made)))
    fields = site.fields()
    assert known.items() <= fields.items()
    assert fields["series_description"] == who.series_description


def test_the_second_time_nothing_is_sent_and_nothing_changed(site: Site, made: data.Made) -> None:
    site.store(loaded(made))
    before = len(site.changes)
    receipt = site.store(loaded(made))
    assert proven(receipt)
    assert not any(entry.sent for entry in receipt.entries)
    assert len(site.changes) == before


def test_what_half_an_upload_left_out_is_added(site: Site, made: data.Made) -> None:
    site.store(loaded(made)[1:3])
    receipt = site.store(loaded(made))
    assert proven(receipt)
    assert [entry.sent for entry in receipt.entries] == [True, False, False, True]
    assert whole(site, made)
    assert len(site.puts) == 4


def test_a_scan_without_a_number_is_named_by_the_series(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    made = data.ct(tmp_path / "made", who, slices=1, size=16)
    set_attributes(made.paths[0], SeriesNumber=None)
    assert proven(site.store(loaded(made)))
    assert site.peer.scans("P", "E1") == [who.series_instance_uid.replace(".", "_")]


# Nobody's scan is touched


def test_another_series_of_the_same_number_gets_the_next_free_scan(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    series = [who, *(who.series(n, series_number=1) for n in (2, 3))]
    made = [data.ct(tmp_path / str(n), one, slices=2, size=16) for n, one in enumerate(series)]
    for one in made * 2:
        assert proven(site.store(loaded(one)))
    assert sorted(site.peer.scans("P", "E1")) == ["1", "1-CT1", "1-CT2"]
    for one, scan in zip(made, ["1", "1-CT1", "1-CT2"], strict=True):
        assert whole(site, one, scan)
    assert len(site.puts) == 6


@modern
@pytest.mark.parametrize(
    ("files", "fields"),
    [
        ({"a.dcm": b"no DICOM at all"}, {}),
        ({}, {"UID": "1.2.3.4"}),
        ({}, {"type": "planned"}),
        ({"t1.nii": b"x"}, {"note": "mine"}),
    ],
    ids=["unreadable", "uid", "planned", "derived"],
)
def test_a_scan_that_may_be_somebody_elses_is_left_alone(
    site: Site, made: data.Made, files: dict[str, bytes], fields: dict[str, str]
) -> None:
    site.peer.add_scan("P", "S1", "E1", "1", files, **fields)
    before = (dict(site.fields()), site.stored())
    assert proven(site.store(loaded(made)))
    assert (site.fields(), site.stored()) == before
    assert whole(site, made, "1-CT1")


def test_a_series_is_recognised_by_the_headers_of_files_of_other_names(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    files = {f"IM{n}.dcm": path for n, path in enumerate(made.paths[:3])}
    site.peer.add_scan("P", "S1", "E1", "77", files)
    receipt = site.store(loaded(made))
    assert proven(receipt)
    assert [entry.sent for entry in receipt.entries] == [False, False, False, True]
    assert site.peer.scans("P", "E1") == ["77"]
    assert sorted(site.stored("77")) == sorted([*files, f"{made.uids[3]}.dcm"])
    assert site.fields("77")["UID"] == who.series_instance_uid


def test_an_instance_under_another_name_with_other_bytes_is_a_conflict(
    site: Site, made: data.Made
) -> None:
    altered = bytearray(made.paths[0].read_bytes())
    altered[-1] ^= 1
    site.peer.add_scan("P", "S1", "E1", "1", {"x.dcm": bytes(altered)})
    receipt = site.store(loaded(made))
    assert [entry.code for entry in receipt.entries] == ["destination-conflict", "", "", ""]
    assert site.stored()["x.dcm"] == bytes(altered)
    assert len(site.puts) == 3


def test_a_listed_file_with_other_bytes_is_never_replaced(site: Site, made: data.Made) -> None:
    site.store(loaded(made))
    before = site.stored()
    altered = bytearray(made.paths[2].read_bytes())
    altered[-1] ^= 1
    made.paths[2].write_bytes(altered)
    receipt = site.store(loaded(made))
    assert [entry.code for entry in receipt.entries] == ["", "", "destination-conflict", ""]
    assert site.stored() == before
    assert len(site.puts) == 4


def test_a_scan_with_the_series_uid_and_files_of_another_is_a_conflict(
    site: Site, made: data.Made, tmp_path: Path, who: data.Identity
) -> None:
    other = data.ct(tmp_path / "other", who.series(9), slices=1, size=16)
    files = {"x.dcm": other.paths[0]}
    site.peer.add_scan("P", "S1", "E1", "5", files, UID=who.series_instance_uid)
    assert refusal(site, made) == "destination-conflict"
    assert site.puts == []


# Addresses


def test_an_address_with_a_scan_names_the_new_scan(site: Site, made: data.Made) -> None:
    address = replace(EXPERIMENT, scan="T1-a", resource="RAW")
    for _ in range(2):
        assert proven(site.store(loaded(made), address))
    assert site.peer.scans("P", "E1") == ["T1-a"]
    assert site.peer.resources("P", "E1", "T1-a") == ["RAW"]
    assert len(site.stored("T1-a", "RAW")) == len(site.puts) == 4


def test_an_address_with_a_scan_of_another_series_is_a_conflict(
    site: Site, made: data.Made, tmp_path: Path, who: data.Identity
) -> None:
    other = data.ct(tmp_path / "other", who.series(9), slices=1, size=16)
    site.peer.add_scan("P", "S1", "E1", "5", {"x.dcm": other.paths[0]}, type="T1")
    for scan in ("5", "T1"):
        address = replace(EXPERIMENT, scan=scan)
        assert refusal(site, made, address) == "destination-conflict"
    assert site.puts == []
    assert "UID" not in site.fields("5")


@modern
@pytest.mark.parametrize(
    "scan", ["1,2", "ALL", "a*", "x" * 65, "1.5", "a b", "6+1", "10(1)", "ü5", "8%41", "a'b"]
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_scan_that_xnat_cannot_take_is_refused_before_anything_is_made(
    site: Site, made: data.Made, scan: str, exists: bool
) -> None:
    if exists:
        site.peer.add_experiment("P", "S1", "E1")
    assert refusal(site, made, replace(EXPERIMENT, scan=scan)) == "address-invalid"
    assert site.changes == []


def test_a_scan_whose_id_is_the_type_of_another_is_a_reason_of_its_own(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    site.peer.add_scan("P", "S1", "E1", "60", {}, UID=who.series_instance_uid, type="T1w")
    site.peer.add_scan("P", "S1", "E1", "61", {}, UID="1.2.3", type="60")
    for address in (EXPERIMENT, replace(EXPERIMENT, scan="60")):
        assert refusal(site, made, address) == "scan-ambiguous"
    assert site.puts == []


def test_a_new_scan_is_not_taken_for_another_by_its_id_or_type(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    named = replace(who, series_description="7")
    made = data.ct(tmp_path / "made", named, slices=2, size=16)
    site.peer.add_scan("P", "S1", "E1", "7", {}, UID="1.2.3", type="1")
    assert proven(site.store(loaded(made)))
    assert sorted(site.peer.scans("P", "E1")) == ["1-CT1", "7"]
    assert site.fields("1-CT1")["series_description"] == "7"
    assert "type" not in site.fields("1-CT1")


ODD = "DTI (64) ü & <b> 'q' 日"


@pytest.mark.parametrize("document", [True, False], ids=["document", "query"])
def test_a_scan_is_found_by_the_description_that_it_was_given(
    site: Site, tmp_path: Path, who: data.Identity, document: bool
) -> None:
    named = replace(who, series_description=ODD)
    made = data.ct(tmp_path / "made", named, slices=2, size=16)
    if not document:
        refused = Fault("status", "*/scans/1", "PUT", query="inbody=true", status=422, times=None)
        site.peer.faults.add(refused)
    for _ in range(2):
        assert proven(site.store(loaded(made)))
    assert len(site.puts) == 2
    if document:
        assert site.fields()["series_description"] == site.fields()["type"] == ODD
    with open_transport(EXPERIMENT, site.settings) as transport:
        [found] = transport.find(replace(EXPERIMENT, scan=ODD))
        assert found.scan_type == ODD
    assert proven(site.store(loaded(made), replace(EXPERIMENT, scan=ODD)))
    assert site.peer.scans("P", "E1") == ["1"]
    assert len(site.puts) == 2


def test_a_resource_is_found_by_a_label_with_a_blank(site: Site, made: data.Made) -> None:
    address = replace(EXPERIMENT, scan="1", resource="A B")
    for _ in range(2):
        assert proven(site.store(loaded(made), address))
    assert len(site.puts) == 4
    with open_transport(address, site.settings) as transport:
        [found] = transport.find(address)
        assert found.instances == 4


def test_a_resource_is_counted_once_for_all_of_its_files(site: Site, made: data.Made) -> None:
    assert proven(site.store(loaded(made)))
    uncounted = ["update-stats=false" in put.query for put in site.puts]
    assert uncounted == [True, True, True, False]
    assert not any("refresh" in change for change in site.changes)


def test_a_count_that_stays_behind_is_made_again(
    site: Site, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests' server always counts.
    monkeypatch.setattr(Contents, "counted", lambda _: 3)
    assert proven(site.store(loaded(made)))
    [refreshed] = [r for r in site.peer.requests if "/services/refresh/catalog" in r.path]
    assert "options=populateStats" in refreshed.query


@modern
@pytest.mark.parametrize(
    "address", [XnatAddress("here", None, "P"), XnatAddress("here", None, "P", "S1")]
)
def test_an_address_without_an_experiment_says_what_is_needed(
    site: Site, made: data.Made, address: XnatAddress
) -> None:
    with pytest.raises(SeriesportError, match="experiment") as caught:
        site.store(loaded(made), address)
    assert caught.value.code == "address-invalid"
    assert site.changes == []


@modern
@pytest.mark.parametrize("label", ["S 1", "S+1", "S(1)", "Sü", "S.1", "S/1", "x" * 65])
def test_a_label_that_xnat_cannot_take_is_refused_before_anything_is_made(
    site: Site, made: data.Made, label: str
) -> None:
    for address in (replace(EXPERIMENT, subject=label), replace(EXPERIMENT, experiment=label)):
        assert refusal(site, made, address) == "address-invalid"
    assert site.changes == []


@modern
def test_a_project_that_is_not_there_is_not_made(site: Site, made: data.Made) -> None:
    assert refusal(site, made, replace(EXPERIMENT, project="Q")) == "not-found"
    assert site.changes == []


def test_nothing_is_made_where_the_config_forbids_it(
    tmp_path: Path, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = made_site(tmp_path / "xnat", "1.8", "on", create=False)
    site.log_in(monkeypatch, "member")
    with site.peer:
        for _ in ("the subject", "the experiment"):
            assert refusal(site, made) == "not-found"
            assert site.changes == []
            site.peer.add_subject("P", "S1")
        site.peer.add_experiment("P", "S1", "E1")
        assert proven(site.store(loaded(made)))


def test_an_experiment_of_another_subject_is_not_moved(site: Site, made: data.Made) -> None:
    site.peer.add_experiment("P", "S2", "E1")
    owner = site.peer.subject("P", "S2")
    for _ in ("without the subject", "with it"):
        assert refusal(site, made) == "experiment-elsewhere"
        site.peer.add_subject("P", "S1")
    experiment = site.peer.experiment("P", "E1")
    assert experiment is not None
    assert owner is not None
    assert experiment.parent == owner.id
    assert site.changes == []


def test_subject_and_experiment_may_be_given_by_id(site: Site, made: data.Made) -> None:
    experiment = site.peer.add_experiment("P", "S1", "E1")
    subject = site.peer.add_subject("P", "S1")
    address = replace(EXPERIMENT, subject=subject, experiment=experiment)
    assert proven(site.store(loaded(made), address))
    assert whole(site, made)


def test_a_session_type_that_the_server_lacks_becomes_a_general_one(
    site: Site, made: data.Made
) -> None:
    site.peer.faults.add(Fault("status", "*", "PUT", query="*ctSessionData*", status=400))
    site.peer.faults.add(Fault("status", "*/scans/*", "PUT", query="*ctScanData*", status=400))
    assert proven(site.store(loaded(made)))
    experiment, scan = site.peer.experiment("P", "E1"), site.peer.scan("P", "E1", "1")
    assert experiment is not None
    assert scan is not None
    assert experiment.xsi == "xnat:otherDicomSessionData"
    assert scan.xsi == "xnat:otherDicomScanData"


# Rights


def test_a_user_who_may_only_look_is_told_what_is_needed(
    site: Site, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.log_in(monkeypatch, "viewer")
    for add in (
        lambda: None,
        lambda: site.peer.add_subject("P", "S1"),
        lambda: site.peer.add_experiment("P", "S1", "E1"),
    ):
        add()
        with pytest.raises(SeriesportError, match="role") as caught:
            site.store(loaded(made))
        assert caught.value.code == "access-denied"
    assert site.peer.scans("P", "E1") == []


def test_200_for_files_that_are_thrown_away_is_not_believed(
    site: Site, made: data.Made, who: data.Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"UID": who.series_instance_uid, "series_description": "x", "type": "x",
             "quality": "usable", "modality": "CT"}  # fmt: skip
    site.peer.add_scan("P", "S1", "E1", "1", {}, xsi="xnat:ctScanData", **known)
    site.log_in(monkeypatch, "viewer")
    receipt = site.store(loaded(made))
    assert not any(entry.sent or entry.arrived for entry in receipt.entries)
    assert {entry.code for entry in receipt.entries} == {"access-denied"}
    assert len(site.puts) == 1
    assert site.stored() == {}
    site.log_in(monkeypatch, "member")
    assert proven(site.store(loaded(made)))


def test_a_stranger_is_told_that_the_project_is_not_visible(
    site: Site, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.log_in(monkeypatch, "stranger")
    assert refusal(site, made) in ("not-found", "access-denied")
    assert site.changes == []


# What a server does to files


def test_a_file_that_is_accepted_and_not_stored_is_sent_again(site: Site, made: data.Made) -> None:
    site.fault("not-stored", skip=2)
    assert proven(site.store(loaded(made)))
    assert whole(site, made)
    assert len(site.puts) == 5


def test_what_is_never_stored_is_never_reported(site: Site, made: data.Made) -> None:
    fault = site.fault("not-stored", path=f"*/{made.uids[2]}.dcm", times=None)
    receipt = site.store(loaded(made))
    assert [entry.arrived for entry in receipt.entries] == [True, True, False, True]
    assert receipt.entries[2].code == "store-unverified"
    fault.times = 0
    sent_before = len(site.puts)
    assert proven(site.store(loaded(made)))
    assert len(site.puts) == sent_before + 1


@modern
@pytest.mark.parametrize("after", [0, 1, 700])
def test_a_put_that_broke_off_is_healed(site: Site, made: data.Made, after: int) -> None:
    site.fault("orphan", skip=1, after=after)
    assert proven(site.store(loaded(made)))
    assert whole(site, made)
    assert site.peer.orphans("P", "E1", "1") == {}


def test_orphans_that_a_killed_upload_left_are_healed(site: Site, made: data.Made) -> None:
    site.fault("orphan", skip=1, after=300, times=None)
    receipt = site.store(loaded(made))
    assert [entry.arrived for entry in receipt.entries] == [True, False, False, False]
    assert {entry.code for entry in receipt.entries[1:]} == {"connection-lost"}
    assert site.peer.orphans("P", "E1", "1")
    site.peer.faults.clear()
    assert proven(site.store(loaded(made)))
    assert whole(site, made)


def test_a_file_that_is_stored_and_not_listed_is_healed(site: Site, made: data.Made) -> None:
    site.fault("lossy", times=3)
    assert proven(site.store(loaded(made)))
    assert whole(site, made)
    assert [r for r in site.puts if "overwrite=true" in r.query]


def test_an_answer_that_was_lost_does_not_send_a_file_twice(site: Site, made: data.Made) -> None:
    site.fault("reply-lost", times=2)
    assert proven(site.store(loaded(made)))
    assert whole(site, made)
    assert len(site.puts) == 4


@modern
@pytest.mark.parametrize("kind", ["login-html", "expire"])
def test_a_session_that_ends_in_the_middle_is_renewed(
    site: Site, made: data.Made, kind: str
) -> None:
    site.fault(kind, skip=2)
    assert proven(site.store(loaded(made)))
    assert whole(site, made)


@pytest.mark.parametrize("kind", ["login-html", "close", "reply-lost"])
def test_a_server_that_never_answers_a_file_well_is_told(
    site: Site, made: data.Made, kind: str
) -> None:
    site.fault(kind, skip=2, times=None)
    receipt = site.store(loaded(made))
    arrived = {entry.uid for entry in receipt.entries if entry.arrived}
    assert arrived == {name.removesuffix(".dcm") for name in site.stored()}
    assert all(
        e.code in ("answer-invalid", "connection-lost") for e in receipt.entries if not e.arrived
    )
    site.peer.faults.clear()
    assert proven(site.store(loaded(made)))
    assert whole(site, made)


STATUSES = {
    400: "store-failed",
    403: "access-denied",
    404: "store-failed",
    409: "store-failed",
    429: "server-busy",
    500: "server-failure",
    502: "server-failure",
    503: "server-busy",
}


@modern
@pytest.mark.parametrize(("status", "code"), STATUSES.items())
def test_a_status_that_refuses_a_file_is_told_and_the_rest_arrives_later(
    site: Site, made: data.Made, status: int, code: str
) -> None:
    site.fault("status", skip=1, times=None, status=status)
    receipt = site.store(loaded(made))
    assert [entry.arrived for entry in receipt.entries] == [True, False, False, False]
    assert {entry.code for entry in receipt.entries[1:]} == {code}
    assert len(site.stored()) == 1
    site.peer.faults.clear()
    assert proven(site.store(loaded(made)))
    assert whole(site, made)


@pytest.mark.slow
def test_a_server_that_asks_to_wait_gets_its_wait(site: Site, made: data.Made) -> None:
    site.fault("status", skip=1, status=503, retry_after="1")
    assert proven(site.store(loaded(made)))
    assert whole(site, made)


@modern
@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_error_that_passes_is_survived(site: Site, made: data.Made, status: int) -> None:
    site.fault("status", skip=2, status=status)
    assert proven(site.store(loaded(made)))
    assert len(site.puts) == 5


MAKING = [("subject", "*/subjects/S1"), ("experiment", "*/experiments/E1"),
          ("scan", "*/scans/1"), ("resource", "*/resources/DICOM")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reply-lost", "close", "expire", "login-html"])
@pytest.mark.parametrize(("level", "path"), MAKING)
def test_a_rerun_goes_on_where_making_something_broke_off(
    site: Site, made: data.Made, level: str, path: str, kind: str
) -> None:
    del level
    site.fault(kind, path=path)
    with suppress(SeriesportError):
        site.store(loaded(made))
    assert proven(site.store(loaded(made)))
    assert len(list(site.peer.state.below("subject", "P"))) == 1
    assert len(list(site.peer.state.below("experiment", "P"))) == 1
    assert site.peer.scans("P", "E1") == ["1"]
    assert site.peer.resources("P", "E1", "1") == ["DICOM"]
    assert len(site.puts) == 4


@modern
@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 404, 409, 500, 503])
@pytest.mark.parametrize(("level", "path"), MAKING)
def test_what_cannot_be_made_is_told_and_nothing_is_sent(
    site: Site, made: data.Made, level: str, path: str, status: int
) -> None:
    site.fault("status", path=path, status=status, times=None)
    if (level, status) == ("resource", 409):
        return
    code = refusal(site, made)
    expected = {403: {"access-denied"}, 503: {"server-busy"}, 500: {"server-failure"}}
    assert code in expected.get(status, {"not-found", "request-refused"})
    assert site.puts == []
    site.peer.faults.clear()
    assert proven(site.store(loaded(made)))


def test_a_wrong_digest_over_right_bytes_is_read_back(
    tmp_path: Path, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = made_site(tmp_path / "xnat", "1.8", "on")
    site.log_in(monkeypatch, "member")
    with site.peer:
        site.peer.faults.add(Fault("digest-wrong", "*/files", times=None))
        assert proven(site.store(loaded(made)))
        assert proven(site.store(loaded(made)))
        assert whole(site, made)


@pytest.mark.parametrize("kind", ["digest-empty", "digest-missing"])
def test_without_digests_the_files_are_read_back(
    tmp_path: Path, made: data.Made, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    site = made_site(tmp_path / "xnat", "1.8", "on")
    site.log_in(monkeypatch, "member")
    with site.peer:
        site.peer.faults.add(Fault(kind, "*/files", times=None))
        assert proven(site.store(loaded(made)))
        assert site.peer.count("GET", ".dcm") >= 4


def test_a_digest_of_a_files_first_content_proves_nothing(
    tmp_path: Path, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = made_site(tmp_path / "xnat", "1.8", "on")
    site.log_in(monkeypatch, "member")
    with site.peer:
        assert proven(site.store(loaded(made)))
        for path in site.peer.state.folder.rglob("*.dcm"):
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        receipt = site.store(loaded(made))
        assert {entry.code for entry in receipt.entries} == {"destination-conflict"}


def test_a_file_that_cannot_be_read_back_is_listed_and_no_more(
    tmp_path: Path, made: data.Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = made_site(tmp_path / "xnat", "1.6.4", "absent")
    site.log_in(monkeypatch, "member")
    with site.peer:
        site.peer.faults.add(Fault("status", "*.dcm", "GET", status=403, times=None))
        receipt = site.store(loaded(made))
        assert receipt.complete
        assert {entry.proof for entry in receipt.entries} == {Proof.LISTED}
        assert all("not read back" in entry.detail for entry in receipt.entries)


def test_bytes_that_changed_on_their_way_are_not_believed(site: Site, made: data.Made) -> None:
    catalogs = site.peer.state.catalogs
    write = catalogs.write

    def spoilt(resource: int, name: str, content: bytes) -> None:
        write(resource, name, content[:-1] + bytes([content[-1] ^ 1]))

    catalogs.write = spoilt  # pyright: ignore[reportAttributeAccessIssue] - the disk of the server
    site.peer.faults.add(Fault("digest-empty", "*/files", times=None))
    receipt = site.store(loaded(made))
    assert not any(entry.arrived for entry in receipt.entries)
    assert {entry.code for entry in receipt.entries} == {"store-unverified"}


def test_bytes_that_changed_once_are_sent_again(site: Site, made: data.Made) -> None:
    catalogs = site.peer.state.catalogs
    write, spoilt = catalogs.write, list[str]()

    def spoil_first(resource: int, name: str, content: bytes) -> None:
        if not spoilt:
            spoilt.append(name)
            content = content[:-1] + bytes([content[-1] ^ 1])
        write(resource, name, content)

    catalogs.write = spoil_first  # pyright: ignore[reportAttributeAccessIssue] - the server's disk
    site.peer.faults.add(Fault("digest-empty", "*/files", times=None))
    assert proven(site.store(loaded(made)))
    assert whole(site, made)
    assert len(site.puts) == 5


def test_a_scan_that_another_upload_takes_meanwhile_is_no_success(
    site: Site, made: data.Made
) -> None:
    catalogs = site.peer.state.catalogs
    write = catalogs.write

    def take(resource: int, name: str, content: bytes) -> None:
        write(resource, name, content)
        site.fields()["UID"] = "1.2.3.4"

    catalogs.write = take  # pyright: ignore[reportAttributeAccessIssue] - somebody else's request
    (name, server), *_ = site.settings.servers.items()
    once = Site(site.peer, Settings({name: replace(server, attempts=1)}))
    assert refusal(once, made) == "store-unverified"
    catalogs.write = write
    assert proven(site.store(loaded(made)))
    assert whole(site, made, "1-CT1")


def test_a_size_that_is_listed_wrong_is_looked_into(site: Site, made: data.Made) -> None:
    site.peer.faults.add(Fault("size-wrong", "*/files", times=None))
    receipt = site.store(loaded(made))
    assert proven(receipt)


def test_a_source_file_that_changes_meanwhile_is_a_reason(site: Site, made: data.Made) -> None:
    instances = loaded(made)
    made.paths[1].write_bytes(made.paths[1].read_bytes()[:-10])
    receipt = site.store(instances)
    assert [entry.arrived for entry in receipt.entries] == [True, False, True, True]
    assert receipt.entries[1].code == "source-changed"
    assert f"{made.uids[1]}.dcm" not in site.stored()


# Several at once


def at_once(site: Site, made: Sequence[data.Made]) -> list[Receipt]:
    """Upload each from a thread of its own, all at the same moment."""
    receipts: list[Receipt] = []
    ready = threading.Barrier(len(made))

    def upload(one: data.Made) -> None:
        instances = loaded(one)
        ready.wait(30)
        receipts.append(site.store(instances))

    threads = [threading.Thread(target=upload, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return receipts


def test_the_same_upload_twice_at_once_sends_each_file_once(site: Site, made: data.Made) -> None:
    receipts = at_once(site, [made] * 4)
    assert len(receipts) == 4
    assert all(map(proven, receipts))
    assert set(site.peer.busiest_puts.values()) == {1}
    assert len(site.puts) == 4
    assert whole(site, made)


@pytest.mark.parametrize("exists", [False, True])
def test_uploads_into_one_experiment_at_once_all_arrive(
    site: Site, tmp_path: Path, who: data.Identity, exists: bool
) -> None:
    if exists:
        site.peer.add_experiment("P", "S1", "E1")
    numbers = [1, 1, 1, 2, 3, 4]
    series = [who.series(n, series_number=number) for n, number in enumerate(numbers)]
    made = [data.ct(tmp_path / str(n), one, slices=3, size=16) for n, one in enumerate(series)]
    receipts = at_once(site, made)
    assert len(receipts) == len(made)
    assert all(map(proven, receipts))
    assert sorted(site.peer.scans("P", "E1")) == ["1", "1-CT1", "1-CT2", "2", "3", "4"]
    assert set(site.peer.busiest_puts.values()) == {1}
    assert len(site.puts) == 18
    stored = [site.stored(scan) for scan in site.peer.scans("P", "E1")]
    assert sorted(tuple(sorted(f"{uid}.dcm" for uid in one.uids)) for one in made) == sorted(
        tuple(sorted(files)) for files in stored
    )


CHILD = """
import sys
from pathlib import Path
from seriesport.transports.registry import parse
from seriesport.dicom.part10 import load_instance
from seriesport.config.settings import Settings
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.registry import open_transport

settings = Settings({"here": XnatServer("here", sys.argv[1])})
address = parse("xnat://here/P/S1/E1")
with open_transport(address, settings) as transport:
    paths = sorted(Path(sys.argv[2]).iterdir())
    receipt = transport.store([load_instance(path) for path in paths], address)
print(sum(entry.proof == "digest" for entry in receipt.entries))
"""


@pytest.mark.slow
def test_uploads_of_several_processes_all_arrive(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    series = [who.series(n, series_number=number) for n, number in enumerate([1, 1, 2])]
    made = [data.ct(tmp_path / str(n), one, slices=3, size=16) for n, one in enumerate(series)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, site.peer.url, str(one.paths[0].parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for one in made
    ]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["3"] * 3
    assert sorted(site.peer.scans("P", "E1")) == ["1", "1-CT1", "2"]
    assert len(list(site.peer.state.below("experiment", "P"))) == 1
    assert len(site.puts) == 9


# Plain files


FILES = {"t1.nii.gz": b"\x1f\x8b nifti", "t1.json": b"{}", "t1.bval": b"0 1000", "t1.bvec": b"0 1"}


def test_derived_files_go_to_the_scan_of_their_series(
    site: Site, made: data.Made, who: data.Identity, tmp_path: Path
) -> None:
    site.peer.add_scan("P", "S1", "E1", "1", {}, type="somebody's")
    site.store(loaded(made))
    receipt = site.store_files(plain(tmp_path / "files", **FILES), reference(who))
    assert proven(receipt)
    assert [entry.uid for entry in receipt.entries] == list(FILES)
    assert sorted(site.peer.resources("P", "E1", "1-CT1")) == ["DICOM", "NIFTI"]
    assert site.stored("1-CT1", "NIFTI") == FILES
    again = site.store_files(plain(tmp_path / "files", **FILES), reference(who))
    assert proven(again)
    assert not any(entry.sent for entry in again.entries)


def test_derived_files_of_other_results_are_the_same_at_the_server(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    tails = {".nii.gz": b"an image", "_e2.nii.gz": b"another", ".json": b"{}"}
    old, new = "abcdefghijklmnop", "ponmlkjihgfedcba"
    for key in ("abcdefghijklmnop", "ponmlkjihgfedcba"):
        files = {f"{key}{tail}": content for tail, content in tails.items()}
        made = plain(tmp_path / key, **files)
        assert proven(site.store_files(made, reference(who), name=key))
    names = {f"{who.series_instance_uid}{tail}" for tail in tails}
    assert set(site.stored(resource="NIFTI")) == names
    assert len(site.puts) == 3
    changed = plain(tmp_path / new, **{f"{new}.nii.gz": b"other bytes"})
    receipt = site.store_files(changed, reference(who), name=new)
    assert [entry.code for entry in receipt.entries] == ["destination-conflict"]
    assert old not in " ".join(site.changes)


def test_derived_files_that_have_their_key_at_the_server_are_not_sent_again(
    site: Site, tmp_path: Path, who: data.Identity
) -> None:
    for key, name in (("abcdefghijklmnop", None), ("ponmlkjihgfedcba", "ponmlkjihgfedcba")):
        made = plain(tmp_path / key, **{f"{key}.nii.gz": b"an image"})
        assert proven(site.store_files(made, reference(who), name=name))
    assert set(site.stored(resource="NIFTI")) == {"abcdefghijklmnop.nii.gz"}


def test_derived_files_without_a_scan_get_a_new_one(
    site: Site, who: data.Identity, tmp_path: Path
) -> None:
    for _ in range(2):
        assert proven(site.store_files(plain(tmp_path / "files", **FILES), reference(who)))
    assert site.peer.scans("P", "E1") == ["1"]
    assert site.fields()["UID"] == who.series_instance_uid
    assert site.stored(resource="NIFTI") == FILES
    assert len(site.puts) == len(FILES)


def test_images_that_come_after_their_derived_files_join_them(
    site: Site, made: data.Made, who: data.Identity, tmp_path: Path
) -> None:
    site.store_files(plain(tmp_path / "files", **FILES), reference(who))
    assert proven(site.store(loaded(made)))
    assert site.peer.scans("P", "E1") == ["1"]
    assert whole(site, made)


def test_plain_files_go_to_the_scan_and_resource_of_the_address(site: Site, tmp_path: Path) -> None:
    nobody = SeriesReference(EXPERIMENT, "", "", "", plain=True)
    address = replace(EXPERIMENT, scan="7", resource="BIDS")
    files = plain(tmp_path / "files", **FILES)
    assert proven(site.store_files(files, nobody, address, ""))
    assert site.stored("7", "BIDS") == FILES
    with pytest.raises(SeriesportError, match="scan") as caught:
        site.store_files(files, nobody)
    assert caught.value.code == "address-invalid"


def test_other_bytes_under_a_files_name_are_never_replaced(
    site: Site, who: data.Identity, tmp_path: Path
) -> None:
    site.store_files(plain(tmp_path / "files", **FILES), reference(who))
    changed = plain(tmp_path / "changed", **{**FILES, "t1.json": b"{ }"})
    receipt = site.store_files(changed, reference(who))
    assert [entry.code for entry in receipt.entries] == ["", "destination-conflict", "", ""]
    assert site.stored(resource="NIFTI") == FILES


def test_derived_files_do_not_go_to_the_scan_of_another_series(
    site: Site, made: data.Made, who: data.Identity, tmp_path: Path
) -> None:
    site.store(loaded(made))
    files = plain(tmp_path / "files", **FILES)
    with pytest.raises(SeriesportError) as caught:
        site.store_files(files, reference(who.series(9)), replace(EXPERIMENT, scan="1"))
    assert caught.value.code == "destination-conflict"
    assert site.peer.resources("P", "E1", "1") == ["DICOM"]


def test_an_empty_file_is_a_reason_and_the_others_arrive(
    site: Site, who: data.Identity, tmp_path: Path
) -> None:
    files = plain(tmp_path / "files", **{"a.bval": b"", **FILES})
    receipt = site.store_files(files, reference(who))
    assert [entry.code for entry in receipt.entries] == ["file-empty", "", "", "", ""]
    assert site.stored(resource="NIFTI") == FILES


@modern
@pytest.mark.parametrize("name", ["a b.nii", "a#b.nii", "a?b.nii", "a%41.nii", "ü.nii", "d/e.nii"])
def test_odd_names_arrive_unchanged(
    site: Site, who: data.Identity, tmp_path: Path, name: str
) -> None:
    (file,) = plain(tmp_path / "files", x=b"content")
    for _ in range(2):
        assert proven(site.store_files([replace(file, name=name)], reference(who)))
    assert site.stored(resource="NIFTI") == {name: b"content"}
    assert len(site.puts) == 1


@modern
@pytest.mark.parametrize("name", ["../a.nii", "/a.nii", "a//b.nii", ".."])
def test_a_name_that_climbs_is_a_reason(
    site: Site, who: data.Identity, tmp_path: Path, name: str
) -> None:
    (file,) = plain(tmp_path / "files", x=b"content")
    receipt = site.store_files([replace(file, name=name)], reference(who))
    assert [entry.code for entry in receipt.entries] == ["name-unsafe"]
    assert site.puts == []


# Privacy


def test_no_message_and_no_log_line_carries_an_identifier(
    site: Site, made: data.Made, who: data.Identity, caplog: pytest.LogCaptureFixture
) -> None:
    site.fault("status", skip=1, times=None, status=500)
    with caplog.at_level(logging.DEBUG, "seriesport"):
        receipt = site.store(loaded(made))
    said = caplog.text + "".join(entry.detail for entry in receipt.entries)
    for secret in (*made.uids, who.series_instance_uid, who.patient_id, who.series_description):
        assert secret not in said


def refusal(site: Site, made: data.Made, address: XnatAddress = EXPERIMENT) -> str:
    with pytest.raises(SeriesportError) as caught:
        site.store(loaded(made), address)
    return caught.value.code


def set_attributes(path: Path, **values: object) -> None:
    data_set = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(data_set, name, value)
    data_set.save_as(path)


# What is removed again


def sha256(contents: Iterable[bytes]) -> list[str]:
    return [hashlib.sha256(content).hexdigest() for content in contents]


def test_what_we_wrote_is_removed_and_what_others_put_beside_it_stays(
    site: Site,
    made: data.Made,
    who: data.Identity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "abcdefghijklmnop"
    tails = {".nii.gz": b"an image", ".json": b"{}", ".bval": b"0 1000"}
    files = {f"{key}{tail}": content for tail, content in tails.items()}
    site.store(loaded(made))
    site.store_files(plain(tmp_path / "files", **files), reference(who), name=key)
    site.store_files(plain(tmp_path / "copy", **{"copy.json": b"{}"}), reference(who))
    changed = f"{who.series_instance_uid}.bval"
    path = f"/data/projects/P/subjects/S1/experiments/E1/scans/1/resources/NIFTI/files/{changed}"
    site.log_in(monkeypatch, "owner")
    with open_transport(EXPERIMENT, site.settings) as transport:
        session = cast("XnatTransport", cast("Served", transport)._transport)._session
        query = {"inbody": "true", "overwrite": "true"}
        session.send("PUT", path, params=query, body=plain(tmp_path, x=b"0 2000")[0].payload)
    names = sorted(files)
    ours = Written(sha256(tails.values()), reference(who), key, "NIFTI", names)
    assert site.remove(ours) == Removal(removed=2, left=1)
    assert site.stored(resource="NIFTI") == {"copy.json": b"{}", changed: b"0 2000"}
    first, *others = sorted(made.datasets)
    some = Written(sha256(made.datasets[uid] for uid in others), reference(who), key)
    assert site.remove(some) == Removal(removed=3, left=1)
    assert set(site.stored()) == {f"{first}.dcm"}
    assert site.remove(some) == Removal(removed=0, left=1)


def test_a_member_who_may_not_delete_is_told_whose_role_it_needs(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    site.store(loaded(made))
    written = Written(sha256(made.datasets.values()), reference(who), "KEY")
    with pytest.raises(SeriesportError, match="owner's role") as denied:
        site.remove(written)
    assert denied.value.code == "access-denied"
    assert whole(site, made)


def test_what_is_gone_at_the_server_is_neither_removed_nor_left(
    site: Site, made: data.Made, who: data.Identity
) -> None:
    written = Written(sha256(made.datasets.values()), reference(who.series(2)), "KEY")
    with pytest.raises(SeriesportError, match="the subject of the address is not there"):
        site.remove(written)
    site.store(loaded(made))
    assert site.remove(written) == Removal(0, 0)
    assert whole(site, made)
