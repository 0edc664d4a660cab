"""Reading from an XNAT: what an address means, and that what arrives is whole or is not there."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

import data
from peers.xnat import Fault, Xnat
from seriesport.config.credentials import find_credentials
from seriesport.config.settings import Settings
from seriesport.errors import SeriesportError
from seriesport.model.instance import PlainFile
from seriesport.store.bundle import read_bundle, read_manifest
from seriesport.transports.fetch import fetch_series
from seriesport.transports.registry import parse
from seriesport.transports.served import Flow, Patience, Served
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.xnat.head import remote_header
from seriesport.transports.xnat.paths import file_path
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.xnat.session import Session
from seriesport.transports.xnat.transport import XnatTransport
from seriesport.workflow.fetch import fetch_shard
from seriesport.workflow.ledger import Status
from seriesport.workflow.plan import plan_cohort
from seriesport.workflow.shard import Results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seriesport.model.series import SeriesReference
    from seriesport.store.bundle import Manifest

pytestmark = pytest.mark.usefixtures("xnat_credentials")
FILES = "*/scans/4/resources/*/files/*"
LISTING = "*/scans/4/files"
modern = pytest.mark.parametrize("xnat", ["1.8"], indirect=True)
"""For what does not depend on the version."""
_projects = itertools.count(1)


@dataclass
class Place:
    """A project of the test's own at an XNAT, with one scan of five images in it."""

    server: Xnat
    folder: Path
    project: str
    made: data.Made
    limits: dict[str, Any] = field(default_factory=dict)
    opened: list[XnatTransport] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        limits: dict[str, Any] = {"timeout": 1.0, "wall_clock": 20.0} | self.limits
        return Settings({"xnat": XnatServer("xnat", self.server.url, **limits)})

    def at(self, *parts: str) -> XnatAddress:
        return XnatAddress("xnat", None, self.project, *parts)

    def transport(self) -> XnatTransport:
        self.opened.append(XnatTransport(self.at(), self.settings))
        return self.opened[-1]

    def add(
        self, scan: str, made: data.Made, subject: str = "S1", experiment: str = "E1", **more: Any
    ) -> None:
        files = {f"{n} #ü%.dcm": path for n, path in enumerate(made.paths, 1)}
        self.server.add_scan(
            self.project, subject, f"{self.project}_{experiment}", scan, files, **more
        )

    def find(self, *parts: str) -> list[SeriesReference]:
        if len(parts) > 1:
            parts = (parts[0], f"{self.project}_{parts[1]}", *parts[2:])
        return self.transport().find(self.at(*parts))

    def series(self) -> SeriesReference:
        [found] = self.find("S1", "E1", "4")
        return found

    def fetch(self, series: SeriesReference | None = None, attempts: int = 1) -> Manifest:
        return fetch_series(
            Served(self.transport(), Patience(attempts, 0), Flow()),
            series or self.series(),
            self.bundle,
            self.folder / "staging",
        )

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle.zip"

    def strike(self, kind: str, path: str = FILES, **how: Any) -> Fault:
        return self.server.faults.add(Fault(kind, f"{path}", "GET", **how))

    def age(self, seconds: float, moment: float | None = None) -> float:
        """Let all files at the server have changed so long ago, or at a moment; that moment."""
        changed = time.time() - seconds if moment is None else moment
        for path in self.server.state.folder.rglob("*.dcm"):
            os.utime(path, (changed, changed))
        return changed

    def is_complete(self) -> bool:
        return {i.uid for i in read_bundle(self.bundle)} == set(self.made.uids)


@pytest.fixture
def place(xnat: Xnat, tmp_path: Path) -> Iterator[Place]:
    name = f"READ{next(_projects)}"
    made = data.ct(tmp_path / "made", data.identity(name, series_number=7), slices=5)
    place = Place(xnat, tmp_path, name, made)
    place.add("4", made, type="T1w", series_description="its description", quality="questionable")
    xnat.requests.clear()
    yield place
    for transport in place.opened:
        transport.close()
    xnat.faults.clear()
    assert not xnat.open_sessions, "a session was left open"


def failing(place: Place, series: SeriesReference, attempts: int = 1) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        place.fetch(series, attempts)
    assert not place.bundle.exists()
    for text in (place.project, place.made.identity.patient_id, "#ü", *place.made.uids):
        assert text not in caught.value.message
    return caught.value


# What an address means


