"""An archive that misbehaves on order, as no real server can be told to.

    with FaultyArchive(made.paths[0].parent) as archive:
        archive.fail(Fault.FEWER, count=2)          # the next C-GET only
        ...
        assert archive.asked_for == [...]           # what each C-GET asked for

A fault holds for so many requests, and then all is well. It is an embedded archive otherwise.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import inf
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from seriesport.dicom.part10 import load_instance
from seriesport.dimse.acceptor import ABSTRACT_SYNTAX_REFUSED
from seriesport.dimse.message import Field
from seriesport.dimse.pdu import PduType, control_pdu, data_header
from seriesport.errors import SeriesportError
from seriesport.serve.archive import Archive
from seriesport.serve.identifier import Identifier
from seriesport.serve.session import FIND_MODELS, GET_MODELS, VERIFICATION, Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from seriesport.dimse.acceptor import Proposed
    from seriesport.dimse.message import Command
    from seriesport.model.instance import Instance
    from seriesport.serve.catalog import Catalog

__all__ = ["Asked", "Fault", "FaultyArchive"]


class Fault(Enum):
    """What goes wrong, with its options and their defaults."""

    # An association
    REFUSED = auto()
    """Refused for good: calling AE title not recognised."""
    BUSY = auto()
    """Refused for now: temporary congestion."""
    STORAGE_REFUSED = auto()
    """All contexts of storage classes are refused, in an association that proposes some."""
    GET_REFUSED = auto()
    """The contexts of C-GET are refused, in an association that proposes them."""
    DEAF = auto()
    """The association request gets no answer."""
    ABORTED_NEGOTIATION = auto()
    """The association request is answered with A-ABORT."""

    # A C-FIND at IMAGE level
    ARRIVING = auto()
    """The last `count=1` instances are not listed yet."""
    FIND_STATUS = auto()
    """Ends with `status=0xC000` and nothing else."""
    FIND_OTHERS = auto()
    """Lists the intruders as well, as a server does that takes an identifier for a pattern."""
    FIND_ABORT = auto()
    """Aborts after the first response."""

    # A C-GET
    FEWER = auto()
    """Success, without the last `count=1` instances."""
    NONE = auto()
    """Success, without any."""
    DUPLICATES = auto()
    """Success, each instance twice."""
    INTRUDER = auto()
    """Success, with the intruder in the place of the first instance, or beside it (beside=True)."""
    OTHER_BYTES = auto()
    """Success, the first instance twice, the second time with another last byte."""
    FAILED = auto()
    """The last `count=1` sub-operations fail: 0xB000, and their UIDs if `list=True`."""
    GET_STATUS = auto()
    """Ends at once with `status=0xA701`."""
    ABORT = auto()
    """A-ABORT after `after=1` instances."""
    CUT = auto()
    """The connection ends in the middle of the data set number `at=2`."""
    RELEASE = auto()
    """A-RELEASE-RQ after `after=1` instances instead of a response."""
    DRIP = auto()
    """Data set number `at=1` comes one byte each `interval=0.05` seconds."""
    SILENT = auto()
    """Nothing more comes from data set number `at=1` on."""
    ENDLESS = auto()
    """Data set number `at=1` comes in a PDU that declares 0xFFFFFFF0 bytes."""
    TRUNCATED = auto()
    """Data set number `at=1` lacks its last `bytes=100`; its last fragment claims to be the end."""
    STRANGE_CONTEXT = auto()
    """Data set number `at=1` comes on a context that was never accepted."""

    # Ways of archives that exist
    COLLAPSED = auto()
    """Lists one entity alone, where a key is asked for that counts or collects (tiny_pacs)."""
    DOUBLED = auto()
    """Names the first entity in each of its answers, at `level="IMAGE"` (tiny_pacs)."""
    ROW_PER_INSTANCE = auto()
    """Answers once for each instance, whatever the level (pynetdicom's qrscp)."""
    COUNTS_MORE = auto()
    """Says of each study that it has `series=9`."""
    KNOWS_BYTES = auto()
    """Compares the bytes of a patient's ID, which it holds in ISO_IR 100 (Conquest)."""
    MISLABELLED = auto()
    """Sends compressed instances in a context of Implicit VR, where there is one (Conquest)."""
    STORES_ONCE = auto()
    """Answers 0xA700 to an instance that it has already (tiny_pacs)."""
    ODD_REFUSED = auto()
    """The contexts of the SOP class `uid` are refused."""

    # A C-STORE
    DROPPED = auto()
    """Success, but nothing is stored."""
    RESPONSE_LOST = auto()
    """Stored, but the connection ends before the response."""
    STORE_STATUS = auto()
    """Not stored: `status=0xA700`. With `stored=True` it is stored, as with a warning."""
    STORE_SILENT = auto()
    """Neither stored nor answered."""


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    service: str
    level: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs that it names."""
        return [uid for uid in self.keys.get("SOPInstanceUID", "").split("\\") if uid]


class FaultyArchive(Archive):
    """An embedded archive over a copy of some files, with faults and a record of what was asked.

    Args:
        paths: what it holds.
        intruders: what it does not list, but sends or lists where a fault says so.
    """

    def __init__(self, paths: Sequence[Path] = (), intruders: Sequence[Path] = ()) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="faulty-"))
        for i, path in enumerate(paths):
            target = self._temporary / "held" / f"{i:06d}.dcm"
            target.parent.mkdir(exist_ok=True)
            target.hardlink_to(path)
        super().__init__(self._temporary / "held", aet="FAULTY", session=self._make)
        self.intruders = [replace(load_instance(path), location=path) for path in intruders]
        self.asked: list[Asked] = []
        self.sent: list[str] = []
        """SOP Instance UIDs of the instances that went out whole."""
        self.associations = 0
        self.proposed = 0
        """How many presentation contexts were proposed to it."""
        self.bears: float = inf
        """How many associations at one time it does not refuse as busy."""
        self.at_once = 0
        """The most associations that there were at one time."""
        self.open = 0
        self.stopping = Event()
        self._faults: dict[Fault, tuple[float, dict[str, Any]]] = {}
        self.guard = Lock()

    def _make(self, sock: socket.socket, catalog: Catalog, aet: str) -> Session:
        with self.guard:
            self.associations += 1
        return FaultySession(sock, catalog, aet, self)

    def stop(self) -> None:
        self.stopping.set()
        super().stop()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def fail(self, fault: Fault, times: float = 1, **options: Any) -> None:
        """Let the next so many requests fail this way (inf: all)."""
        with self.guard:
            self._faults[fault] = (times, options)

    def heal(self) -> None:
        """No more faults."""
        with self.guard:
            self._faults.clear()

    def forget(self) -> None:
        """Empty the record."""
        self.asked.clear()
        self.sent.clear()
        self.associations = self.proposed = 0

    def take(self, fault: Fault) -> dict[str, Any] | None:
        """The options of a fault that is due, counted off; None where it is not."""
        with self.guard:
            times, options = self._faults.get(fault, (0, {}))
            if times <= 0:
                return None
            self._faults[fault] = (times - 1, options)
            return options

    def take_one(self, *faults: Fault) -> tuple[Fault, dict[str, Any]] | None:
        """The first of these that is due."""
        for fault in faults:
            options = self.take(fault)
            if options is not None:
                return fault, options
        return None

    def requests(self, service: str, level: str = "") -> list[Asked]:
        """What was asked of a service, such as C-GET."""
        return [one for one in self.asked if one.service == service and level in ("", one.level)]

    def altered(self, one: Instance) -> Instance:
        """The same instance with another last byte."""
        assert one.location is not None
        content = bytearray(one.location.read_bytes())
        content[-1] ^= 0x55
        path = self._temporary / f"altered-{time.monotonic_ns()}.dcm"
        path.write_bytes(content)
        return replace(load_instance(path), location=path)

    @property
    def uids(self) -> set[str]:
        """SOP Instance UIDs of all that it holds."""
        return {one.uid for one in self.catalog.select(())}


_AGGREGATED = frozenset(
    {
        "SOPClassesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "NumberOfSeriesRelatedInstances",
    }
)
_IMPLICIT = "1.2.840.10008.1.2"
_STARTS = (Fault.REFUSED, Fault.BUSY, Fault.DEAF, Fault.ABORTED_NEGOTIATION)
_CHOICES = (Fault.FEWER, Fault.NONE, Fault.DUPLICATES, Fault.INTRUDER, Fault.OTHER_BYTES)
_BREAKS = (
    Fault.FAILED,
    Fault.ABORT,
    Fault.CUT,
    Fault.RELEASE,
    Fault.DRIP,
    Fault.SILENT,
    Fault.ENDLESS,
    Fault.TRUNCATED,
    Fault.STRANGE_CONTEXT,
)


class FaultySession(Session):
    """One association with a `FaultyArchive`."""

    def __init__(
        self, sock: socket.socket, catalog: Catalog, aet: str, archive: FaultyArchive
    ) -> None:
        super().__init__(sock, catalog, aet)
        self.archive = archive
        self._socket = sock
        self._refused: frozenset[str] = frozenset()
        self._break: tuple[Fault, dict[str, Any]] | None = None
        self._sending = 0
        self._total = 0
        self._in_utf_8 = False

    def run(self) -> None:
        with self.archive.guard:
            self.archive.open += 1
        try:
            super().run()
        finally:
            with self.archive.guard:
                self.archive.open -= 1

    def negotiate(self) -> bool:
        due = self.archive.take_one(*_STARTS)
        if due is None and self.archive.open > self.archive.bears:
            due = Fault.BUSY, {}
        if due is None:
            self.archive.at_once = max(self.archive.at_once, self.archive.open)
            return super().negotiate()
        self.reader.control()
        if due[0] is Fault.REFUSED:
            self.reject(result=1, source=1, reason=3)
        elif due[0] is Fault.BUSY:
            self.reject(result=2, source=3, reason=1)
        elif due[0] is Fault.ABORTED_NEGOTIATION:
            self.abort()
        else:
            self.archive.stopping.wait(60)
        return False

    def choose(self, proposed: Proposed) -> str | int:
        uid = proposed.abstract_syntax
        self.archive.proposed += 1
        if (odd := self.archive.take(Fault.ODD_REFUSED)) is not None and uid == odd["uid"]:
            return ABSTRACT_SYNTAX_REFUSED
        is_get, is_other = uid in GET_MODELS, uid in FIND_MODELS or uid == VERIFICATION
        fault = Fault.GET_REFUSED if is_get else Fault.STORAGE_REFUSED
        if (
            not is_other
            and fault.name not in self._refused
            and self.archive.take(fault) is not None
        ):
            self._refused |= {fault.name}
        if not is_other and fault.name in self._refused:
            return ABSTRACT_SYNTAX_REFUSED
        return super().choose(proposed)

    def abort(self) -> None:
        self.link.send(control_pdu(PduType.ABORT, b"\0\0\0\0"))

    def _end(self) -> SeriesportError:
        return SeriesportError("association-aborted", "as ordered")

    # C-FIND

    def find(self, context_id: int, request: Command, asked: Identifier) -> None:
        self._note("C-FIND", asked)
        more = self.archive.take(Fault.COUNTS_MORE) if asked.level == "STUDY" else None
        if more is not None:
            self._count(context_id, request, asked, str(more.get("series", 9)))
            return
        status = self.archive.take(Fault.FIND_STATUS) if asked.level == "IMAGE" else None
        if status is not None:
            self.respond(context_id, request, status.get("status", 0xC000))
            return
        super().find(context_id, request, asked)

    def _count(self, context_id: int, request: Command, asked: Identifier, series: str) -> None:
        syntax = self.contexts[context_id][1]
        for one in self.entities(asked):
            values = {key.keyword: self.catalog.value(one, key.keyword) for key in asked.keys}
            values["NumberOfStudyRelatedSeries"] = series
            self.respond(context_id, request, 0xFF00, asked.answer(values, self.aet, syntax))
        self.respond(context_id, request, 0)

    def receive_identifier(self, context_id: int) -> Identifier:
        data = bytearray()
        self._part(context_id, data, 1 << 20)
        self._in_utf_8 = b"ISO_IR 192" in data
        return Identifier.decode(bytes(data), self.contexts[context_id][1])

    def entities(self, asked: Identifier) -> list[Instance]:
        found = super().entities(asked)
        keywords = {key.keyword for key in asked.keys}
        if keywords & _AGGREGATED and self.archive.take(Fault.COLLAPSED) is not None:
            found = found[:1]
        if self._in_utf_8 and self.archive.take(Fault.KNOWS_BYTES) is not None:
            found = []
        doubled = self.archive.take(Fault.DOUBLED)
        if doubled is not None and asked.level == doubled.get("level", "IMAGE"):
            found = found[:1] * len(found)
        if self.archive.take(Fault.ROW_PER_INSTANCE) is not None:
            found = self.catalog.select(asked.keys)
        if self.archive.take(Fault.FIND_OTHERS) is not None:
            found += self.archive.intruders
            for one in self.archive.intruders:
                self.catalog.add(one)
        if asked.level == "IMAGE" and (late := self.archive.take(Fault.ARRIVING)) is not None:
            found = found[: -late.get("count", 1)]
        return found

    def _note(self, service: str, asked: Identifier) -> None:
        keys = {key.keyword: key.value for key in asked.keys if key.value}
        self.archive.asked.append(Asked(service, asked.level, keys))

    # C-GET

    def get(self, context_id: int, request: Command, asked: Identifier) -> None:
        self._note("C-GET", asked)
        status = self.archive.take(Fault.GET_STATUS)
        if status is not None:
            self.respond(context_id, request, status.get("status", 0xA701), counts=(0, 0, 0))
            return
        self._break = self.archive.take_one(*_BREAKS)
        self._sending = 0
        super().get(context_id, request, asked)

    def selected(self, asked: Identifier) -> list[Instance]:
        found = super().selected(asked)
        due = self.archive.take_one(*_CHOICES)
        if due is not None:
            found = self._chosen(found, *due)
        self._total = len(found)
        return found

    def _chosen(
        self, found: list[Instance], fault: Fault, options: dict[str, Any]
    ) -> list[Instance]:
        if fault is Fault.FEWER:
            return found[: -options.get("count", 1)]
        if fault is Fault.NONE:
            return []
        if fault is Fault.DUPLICATES:
            return [one for one in found for _ in range(2)]
        if fault is Fault.OTHER_BYTES:
            return [found[0], self.archive.altered(found[0]), *found[1:]]
        return self.archive.intruders + found[0 if options.get("beside") else 1 :]

    def suboperation(self, one: Instance, message_id: int) -> int | None:
        self._sending += 1
        if self._break is not None:
            fault, options = self._break
            if fault is Fault.FAILED and self._sending > self._total - options.get("count", 1):
                return 0xA700
            if fault is Fault.ABORT and self._sending > options.get("after", 1):
                self.abort()
                raise self._end()
            if fault is Fault.RELEASE and self._sending > options.get("after", 1):
                self.link.send(control_pdu(PduType.RELEASE_RQ))
                self.reader.control()
                raise self._end()
        status = super().suboperation(one, message_id)
        self.archive.sent.append(one.uid)
        return status

    def finish_get(
        self,
        context_id: int,
        request: Command,
        status: int | None,
        counts: tuple[int, int],
        failed: list[str],
    ) -> None:
        if failed and self._break is not None and not self._break[1].get("list", False):
            final = 0xB000 if sum(counts) else 0xA702
            self.respond(context_id, request, final, None, (counts[0], len(failed), counts[1]))
            return
        super().finish_get(context_id, request, status, counts, failed)

    def context_for(self, one: Instance) -> int | None:
        native = (one.header.sop_class_uid, _IMPLICIT)
        if self.archive.take(Fault.MISLABELLED) is not None and native in self.contexts.values():
            return next(i for i, context in self.contexts.items() if context == native)
        return super().context_for(one)

    def send_instance(self, context_id: int, one: Instance, message_id: int) -> None:
        if self.contexts[context_id][1] == _IMPLICIT != one.transfer_syntax_uid:
            self.send(context_id, self.store_command(one, message_id), _as_implicit(one))
            return
        at = 0
        if self._break is not None:
            fault, options = self._break
            at = options.get("at", 2 if fault is Fault.CUT else 1)
        if self._break is None or at != self._sending:
            super().send_instance(context_id, one, message_id)
        else:
            self._send_broken(context_id, one, message_id, *self._break)

    def _send_broken(
        self,
        context_id: int,
        one: Instance,
        message_id: int,
        fault: Fault,
        options: dict[str, Any],
    ) -> None:
        with one.payload.open() as stream:
            content = stream.read()
        if fault is Fault.TRUNCATED:
            short = content[: -options.get("bytes", 100)]
            self.send(context_id, self.store_command(one, message_id), short)
        elif fault is Fault.STRANGE_CONTEXT:
            self.send(context_id, self.store_command(one, message_id))
            self.link.send(data_header(251, 2, len(content)) + content)
        elif fault is Fault.SILENT:
            self.archive.stopping.wait(60)
            raise self._end()
        elif fault in (Fault.CUT, Fault.DRIP, Fault.ENDLESS):
            self.send(context_id, self.store_command(one, message_id))
            self._send_stuck(context_id, content, fault, options)
        else:
            super().send_instance(context_id, one, message_id)

    def _send_stuck(
        self, context_id: int, content: bytes, fault: Fault, options: dict[str, Any]
    ) -> None:
        if fault is Fault.CUT:
            self.link.send(data_header(context_id, 0, len(content)) + content[: len(content) // 2])
            self.link.close()
        elif fault is Fault.DRIP:
            data = data_header(context_id, 2, len(content)) + content
            for i in range(len(data)):
                self.link.send(data[i : i + 1])
                if self.archive.stopping.wait(options.get("interval", 0.05)):
                    break
        else:
            head = b"\x04\0\xff\xff\xff\xf0\xff\xff\xff\xec" + bytes((context_id, 0))
            self.link.send(head + content)
            while not self.archive.stopping.is_set():
                self.link.send(bytes(65536))
        raise self._end()

    # C-STORE

    def store(self, context_id: int, request: Command) -> None:
        uid = request.uid(Field.AFFECTED_SOP_INSTANCE_UID)
        self.archive.asked.append(Asked("C-STORE", "IMAGE", {"SOPInstanceUID": uid}))
        if self.catalog.get(uid) and self.archive.take(Fault.STORES_ONCE) is not None:
            self._part(context_id, bytearray(), 1 << 32)
            self.respond(context_id, request, 0xA700)
            return
        due = self.archive.take_one(
            Fault.DROPPED, Fault.RESPONSE_LOST, Fault.STORE_STATUS, Fault.STORE_SILENT
        )
        if due is None:
            super().store(context_id, request)
            return
        fault, options = due
        if fault is Fault.RESPONSE_LOST or options.get("stored"):
            self.receive_instance(context_id, request)
        else:
            self._part(context_id, bytearray(), 1 << 32)
        if fault is Fault.RESPONSE_LOST:
            self.link.close()
            raise self._end()
        if fault is Fault.STORE_SILENT:
            self.archive.stopping.wait(60)
            raise self._end()
        self.respond(
            context_id, request, 0 if fault is Fault.DROPPED else options.get("status", 0xA700)
        )


def _as_implicit(one: Instance) -> bytes:
    """A data set in implicit VR with its pixels as they were, compressed or not."""
    assert one.location is not None
    dataset = pydicom.dcmread(one.location)
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, dataset)
    return stream.getvalue()
