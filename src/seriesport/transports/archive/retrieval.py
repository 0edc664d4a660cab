"""Getting what a series lacks, over one association after the other until nothing more comes."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from seriesport.dicom.part10 import load_instance
from seriesport.dimse.attributes import Key
from seriesport.dimse.contexts import PATIENT_ROOT_GET, STUDY_ROOT_GET, Proposal, storage
from seriesport.dimse.get import GetResult, Received, Spool, get
from seriesport.dimse.status import SUCCESS, failure, warning
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice, Header, Instance
from seriesport.transports.archive.relabel import right_syntaxes

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence
    from pathlib import Path

    from seriesport.dimse.association import Association
    from seriesport.transports.archive.query import Study

_BATCH = 100
"""UIDs in one question: 6.5 kB."""
_MISSES = 8
"""How many in a row may fail singly before other contexts are tried first."""
_NO_MATCHES_COUNTED = 0xA701
_WILDCARD = re.compile(r"[*?\\]")


class Retrieval:
    """What is still missing of one series, and how to ask for it.

    Args:
        study: The study, with its patient.
        series_uid: The Series Instance UID.
        missing: SOP Instance UIDs to get. Where none are listed beforehand, what the archive
            says it failed to send is asked for again.
        whole: Whether nothing is there yet, so that the series is asked for as one.
        folder: Where received files go.
    """

    def __init__(
        self, study: Study, series_uid: str, missing: Collection[str], folder: Path, *, whole: bool
    ) -> None:
        self.missing = dict.fromkeys(missing)
        self._listed = bool(missing)
        self._whole = whole
        self._study = study
        self._series_uid = series_uid
        self._spool = Spool(folder)
        self._status: int | None = None
        self._mislabelled: dict[str, Instance] = {}
        self._received = 0

    @property
    def done(self) -> bool:
        """Whether nothing more needs to be asked for."""
        return not self.missing and not self._whole

    def over(
        self, association: Association, uids: Sequence[str], *, last: bool
    ) -> Iterator[Instance]:
        """Get as much of some instances as this association's contexts allow.

        Raises:
            SeriesportError: dimse-refused where the archive cannot even begin; file-unwritable,
                context-refused, or what the association raises.
        """
        status = SUCCESS
        if self._whole:
            self._whole = False
            status = yield from self._get(association, ())
            uids = [uid for uid in uids if uid in self.missing] if uids else list(self.missing)
        rest = list(uids)
        for start in range(0, len(rest), _BATCH):
            status = yield from self._batch(
                association, rest[start : start + _BATCH], status, last=last
            )
        if self._status is None:
            self._status = status

    def check(self) -> None:
        """Fail where something is missing and the archive's last word to it was a failure.

        That is the last word within the first association: in later ones, with fewer or rarer
        contexts, a failure is what is to be expected.

        Raises:
            SeriesportError: dimse-failure or dimse-refused, with the status.
        """
        if (self.missing or not self._listed) and self._status and not warning(self._status):
            raise failure("C-GET", self._status)

    def _batch(
        self, association: Association, uids: list[str], status: int, *, last: bool
    ) -> Generator[Instance, None, int]:
        """By a list as long as that brings something; then one by one, as some archives want.

        Gives the status of the last answer, or `status` where nothing was asked.
        """
        while uids:
            before = self._received
            status = yield from self._get(association, uids)
            left = self._left(uids)
            if len(left) == len(uids) or self._received == before:
                break
            uids = left
        if len(uids) == 1:
            return status
        misses = 0
        for uid in uids:
            status = yield from self._get(association, [uid])
            misses = misses + 1 if self._left([uid]) else 0
            if misses >= _MISSES and not last:
                break
        return status

    def _left(self, uids: Sequence[str]) -> list[str]:
        """Return those of some that have not come yet, or not rightly."""
        return [uid for uid in uids if uid in self.missing or uid in self._mislabelled]

    def _get(
        self, association: Association, uids: Collection[str]
    ) -> Generator[Instance, None, int]:
        keys = {
            Key.LEVEL: "IMAGE" if uids else "SERIES",
            Key.STUDY_INSTANCE_UID: self._study.uid,
            Key.SERIES_INSTANCE_UID: self._series_uid,
        }
        if uids:
            keys[Key.SOP_INSTANCE_UID] = "\\".join(uids)
        model = association.model(STUDY_ROOT_GET, PATIENT_ROOT_GET)
        if model == PATIENT_ROOT_GET:
            keys[Key.PATIENT_ID] = self._patient()
        with closing(get(association, keys, self._spool, model)) as arriving:
            result = yield from self._instances(arriving)
        self._judge(result)
        return result.status

    def _instances(
        self, arriving: Generator[Received, None, GetResult]
    ) -> Generator[Instance, None, GetResult]:
        while True:
            try:
                received = next(arriving)
            except StopIteration as end:
                return cast("GetResult", end.value)
            instance = _instance(received)
            self._received += 1
            self.missing.pop(instance.uid, None)
            held = self._mislabelled.pop(instance.uid, None)
            if held is not None and held.location is not None:
                held.location.unlink()
            if right_syntaxes(instance):
                self._mislabelled[instance.uid] = instance
            else:
                yield instance

    def relabelled(self) -> Iterator[tuple[Proposal, list[str]]]:
        """Give contexts, each to be proposed alone, and what to ask for in them.

        Some archives send compressed pixels in a context of an uncompressed transfer syntax, and
        rightly where there is none but the instance's own.
        """
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for uid, instance in self._mislabelled.items():
            right = instance.header.sop_class_uid, right_syntaxes(instance)
            groups.setdefault(right, []).append(uid)
        for (sop_class, syntaxes), uids in groups.items():
            for proposal in storage(((sop_class, syntax) for syntax in syntaxes), scp=True):
                if left := self._left(uids):
                    yield proposal, left

    def mislabelled(self) -> Iterator[Instance]:
        """Give what never came rightly, as it came, for whoever judges it."""
        yield from self._mislabelled.values()
        self._mislabelled.clear()

    def _patient(self) -> str:
        if _WILDCARD.search(self._study.patient_id):
            raise SeriesportError(
                "identifier-wildcard",
                "the archive retrieves by patient only, and the patient's ID has a wildcard in it",
            )
        return self._study.patient_id

    def _judge(self, result: GetResult) -> None:
        if not self._listed:
            self.missing |= dict.fromkeys(result.failed_uids)
        if result.status == _NO_MATCHES_COUNTED:
            raise failure("C-GET", result.status)


def _instance(received: Received) -> Instance:
    """The instance in a received file; by its command alone where the data set cannot be read."""
    try:
        return replace(load_instance(received.path), location=received.path)
    except SeriesportError:
        header = Header(received.sop_class_uid, received.sop_instance_uid, "", "", "")
        payload = FileSlice(received.path, received.offset, received.size)
        return Instance(header, received.transfer_syntax_uid, payload, received.path)