@pytest.mark.parametrize("scan", ["4", "T1w", "its description"])
def test_a_scan_is_found_by_its_id_its_type_or_its_description(place: Place, scan: str):
    place.add("5", data.ct(place.folder / "b", place.made.identity.series(5), slices=2))
    [found] = place.find("S1", "E1", scan)
    who = place.made.identity
    assert found == replace(
        found,
        address=place.at("S1", f"{place.project}_E1", "4", "DICOM"),
        patient_id=who.patient_id,
        study_instance_uid=who.study_instance_uid,
        series_instance_uid=who.series_instance_uid,
        accession_number=who.accession_number,
        modality="CT",
        series_number="7",
        series_description=who.series_description,
        instances=5,
        scan_type="T1w",
        quality="questionable",
    )
    assert parse(found.address.url) == found.address


def test_an_ambiguous_type_lists_the_scans(place: Place):
    for number in (5, 6):
        made = data.ct(place.folder / f"{number}", place.made.identity.series(number), slices=2)
        place.add(str(number), made, type="T2w")
    with pytest.raises(SeriesportError) as caught:
        place.find("S1", "E1", "T2w")
    assert caught.value.code == "ambiguous"
    assert "scan 5 (2 files); scan 6 (2 files)" in caught.value.message


@modern
def test_a_shorter_address_is_all_scans_of_any_quality_in_order(place: Place):
    who = place.made.identity
    for subject, experiment, scan in (
        ("S1", "E1", "10"), ("S1", "E2", "1"), ("S2", "E3", "1"),
    ):  # fmt: skip
        series = who.series(
            20, series_instance_uid=data.uid(
            place.project, subject, experiment, scan
        ))  # fmt: skip
        made = data.ct(place.folder / f"{subject}{experiment}{scan}", series, slices=1)
        place.add(scan, made, subject, experiment, quality="unusable")
    place.server.add_subject(place.project, "empty")

    def scans(*parts: str) -> list[tuple[str, str, str]]:
        found = [r.address for r in place.find(*parts)]
        return [(a.subject, a.experiment.removeprefix(place.project + "_"), a.scan) for a in found]  # type: ignore[union-attr]

    first = [("S1", "E1", "4"), ("S1", "E1", "10")]
    assert scans("S1", "E1") == first
    assert scans("S1") == [*first, ("S1", "E2", "1")]
    assert scans() == [*first, ("S1", "E2", "1"), ("S2", "E3", "1")]
    assert scans("empty") == []


def test_subject_and_experiment_are_found_by_id_too(place: Place):
    subject = place.server.subject(place.project, "S1")
    experiment = place.server.experiment(place.project, f"{place.project}_E1")
    assert subject is not None
    assert experiment is not None
    [found] = place.transport().find(place.at(subject.id, experiment.id, "4"))
    place.fetch(found)
    assert place.is_complete()


@pytest.mark.parametrize(
    ("parts", "level"),
    [
        (("NONE",), "subject"), (("NONE", "E1"), "subject"), (("S1", "NONE"), "experiment"),
        (("S1", "E1", "NONE"), "scan"), (("S1", "E1", "4", "NONE"), "resource"),
    ],
)  # fmt: skip
def test_the_level_that_is_missing_is_told(place: Place, parts: tuple[str, ...], level: str):
    with pytest.raises(SeriesportError) as caught:
        place.find(*parts)
    assert caught.value.code == "not-found"
    assert f"the {level} " in caught.value.message
    assert "NONE" not in caught.value.message


@pytest.mark.parametrize("parts", [(), ("S1",), ("S1", "E1"), ("S1", "E1", "4")])
def test_a_project_that_this_user_may_not_see_is_told(
    place: Place, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    place.server.add_user("stranger", "secret")
    monkeypatch.setenv("SERIESPORT_USER_XNAT", "stranger")
    monkeypatch.setenv("SERIESPORT_PASSWORD_XNAT", "secret")
    with pytest.raises(SeriesportError) as caught:
        place.find(*parts)
    assert caught.value.code == "not-found"
    assert "the project of the address is not there, or this user may not see it" in str(
        caught.value
    )


def test_an_experiment_of_another_subject_is_told(place: Place):
    place.server.add_subject(place.project, "S2")
    with pytest.raises(SeriesportError) as caught:
        place.find("S2", "E1")
    assert caught.value.code == "experiment-elsewhere"


def test_a_forbidden_level_is_told(place: Place):
    place.strike("status", f"/data/projects/{place.project}*", status=403, times=None)
    with pytest.raises(SeriesportError) as caught:
        place.find("S1")
    assert caught.value.code == "access-denied"
    assert "may not see the project" in caught.value.message


def test_scans_without_dicom_are_passed_over_and_counted(
    place: Place, caplog: pytest.LogCaptureFixture
):
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "9", {"a.nii": b"x"}, "NIFTI")
    with caplog.at_level("INFO", "seriesport"):
        assert len(place.find("S1", "E1")) == 1
    assert "passed over 1 of 2 scans" in caplog.text
    with pytest.raises(SeriesportError) as caught:
        place.find("S1", "E1", "9")
    assert caught.value.code == "not-found"


