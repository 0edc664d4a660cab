"""Storing at an XNAT: nothing is reported as arrived that is not, and nobody's data is touched."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import data
from peers.xnat import Fault, Xnat
from seriesport.address import XnatAddress
from seriesport.errors import SeriesportError
from seriesport.instance import FileSlice, Instance, PlainFile
from seriesport.part10 import load_instance
from seriesport.settings import Settings, XnatServer
from seriesport.transports.protocol import Proof, SeriesReference
from seriesport.transports.registry import open_transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from peers.xnat import Logged
    from seriesport.transports.protocol import Receipt

EXPERIMENT = XnatAddress("here", None, "P", "S1", "E1")
VARIANTS = [("1.6.4", "absent"), ("1.8", "on")]


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
    ) -> Receipt:
        with open_transport(address, self.settings) as transport:
            return transport.store_files(files, address, resource, series)

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
    for user, role in (("member", "member"), ("viewer", "collaborator"), ("stranger", "")):
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
    files = site.stored(scan)
    return {name: content[-len(made.datasets[name.removesuffix(".dcm")]) :] for name, content in
            files.items()} == {f"{uid}.dcm": content for uid, content in made.datasets.items()}  # fmt: skip


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
