"""Ways of real archives, made by a peer: what they list, how they send, what they refuse."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

import data
from faulty import Fault, FaultyArchive
from seriesport.cli.cp import cp
from seriesport.cli.verify import verify
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import load_instance
from seriesport.dimse.contexts import storage_classes
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof
from seriesport.store.bundle import read_bundle, read_manifest
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.archive.transport import DicomTransport
from seriesport.transports.fetch import fetch_series
from seriesport.transports.registry import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from seriesport.model.series import Receipt
    from seriesport.store.bundle import Manifest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextmanager
def archive_of(paths: Sequence[Path], **ways: dict[str, object]) -> Iterator[FaultyArchive]:
    """An archive with some files and ways of its own, by the names of faults."""
    archive = FaultyArchive(paths)
    archive.start()
    for way, options in ways.items():
        archive.fail(Fault[way], inf, **options)
    try:
        yield archive
    finally:
        archive.stop()


@contextmanager
def connected(archive: FaultyArchive) -> Iterator[DicomTransport]:
    server = DicomServer("here", archive.host, archive.port, timeout=20.0, wall_clock=120.0)
    place = DicomAddress("here", None, archive.aet)
    with DicomTransport(place, Settings(servers={"here": server})) as transport:
        yield transport


def fetched(archive: FaultyArchive, folder: Path) -> Manifest:
    """Fetch the only series of an archive into `folder/series.zip`."""
    with connected(archive) as transport:
        (series,) = transport.find(DicomAddress("here", None, archive.aet))
        bundle, staging = folder / "series.zip", folder / "staging"
        fetch_series(transport, series, bundle, staging)
    return read_manifest(bundle)


def contents(bundle: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for one in read_bundle(bundle):
        with one.payload.open() as stream:
            found[one.uid] = stream.read()
    return found


# Listings


def family(folder: Path) -> list[data.Made]:
    """Two studies of a patient, one of two series."""
    who = data.identity("ways")
    return [
        data.ct(folder / "1", who, slices=2),
        data.ct(folder / "2", who.series(2), slices=3),
        data.ct(folder / "3", who.study("other"), slices=1),
    ]


def test_optional_keys_that_shrink_a_listing_lose_nothing(tmp_path: Path) -> None:
    made = family(tmp_path)
    with archive_of([p for one in made for p in one.paths], COLLAPSED={}) as archive:
        patient = f"{archive.url}/{made[0].identity.patient_id}"
        cp(patient, str(tmp_path / "out"), Settings(), as_json=True)
        with connected(archive) as transport:
            place = DicomAddress("here", None, archive.aet, made[0].identity.patient_id)
            found = transport.find(place)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 6
    assert sorted(one.instances or 0 for one in found) == [1, 2, 3]
    assert {one.series_description for one in found} == {"Made for a test"}


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_answers_that_name_one_thing_again_and_again_are_not_taken_for_a_list(
    tmp_path: Path, level: str
) -> None:
    made = family(tmp_path)
    paths = [p for one in made for p in one.paths]
    with archive_of(paths, DOUBLED={"level": level}) as archive:
        patient = f"{archive.url}/{made[0].identity.patient_id}"
        with pytest.raises(SeriesportError, match="listing-doubtful") as caught:
            cp(patient, str(tmp_path / "out"), Settings(), as_json=True)
    assert "which name only 1" in caught.value.message
    assert made[0].identity.patient_id not in caught.value.message


def test_an_archive_that_answers_once_for_each_instance_is_understood(tmp_path: Path) -> None:
    made = family(tmp_path)
    with archive_of([p for one in made for p in one.paths], ROW_PER_INSTANCE={}) as archive:
        patient = f"{archive.url}/{made[0].identity.patient_id}"
        cp(patient, str(tmp_path / "out"), Settings(), as_json=True)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 6


def test_a_study_that_counts_more_series_than_it_lists_is_named(tmp_path: Path) -> None:
    made = family(tmp_path)[1]
    with archive_of(made.paths, COUNTS_MORE={}) as archive:
        study = f"{archive.url}/{made.identity.patient_id}/{made.identity.study_instance_uid}"
        with pytest.raises(SeriesportError, match="counts 9 series in a study and lists 1"):
            cp(study, str(tmp_path / "out"), Settings(), as_json=True)
        series = f"{study}/{made.identity.series_instance_uid}"  # the way out
        cp(series, str(tmp_path / "out"), Settings(), as_json=True)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3


@pytest.mark.parametrize("patient", ["Müller-07", "Łukasz 3", "Иванов"])
def test_a_patient_is_found_in_the_character_set_that_the_archive_knows(
    tmp_path: Path, patient: str
) -> None:
    made = data.ct(tmp_path / "in", data.identity("umlaut", patient_id=patient), slices=1)
    with archive_of(made.paths, KNOWS_BYTES={}) as archive:
        address = DicomAddress(archive.host, archive.port, archive.aet, patient).url
        cp(address, str(tmp_path / "out"), Settings(), as_json=True)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1


# Transfer syntaxes


def test_compressed_pixels_under_an_uncompressed_syntax_are_asked_for_in_their_own(
    tmp_path: Path,
) -> None:
    who = data.identity("conquest")
    native = data.ct(tmp_path / "native", who, slices=4)
    compressed = data.ct(tmp_path / "compressed", who, slices=2, syntax="jpeg2000")
    with archive_of([*compressed.paths, *native.paths[2:]], MISLABELLED={}) as archive:
        fetched(archive, tmp_path)
        address = f"{archive.url}/{who.patient_id}/{who.study_instance_uid}"
        verify(address, None, Settings(), as_json=True)
    got = {one.uid: one.transfer_syntax_uid for one in read_bundle(tmp_path / "series.zip")}
    assert {uid: got[uid] for uid in compressed.uids} == dict.fromkeys(
        compressed.uids, JPEG2000Lossless
    )
    for uid, content in compressed.datasets.items():
        assert contents(tmp_path / "series.zip")[uid] == content
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("kind", ["compressed as native", "native as compressed"])
def test_pixels_under_a_wrong_syntax_are_never_taken_for_whole(tmp_path: Path, kind: str) -> None:
    who = data.identity("mislabelled")
    syntax = "jpeg2000" if kind == "compressed as native" else "explicit"
    made = data.ct(tmp_path / "in", who, slices=2, syntax=syntax)
    wrong = "1.2.840.10008.1.2.1" if syntax == "jpeg2000" else "1.2.840.10008.1.2.4.90"
    content = made.paths[1].read_bytes()
    own = made.transfer_syntax_uid.encode().ljust(22, b"\0")
    at = content.index(b"\x02\0\x10\0UI")
    length = int.from_bytes(content[at + 6 : at + 8], "little")
    assert content[at + 8 : at + 8 + length].strip(b"\0") == own.strip(b"\0")
    value = wrong.encode() + b"\0" * (len(wrong) % 2)
    head = content[at : at + 6] + len(value).to_bytes(2, "little") + value
    group = int.from_bytes(content[140:144], "little") + len(value) - length
    changed = content[:140] + group.to_bytes(4, "little") + content[144:at] + head
    made.paths[1].write_bytes(changed + content[at + 8 + length :])
    with archive_of(made.paths) as archive:
        address = f"{archive.url}/{who.patient_id}/{who.study_instance_uid}"
        for source in (address, str(tmp_path / "in")):
            with pytest.raises(SeriesportError, match="pixels-mislabelled"):
                cp(source, str(tmp_path / "out"), Settings(), as_json=True)
            with pytest.raises(SeriesportError, match="pixels-mislabelled"):
                verify(source, None, Settings(), as_json=True)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_series_of_many_classes_comes_without_rounds_of_refused_contexts(
    tmp_path: Path,
) -> None:
    who = data.identity("classes")
    made = data.ct(tmp_path / "in", who, slices=30)
    classes = storage_classes()[1:31]  # but DICOMDIR
    for path, sop_class in zip(made.paths, classes, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.save_as(path)
    with archive_of(made.paths) as archive:
        assert fetched(archive, tmp_path).received == 30
        assert archive.associations <= 8
        assert len(archive.requests("C-GET")) <= 8
        archive.forget()
        archive.fail(Fault.ODD_REFUSED, inf, uid=classes[3])
        (tmp_path / "again").mkdir()
        with pytest.raises(SeriesportError, match="1 of 30 instances missing"):
            fetched(archive, tmp_path / "again")
        assert archive.associations <= 12


# Stores


def test_what_is_refused_since_it_is_there_is_proven_by_reading_it_back(tmp_path: Path) -> None:
    made = data.ct(tmp_path / "in", data.identity("stored"), slices=3)
    instances = [load_instance(path) for path in made.paths]

    def store() -> Receipt:
        with connected(archive) as transport:
            return transport.store(instances, DicomAddress("here", None, archive.aet))

    ways = {"STORES_ONCE": {}, "DOUBLED": {}}
    with archive_of(made.paths[:2], **ways) as archive:
        receipt = store()
        assert receipt.complete
        assert [entry.sent for entry in receipt.entries] == [False, False, True]
        archive.heal()
        archive.fail(Fault.STORES_ONCE, inf)
        archive.fail(Fault.ARRIVING, 1, count=3)  # not listed before, listed afterwards
        again = store()
        assert again.complete
        assert [entry.proof for entry in again.entries] == [Proof.DIGEST] * 3
        dataset = pydicom.dcmread(made.paths[0])
        dataset.PatientComments = "another"
        dataset.save_as(tmp_path / "other.dcm")
        instances[0] = load_instance(tmp_path / "other.dcm")
        archive.fail(Fault.ARRIVING, 1, count=3)
        other = store()
    assert [entry.code for entry in other.entries] == ["destination-conflict", "", ""]


# Identifiers


def test_identifiers_that_break_harmless_rules_are_fetched_with_a_remark(tmp_path: Path) -> None:
    long = data.ROOT + ".1234567890" * 5
    who = data.identity(
        "long",
        patient_id="P" * 70,
        study_instance_uid=long + ".01",
        series_instance_uid=long + ".A_2",
    )
    made = data.ct(tmp_path / "in", who, slices=2)
    with archive_of(made.paths) as archive:
        address = f"{archive.url}/{who.patient_id}/{who.study_instance_uid}"
        series = f"{address}/{who.series_instance_uid}"
        assert isinstance(parse(series), DicomAddress)
        cp(series, str(tmp_path / "out"), Settings(), as_json=True)
        manifest = fetched(archive, tmp_path)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2
    verify(str(tmp_path / "out"), None, Settings(), as_json=True)
    assert manifest.remarks == (
        "2 of 2 instances have a UID of more than 64 characters",
        "2 of 2 instances have a UID of other than digits and dots, or with zeros in front",
        "2 of 2 instances have a PatientID of more than 64 characters",
    )