@modern
def test_a_scan_without_a_single_image_does_not_hide_the_others(
    place: Place, caplog: pytest.LogCaptureFixture
):
    experiment = f"{place.project}_E1"
    place.server.add_scan(place.project, "S1", experiment, "9", {"a.dat": b"x", "b.dcm": b""})
    assert len(place.find("S1", "E1")) == 1
    assert "passed over 1 of 2 scans" in caplog.text
    with pytest.raises(SeriesportError, match="is DICOM") as caught:
        place.find("S1", "E1", "9")
    assert caught.value.code == "instance-invalid"


@modern
def test_a_scan_is_known_though_notes_come_first_and_a_file_is_lost(place: Place):
    notes = {f"{n:04}.txt": b"hello" for n in range(12)}
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "4", notes)
    place.server.lose(place.project, f"{place.project}_E1", "4", "1 #ü%.dcm")
    assert place.series().series_instance_uid == place.made.identity.series_instance_uid
    assert failing(place, place.series()).code == "incomplete"


@modern
@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_scan_whose_images_are_lost_or_damaged_is_named(place: Place, how: str):
    experiment = f"{place.project}_E1"
    image = place.made.paths[0].read_bytes()
    place.server.add_scan(place.project, "S1", experiment, "9", {"a.dcm": image[:200]})
    if how == "lost":
        place.server.lose(place.project, experiment, "9", "a.dcm")
    with pytest.raises(SeriesportError, match="scan 9: ") as caught:
        place.find("S1", "E1")
    assert caught.value.code == ("incomplete" if how == "lost" else "instance-truncated")


def test_secondary_captures_are_found_where_xnat_puts_them(place: Place):
    made = data.ct(place.folder / "sc", place.made.identity.series(9), slices=2)
    place.add("9", made, resource="secondary")
    [found] = place.find("S1", "E1", "9")
    assert (found.address.resource, found.instances) == ("secondary", 2)  # type: ignore[union-attr]


def test_a_series_is_known_by_its_headers_and_not_by_the_scans_fields(place: Place):
    place.add("99", place.made, "S1", "E9", series_description="wrong", type="wrong")
    found = place.find("S1", "E9", "99")[0]
    assert found.series_description == place.made.identity.series_description
    assert found.series_number == "7"


def test_a_header_longer_than_the_first_read_is_read_to_its_end(place: Place):
    dataset = data.pydicom.dcmread(place.made.paths[0])
    dataset.add_new((0x0009, 0x0010), "LO", "TEST")
    dataset.add_new((0x0009, 0x1001), "OB", bytes(300_000))
    path = place.folder / "long.dcm"
    dataset.save_as(path)
    place.server.add_scan(
        place.project, "S1", f"{place.project}_E1", "8", {"0.txt": b"notes", "1.dcm": path}
    )
    [found] = place.find("S1", "E1", "8")
    assert found.series_instance_uid == place.made.identity.series_instance_uid


@modern
def test_an_experiment_is_planned_with_one_listing_and_headers_at_the_same_time(place: Place):
    for number in range(10, 16):
        made = data.ct(place.folder / f"{number}", place.made.identity.series(number), slices=3)
        place.add(str(number), made)
    place.server.requests.clear()
    assert len(place.find("S1", "E1")) == 7
    assert place.server.count("GET", "/scans/ALL/files") == 1
    assert place.server.count("GET", "/resources/") == 7
    assert place.server.count("GET") == 10


# Fetching


def test_a_scan_arrives_whole_and_a_second_run_asks_for_nothing(place: Place):
    manifest = place.fetch()
    assert place.is_complete()
    assert (manifest.expected, manifest.received) == (5, 5)
    place.server.requests.clear()
    assert place.transport().uids(place.series()) == set(place.made.uids)


def test_other_files_of_a_dicom_resource_are_passed_over(place: Place):
    extra = {"notes.txt": b"hello", "catalog.xml": b"<?xml version='1.0'?><x/>", "empty": b""}
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "4", extra)
    place.fetch()
    assert place.is_complete()


