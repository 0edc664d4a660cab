"""What an archive can do wrong, and what then stands on disk: a whole series, or none."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

import data
from faulty import Fault, FaultyArchive
from seriesport.config.settings import Settings
from seriesport.dicom.part10 import check_whole, load_instance
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof, Receipt, SeriesReference
from seriesport.store.bundle import read_bundle, read_manifest, verify_bundle
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.archive.transport import DicomTransport
from seriesport.transports.fetch import fetch_series
from seriesport.transports.served import Flow, Patience, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLICES = 6


class Job:
    """The fetch of one series, run as often as it takes, with its final and its staging folder."""

    def __init__(self, archive: FaultyArchive, made: data.Made, folder: Path) -> None:
        self.archive = archive
        self.made = made
        self.final = folder / "final"
        self.bundle = self.final / "series.zip"
        self.staging = folder / "staging"
        who = made.identity
        self.series = SeriesReference(
            DicomAddress(
                "faulty", None, archive.aet, who.patient_id, who.study_instance_uid,
                who.series_instance_uid,
            ),
            who.patient_id,
            who.study_instance_uid,
            who.series_instance_uid,
            modality="CT",
        )  # fmt: skip

    def transport(self, **options: Any) -> DicomTransport:
        limits: dict[str, Any] = {"timeout": 5.0, "connect_timeout": 5.0, "wall_clock": 30.0}
        server = DicomServer("faulty", self.archive.host, self.archive.port, **(limits | options))
        assert isinstance(self.series.address, DicomAddress)
        return DicomTransport(self.series.address, Settings(servers={"faulty": server}))

    def run(self, attempts: int = 1, **options: Any) -> None:
        """Fetch; at the end the bundle holds exactly the series, bit by bit."""
        with self.transport(**options) as transport:
            fetch_series(
                Served(transport, Patience(attempts, backoff=0.01), Flow()),
                self.series,
                self.bundle,
                self.staging,
            )
        verify_bundle(self.bundle, read_manifest(self.bundle))
        got = {one.uid: _content(one) for one in read_bundle(self.bundle)}
        assert got == self.made.datasets

    def fails(self, attempts: int = 1, **options: Any) -> SeriesportError:
        """Fetch and fail; nothing is there under a final name, and what is kept is whole."""
        with pytest.raises(SeriesportError) as caught:
            self.run(attempts, **options)
        self.check_nothing_final()
        message = caught.value.message
        assert "\n" not in message
        for secret in (data.ROOT, self.made.identity.patient_id, self.made.identity.patient_name):
            assert secret not in message
        return caught.value

    def check_nothing_final(self) -> None:
        assert not self.final.exists() or list(self.final.iterdir()) == []
        for uid, content in self.kept().items():
            assert content == self.made.datasets[uid]

    def kept(self) -> dict[str, bytes]:
        """The verified data sets in the staging folder, by UID."""
        kept: dict[str, bytes] = {}
        for path in self.staging.glob("*.dcm"):
            one = load_instance(path)
            content = _content(one)
            check_whole(content, len(content), one.transfer_syntax_uid)
            kept[one.uid] = content
        return kept

    def quarantined(self) -> list[str]:
        """Names of what was put aside."""
        return sorted(path.name for path in (self.staging / "quarantine").glob("*"))


def _content(one: Any) -> bytes:
    with one.payload.open() as stream:
        return stream.read()


@pytest.fixture
def made(tmp_path: Path) -> data.Made:
    return data.ct(tmp_path / "made", data.identity("faults"), slices=SLICES)


@pytest.fixture
def start(made: data.Made, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Starts an archive that holds the series, and gives the job of fetching it."""
    archives: list[FaultyArchive] = []

    def begin(*intruders: Path) -> Job:
        archive = FaultyArchive(made.paths, intruders)
        archive.start()
        archives.append(archive)
        return Job(archive, made, tmp_path)

    yield begin
    for archive in archives:
        archive.stop()


@pytest.fixture
def job(start: Callable[..., Job]) -> Job:
    return start()


@dataclass(frozen=True)
class Case:
    """A fault that does not go away, the code that it ends with, and how many slices are kept."""

    fault: Fault
    code: str
    kept: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "-".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.fault.name.lower()}{'-' if options else ''}{options}"