def test_a_named_resource_of_plain_files_is_fetched_as_it_is(place: Place):
    files = {"a.nii.gz": b"\x1f\x8b" + bytes(1000), "sub/b #1.json": b"{}", "page.html": b"<html>"}
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "4", files, "NIFTI")
    [found] = place.find("S1", "E1", "4", "NIFTI")
    assert found.plain
    transport = place.transport()
    expected = transport.expect(found)
    got = list(transport.fetch(found, expected, (), place.folder))
    assert all(isinstance(item, PlainFile) for item in got)
    assert {item.listed: item.payload.open().read() for item in got} == files
    assert {name: one.size for name, one in expected.items()} == {
        n: len(b) for n, b in files.items()
    }


def test_no_more_requests_at_one_time_than_the_server_allows(place: Place):
    place.limits["connections"] = 2
    place.strike("stall", seconds=0.2, times=5)
    before = place.server.busiest
    place.fetch()
    assert place.is_complete()
    assert place.server.busiest <= max(2, before)


def test_digests_are_asked_for_where_that_is_allowed(tmp_path: Path):
    made = data.ct(tmp_path / "made", data.identity("digests"), slices=2)
    with Xnat(tmp_path / "server", digests="on-refresh") as server:
        place = Place(server, tmp_path, "P", made)
        place.add("4", made)
        series = place.series()
        assert all(not one.md5 for one in place.transport().expect(series).values())
        assert server.count("POST", "refresh") == 0
        place.limits["refresh_catalogs"] = True
        listed = place.transport().expect(series).values()
        assert {one.md5 for one in listed} == {
            hashlib.md5(path.read_bytes()).hexdigest() for path in made.paths
        }
        for transport in place.opened:
            transport.close()


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 403}, {"kind": "stall"}])
def test_a_server_that_will_not_compute_digests_gives_its_files_all_the_same(
    tmp_path: Path, fault: dict[str, Any]
):
    made = data.ct(tmp_path / "made", data.identity("no digests"), slices=2)
    with Xnat(tmp_path / "server", digests="on-refresh") as server:
        place = Place(server, tmp_path, "P", made, {"refresh_catalogs": True, "timeout": 0.3})
        place.add("4", made)
        server.faults.add(Fault(path="*refresh*", method="POST", seconds=0.6, times=None, **fault))
        assert place.fetch().compared == "sizes"
        for transport in place.opened:
            transport.close()


def test_the_manifest_says_how_far_the_files_were_compared(place: Place):
    place.fetch()
    expected = [one.md5 for one in place.transport().expect(place.series()).values()]
    assert read_manifest(place.bundle).compared == ("digests" if all(expected) else "sizes")


# Faults: nothing partial under the final name, a true reason, and a rerun that completes


@pytest.mark.parametrize(
    ("kind", "how", "code"),
    [
        ("status", {"status": 403}, "access-denied"),
        ("status", {"status": 404}, "incomplete"),
        ("status", {"status": 429}, "server-busy"),
        ("status", {"status": 500}, "server-failure"),
        ("status", {"status": 502}, "server-failure"),
        ("status", {"status": 503}, "server-busy"),
        ("close", {}, "connection-lost"),
        ("cut", {"after": 3000}, "connection-lost"),
        ("reset", {"after": 3000}, "connection-lost"),
        ("stall", {"seconds": 2.5}, "timeout"),
        ("redirect", {"location": "http://127.0.0.2:9/files"}, "redirect-refused"),
        ("login-html", {"times": None}, "answer-invalid"),
        ("status", {"status": 401, "times": None}, "credentials-refused"),
    ],
)
def test_a_fault_in_a_file_leaves_nothing_and_the_rerun_completes(
    place: Place, kind: str, how: dict[str, Any], code: str
):
    series = place.series()
    fault = place.strike(kind, **how)
    error = failing(place, series)
    assert fault.fired
    assert error.code == code
    place.server.faults.clear()
    place.fetch(series)
    assert place.is_complete()


@pytest.mark.parametrize(
    ("kind", "path", "how"),
    [
        ("flip", FILES, {"after": 3000}),
        ("digest-wrong", LISTING, {"name": "3*", "times": None}),
    ],
)
@modern  # an older one tells no digests
def test_a_file_unlike_its_digest_leaves_nothing_and_the_rerun_completes(
    place: Place, kind: str, path: str, how: dict[str, Any]
):
    series = place.series()
    fault = place.strike(kind, path, **how)
    assert failing(place, series).code == "file-mismatch"
    assert fault.fired
    place.server.faults.clear()
    place.fetch(series)
    assert place.is_complete()


def test_an_image_whose_mark_is_damaged_is_not_passed_over_as_another_file(place: Place):
    series = place.series()
    place.strike("flip", after=130)
    failing(place, series)
    place.server.faults.clear()
    place.fetch(series)
    assert place.is_complete()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("login-html", {}), ("expire", {}), ("status", {"status": 401}),
        ("status", {"status": 503, "retry_after": "1"}),
        ("status", {"status": 429, "retry_after": "0"}),
    ],
)  # fmt: skip
@modern
def test_an_ended_session_or_a_wait_does_not_stop_a_fetch(
    place: Place, kind: str, how: dict[str, Any]
):
    series = place.series()
    for path in (FILES, LISTING):
        assert place.strike(kind, path, skip=1, **how)
    place.fetch(series)
    assert place.is_complete()


@pytest.mark.parametrize(
    ("kind", "how", "code"),
    [
        ("status", {"status": 500}, "server-failure"),
        ("close", {}, "connection-lost"),
        ("cut", {"after": 100}, "connection-lost"),
        ("login-html", {"times": None}, "answer-invalid"),
        ("stall", {"seconds": 2.5}, "timeout"),
        ("size-wrong", {"name": "3*"}, "file-mismatch"),
    ],
)
def test_a_fault_in_the_listing_leaves_nothing_and_the_rerun_completes(
    place: Place, kind: str, how: dict[str, Any], code: str
):
    series = place.series()
    place.strike(kind, LISTING, **{"times": None, **how})
    error = failing(place, series)
    assert error.code == code
    place.server.faults.clear()
    place.fetch(series)
    assert place.is_complete()


@pytest.mark.parametrize("kind", ["digest-empty", "digest-missing"])
def test_without_digests_sizes_are_compared_and_told(place: Place, kind: str):
    place.strike(kind, LISTING, times=None)
    assert place.fetch().compared == "sizes"
    assert place.is_complete()


def test_what_breaks_off_is_resumed_and_not_fetched_again(place: Place):
    series = place.series()
    place.age(60)
    place.strike("cut", after=3000, times=None)
    place.limits["connections"] = 1
    failing(place, series)
    place.server.faults.clear()
    place.server.requests.clear()
    place.fetch(series)
    assert place.is_complete()
    ranges = [x.headers.get("range", "") for x in place.server.requests if "/resources/" in x.path]
    assert "bytes=3000-" in ranges


@pytest.mark.parametrize("age", [60, 0], ids=["long ago", "in the same second"])
def test_a_part_of_a_file_that_was_replaced_is_not_joined_to_the_new_one(place: Place, age: int):
    series = place.series()
    place.limits["connections"] = 1
    moment = place.age(age)
    place.strike("cut", after=3000, times=1)
    failing(place, series)
    place.server.faults.clear()
    other = {
        f"{n} #ü%.dcm": path.read_bytes()[:2000] + bytes([n]) * (path.stat().st_size - 2000)
        for n, path in enumerate(place.made.paths, 1)
    }
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "4", other)
    if not age:
        place.age(0, moment)
    place.fetch(series, attempts=2)
    for instance in read_bundle(place.bundle):
        with instance.payload.open() as stream:
            content = stream.read()
        assert any(whole.endswith(content) for whole in other.values())


def test_a_digest_of_a_files_first_content_does_not_keep_the_new_one_away(
    place: Place, caplog: pytest.LogCaptureFixture
):
    place.strike("digest-wrong", LISTING, name="3*", times=None)
    digests = any(one.md5 for one in place.transport().expect(place.series()).values())
    assert place.fetch(attempts=2).compared == "sizes"
    assert place.is_complete()
    assert ("out of date at the server: the digests of 1 file" in caplog.text) is digests


def test_images_of_no_bytes_are_named(place: Place):
    lost = {"2 #ü%.dcm": b""}
    place.server.add_scan(place.project, "S1", f"{place.project}_E1", "4", lost)
    error = failing(place, place.series())
    assert error.code == "instance-truncated"
    assert "1 file has no bytes at the server (in its listing: 2)" in error.message


def test_a_header_is_read_without_waiting_behind_the_files_end(place: Place):
    place.strike("size-wrong", LISTING, times=None, count=50_000)
    assert place.series().series_instance_uid == place.made.identity.series_instance_uid