CASES = [
    Case(Fault.FEWER, "incomplete", SLICES - 2, {"count": 2}),
    Case(Fault.NONE, "incomplete"),
    Case(Fault.OTHER_BYTES, "instance-conflict", SLICES - 1),
    Case(Fault.FAILED, "dimse-refused", SLICES - 2, {"count": 2, "list": True}),
    Case(Fault.FAILED, "dimse-refused", SLICES - 2, {"count": 2, "list": False}),
    Case(Fault.FAILED, "dimse-refused", 0, {"count": SLICES, "list": True}),
    Case(Fault.GET_STATUS, "dimse-refused", 0, {"status": 0xA701}),
    Case(Fault.GET_STATUS, "dimse-refused", 0, {"status": 0xA702}),
    Case(Fault.GET_STATUS, "dimse-failure", 0, {"status": 0xC000}),
    Case(Fault.GET_STATUS, "dimse-failure", 0, {"status": 0xA900}),
    Case(Fault.ABORT, "association-aborted", 2, {"after": 2}),
    Case(Fault.RELEASE, "association-aborted", 2, {"after": 2}),
    Case(Fault.CUT, "association-aborted", 2, {"at": 3}),
    Case(Fault.DRIP, "timeout", 2, {"at": 3}, {"wall_clock": 1.0}),
    Case(Fault.SILENT, "timeout", 2, {"at": 3}, {"timeout": 0.5}),
    Case(Fault.ENDLESS, "protocol-error", 2, {"at": 3}),
    Case(Fault.STRANGE_CONTEXT, "protocol-error", 2, {"at": 3}),
    Case(Fault.TRUNCATED, "instance-truncated", SLICES - 1, {"at": 1, "bytes": 1}),
    Case(Fault.TRUNCATED, "instance-truncated", SLICES - 1, {"at": 1, "bytes": 100}),
    Case(Fault.TRUNCATED, "instance-truncated", SLICES - 1, {"at": 1, "bytes": 8192}),
    Case(Fault.STORAGE_REFUSED, "context-refused"),
    Case(Fault.GET_REFUSED, "context-refused"),
    Case(Fault.REFUSED, "association-rejected"),
    Case(Fault.BUSY, "association-busy"),
    Case(Fault.DEAF, "timeout", 0, {}, {"timeout": 0.5}),
    Case(Fault.ABORTED_NEGOTIATION, "association-denied"),
    Case(Fault.FIND_STATUS, "dimse-failure", 0, {"status": 0xC000}),
    Case(Fault.FIND_STATUS, "dimse-refused", 0, {"status": 0xA700}),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_ends_in_its_reason_and_a_rerun_asks_only_for_the_missing(
    job: Job, case: Case
) -> None:
    job.archive.fail(case.fault, inf, **case.options)
    started = time.monotonic()
    error = job.fails(**case.server)
    assert time.monotonic() - started < 10
    assert error.code == case.code
    kept = set(job.kept())
    assert len(kept) == case.kept

    job.archive.heal()
    job.archive.forget()
    job.run()
    assert sorted(job.archive.sent) == sorted(set(job.made.uids) - kept)
    assert not job.staging.exists() or job.quarantined()


TRANSIENT = [
    case
    for case in CASES
    if case.code
    not in ("dimse-failure", "context-refused", "association-rejected", "protocol-error")
    and case.code != "instance-conflict"
]


@pytest.mark.parametrize("case", TRANSIENT, ids=str)
def test_a_fault_that_passes_is_got_over(job: Job, case: Case) -> None:
    job.archive.fail(case.fault, 1, **case.options)
    job.run(attempts=3, **case.server)
    assert len(job.archive.sent) <= SLICES + 1
    assert set(job.archive.sent) == set(job.made.uids)


def test_instances_that_come_twice_stand_in_the_bundle_once(job: Job) -> None:
    job.archive.fail(Fault.DUPLICATES, inf)
    job.run()


def test_a_message_counts_the_missing_by_number(job: Job) -> None:
    job.archive.fail(Fault.FEWER, inf, count=2)
    message = job.fails().message
    assert "2 of 6 instances" in message
    assert "5-6" in message


@pytest.mark.parametrize("beside", [False, True])
def test_an_instance_of_another_series_never_enters_the_bundle(
    start: Callable[..., Job], made: data.Made, tmp_path: Path, beside: bool
) -> None:
    other = data.ct(tmp_path / "other", made.identity.series(2), slices=1)
    job = start(*other.paths)
    job.archive.fail(Fault.INTRUDER, 1 if beside else inf, beside=beside)
    if beside:
        job.run()
    else:
        error = job.fails()
        assert error.code == "incomplete"
        assert "put aside" in error.message
        assert set(job.kept()) == set(made.uids[1:])
        job.archive.heal()
        job.archive.forget()
        job.run()
        assert job.archive.sent == made.uids[:1]
    assert all(name.endswith("-instance-foreign.dcm") for name in job.quarantined())
    assert job.quarantined()


@pytest.mark.parametrize(
    "change",
    [{"patient_id": "SOMEBODY"}, {"study_instance_uid": data.uid("another study")}],
    ids=["patient", "study"],
)
def test_an_instance_of_another_patient_or_study_is_refused_under_the_right_uids(
    start: Callable[..., Job], made: data.Made, tmp_path: Path, change: dict[str, Any]
) -> None:
    stranger = data.ct(tmp_path / "other", replace(made.identity, **change), slices=1)
    assert stranger.uids == made.uids[:1]
    job = start(*stranger.paths)
    job.archive.fail(Fault.INTRUDER, inf)
    assert job.fails().code == "instance-foreign"
    assert set(job.kept()) == set(made.uids[1:])
    job.archive.heal()
    job.archive.forget()
    job.run()
    assert job.archive.sent == made.uids[:1]
    assert job.quarantined()


def test_an_archive_that_sends_a_stranger_once_is_asked_again(
    start: Callable[..., Job], made: data.Made, tmp_path: Path
) -> None:
    stranger = data.ct(tmp_path / "other", replace(made.identity, patient_id="SOMEBODY"), slices=1)
    job = start(*stranger.paths)
    job.archive.fail(Fault.INTRUDER, 1)
    job.run(attempts=2)
    assert sorted(job.archive.sent) == sorted([*made.uids, *stranger.uids])
    assert job.quarantined()


def test_answers_about_another_patient_are_not_believed(
    start: Callable[..., Job], made: data.Made, tmp_path: Path
) -> None:
    stranger = data.ct(tmp_path / "other", data.identity("stranger"), slices=2)
    job = start(*stranger.paths)
    job.archive.fail(Fault.FIND_OTHERS, inf)
    with job.transport() as transport:
        found = transport.find(job.series.address)
        assert [one.series_instance_uid for one in found] == [made.identity.series_instance_uid]
        assert transport.expect(job.series).keys() == set(made.uids)
    job.run()


def test_a_study_that_is_still_arriving_is_not_taken_for_whole(job: Job) -> None:
    job.archive.fail(Fault.ARRIVING, 1, count=2)
    error = job.fails()
    assert error.code == "changed-during-fetch"
    assert error.transient
    assert len(job.kept()) >= SLICES - 2


def test_a_study_that_has_arrived_meanwhile_is_completed(job: Job) -> None:
    job.archive.fail(Fault.ARRIVING, 1, count=2)
    job.run(attempts=2)
    assert sorted(job.archive.sent) == sorted(job.made.uids)


def test_a_list_shorter_than_the_plan_counted_is_not_believed(job: Job) -> None:
    job.series = replace(job.series, instances=SLICES)
    job.archive.fail(Fault.ARRIVING, inf, count=1)
    assert job.fails().code == "incomplete"
    job.archive.heal()
    job.run()


def test_a_busy_archive_is_asked_again(job: Job) -> None:
    job.archive.fail(Fault.BUSY, 2)
    job.run(attempts=3)


def test_a_refusal_is_not_asked_again(job: Job) -> None:
    job.archive.fail(Fault.REFUSED, inf)
    job.fails(attempts=3)
    assert job.archive.associations == 1


def test_a_truncated_instance_is_quarantined_and_asked_for_again(job: Job) -> None:
    job.archive.fail(Fault.TRUNCATED, 1, at=2)
    job.run(attempts=2)
    assert job.quarantined() == ["000001-instance-truncated.dcm"]
    assert len(job.archive.sent) == SLICES + 1


def test_two_contents_under_one_uid_are_both_kept_aside(job: Job) -> None:
    job.archive.fail(Fault.OTHER_BYTES, inf)
    assert job.fails().code == "instance-conflict"
    assert len(job.quarantined()) >= 2
    assert all(name.endswith("-instance-conflict.dcm") for name in job.quarantined())


def test_a_drip_ends_at_the_wall_clock(job: Job) -> None:
    job.archive.fail(Fault.DRIP, inf, interval=0.01)
    started = time.monotonic()
    assert job.fails(wall_clock=1.5, timeout=1.0).code == "timeout"
    assert 1.4 < time.monotonic() - started < 5


def test_an_identifier_padded_on_both_sides_is_the_same_identifier(tmp_path: Path) -> None:
    who = data.identity("padded", patient_id="  0012 ", accession_number=" A1")
    made = data.ct(tmp_path / "padded", who, slices=2)
    with FaultyArchive(made.paths) as archive:
        job = Job(archive, made, tmp_path)
        with job.transport() as transport:
            place = replace(job.series.address, patient="0012", study="A1")
            (job.series,) = transport.find(place)
        assert (job.series.patient_id, job.series.accession_number) == ("0012", "A1")
        job.run()


# Upload


@pytest.fixture
def upload(made: data.Made, tmp_path: Path) -> Iterator[Job]:
    """An archive that holds nothing, to be stored to."""
    with FaultyArchive() as archive:
        yield Job(archive, made, tmp_path)


def _store(job: Job, **options: Any) -> Receipt:
    instances = [load_instance(path) for path in job.made.paths]
    with job.transport(**options) as transport:
        receipt = transport.store(instances, job.series.address)
    assert [entry.uid for entry in receipt.entries] == job.made.uids
    return receipt


def _sent(job: Job) -> list[str]:
    return [uid for asked in job.archive.requests("C-STORE") for uid in asked.uids]


def _check_completed_by_the_missing(job: Job, missing: set[str]) -> None:
    """A second upload sends what the archive lacks and nothing else; a third nothing."""
    job.archive.heal()
    job.archive.forget()
    assert _store(job).complete
    assert sorted(_sent(job)) == sorted(missing)
    assert job.archive.uids == set(job.made.uids)
    job.archive.forget()
    assert _store(job).complete
    assert _sent(job) == []


def test_what_was_accepted_but_dropped_is_not_called_complete(upload: Job) -> None:
    upload.archive.fail(Fault.DROPPED, 2)
    receipt = _store(upload)
    assert not receipt.complete
    dropped = [entry for entry in receipt.entries if entry.proof is not Proof.LISTED]
    assert [entry.uid for entry in dropped] == upload.made.uids[:2]
    assert {entry.code for entry in dropped} == {"store-unverified"}
    _check_completed_by_the_missing(upload, set(upload.made.uids[:2]))


def test_a_lost_response_is_no_failure_and_nothing_is_sent_twice(upload: Job) -> None:
    upload.archive.fail(Fault.RESPONSE_LOST, 1)
    receipt = _store(upload)
    assert receipt.complete
    assert sorted(_sent(upload)) == sorted(upload.made.uids)
    _check_completed_by_the_missing(upload, set())


def test_responses_that_are_lost_for_good_end_the_upload(upload: Job) -> None:
    upload.archive.fail(Fault.RESPONSE_LOST, inf)
    receipt = _store(upload)
    assert not receipt.complete
    stored = upload.archive.uids
    listed = {entry.uid for entry in receipt.entries if entry.proof is Proof.LISTED}
    assert listed == stored
    assert {e.code for e in receipt.entries if e.uid not in listed} == {"association-aborted"}
    _check_completed_by_the_missing(upload, set(upload.made.uids) - stored)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0xA700, "dimse-refused"),
        (0xA900, "store-failed"),
        (0xC000, "store-failed"),
        (0x0122, "store-failed"),
        (0x0110, "store-failed"),
    ],
)
def test_a_refused_instance_is_named_and_the_others_go_on(
    upload: Job, status: int, code: str
) -> None:
    upload.archive.fail(Fault.STORE_STATUS, 1, status=status)
    receipt = _store(upload)
    first, *others = receipt.entries
    assert (first.proof, first.code, first.sent) == (None, code, False)
    assert f"{status:#06x}" in first.detail
    assert all(entry.proof is Proof.LISTED for entry in others)
    assert not receipt.complete
    _check_completed_by_the_missing(upload, {first.uid})


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_told_and_verified(upload: Job, status: int) -> None:
    upload.archive.fail(Fault.STORE_STATUS, 1, status=status, stored=True)
    receipt = _store(upload)
    assert receipt.complete
    assert f"{status:#06x}" in receipt.entries[0].detail
    _check_completed_by_the_missing(upload, set())