def test_a_header_is_read_of_a_file_whose_size_is_not_listed(place: Place):
    session = Session(place.settings.server(place.at(), XnatServer))
    path = f"/data/projects/{place.project}/subjects/S1/experiments/{place.project}_E1/scans/4"
    with closing(session):
        found = remote_header(
            session, file_path(f"{path}/resources/DICOM", "1 #ü%.dcm"), None, session.deadline()
        )
    assert found is not None
    assert found.header.sop_instance_uid in place.made.uids


def test_what_came_before_the_source_changed_is_not_kept_beside_what_came_after(place: Place):
    series = place.series()
    place.limits["connections"] = 1
    newer = data.ct(place.folder / "newer", place.made.identity, slices=5, size=40)
    assert newer.uids == place.made.uids

    def change(_: int) -> None:
        place.add("4", newer, type="T1w")

    fetch_series(
        Served(place.transport(), Patience(2, 0), Flow(), seen=change),
        series,
        place.bundle,
        place.folder / "staging",
    )
    got: dict[str, bytes] = {}
    for instance in read_bundle(place.bundle):
        with instance.payload.open() as stream:
            got[instance.uid] = stream.read()
    assert got == newer.datasets


@modern
def test_a_dripping_server_is_given_up_at_the_wall_clock(place: Place):
    series = place.series()
    place.limits["wall_clock"] = 1.0
    place.strike("trickle", rate=100, times=None)
    start = time.monotonic()
    assert failing(place, series).code == "timeout"
    assert time.monotonic() - start < 6
    place.server.faults.clear()
    place.limits.clear()
    place.fetch(series)
    assert place.is_complete()


def test_a_retry_within_one_run_completes(place: Place):
    series = place.series()
    place.strike("reset", after=2000, times=2)
    place.fetch(series, attempts=3)
    assert place.is_complete()


def test_a_file_that_the_server_has_lost_is_told(place: Place):
    series = place.series()
    place.server.lose(place.project, f"{place.project}_E1", "4", "3 #ü%.dcm")
    error = failing(place, series)
    assert error.code in ("incomplete", "server-failure")


def test_a_page_that_is_listed_with_another_size_is_not_taken_for_a_file(place: Place):
    series = place.series()
    transport = place.transport()
    expected = transport.expect(series)
    place.strike("login-html", times=None)
    with pytest.raises(SeriesportError):
        list(transport.fetch(series, expected, (), place.folder))


def test_an_address_with_a_host_needs_no_config(monkeypatch: pytest.MonkeyPatch):
    address = parse("xnat://xnat.example:8443/P/S/E/4")
    assert address == XnatAddress("xnat.example", 8443, "P", "S", "E", "4")
    server = Settings().server(address, XnatServer)
    assert server.url == "https://xnat.example:8443"
    monkeypatch.setenv("SERIESPORT_USER_XNAT_EXAMPLE_8443", "me")
    monkeypatch.setenv("SERIESPORT_PASSWORD_XNAT_EXAMPLE_8443", "secret")
    assert find_credentials(server).user == "me"


# As a cohort's source


def test_a_cohort_of_scans_is_planned_and_fetched_and_not_fetched_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(place.folder)
    for number, quality in ((11, "usable"), (12, "unusable")):
        made = data.ct(place.folder / f"{number}", place.made.identity.series(number), slices=2)
        place.add(str(number), made, type="T2w", quality=quality)
    place.server.add_scan(
        place.project, "S1", f"{place.project}_E1", "11", {"notes.txt": b"no image"}
    )
    root = f"xnat://xnat/{place.project}"
    cohort = place.folder / "cohort.yaml"
    cohort.write_text(
        "cohort:\n"
        f"- {{source: {root}, scan_type: 'T2*', quality: [usable], destinations: []}}\n"
        f"- {{source: {root}/S1, series_number: '7', destinations: []}}\n"
        f"- {{source: {root}/NONE, destinations: []}}\n"
    )
    cohort.chmod(0o600)
    results = Results(place.folder / "results")
    plan = plan_cohort(results, cohort, place.settings)
    assert [p.code for p in plan.problems] == ["not-found"]
    assert [row.shard for row in plan.series] == ["xnat-0001", "xnat-0002"]
    for shard in plan.shards():
        [line] = fetch_shard(results, shard, place.settings)
        assert line.status is Status.COMPLETE
    place.server.requests.clear()
    for shard in plan.shards():
        fetch_shard(results, shard, place.settings)
    assert not place.server.requests