def test_a_warning_about_what_was_not_stored_is_not_complete(upload: Job) -> None:
    upload.archive.fail(Fault.STORE_STATUS, 1, status=0xB000)
    receipt = _store(upload)
    assert receipt.entries[0].code == "store-unverified"
    _check_completed_by_the_missing(upload, {upload.made.uids[0]})


def test_an_archive_that_never_answers_a_store_times_out(upload: Job) -> None:
    upload.archive.fail(Fault.STORE_SILENT, inf)
    started = time.monotonic()
    receipt = _store(upload, timeout=0.5)
    assert time.monotonic() - started < 5
    assert {entry.code for entry in receipt.entries} == {"timeout"}
    _check_completed_by_the_missing(upload, set(upload.made.uids))


def test_a_refused_storage_class_is_told_for_each_instance(upload: Job) -> None:
    upload.archive.fail(Fault.STORAGE_REFUSED, inf)
    receipt = _store(upload)
    assert {entry.code for entry in receipt.entries} == {"context-refused"}
    assert not any(entry.sent for entry in receipt.entries)
    _check_completed_by_the_missing(upload, set(upload.made.uids))


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.BUSY, "association-busy"), (Fault.REFUSED, "association-rejected")],
)
def test_an_upload_that_cannot_begin_is_an_error(upload: Job, fault: Fault, code: str) -> None:
    upload.archive.fail(fault, inf)
    with pytest.raises(SeriesportError) as caught:
        _store(upload)
    assert caught.value.code == code
    _check_completed_by_the_missing(upload, set(upload.made.uids))
