"""Storing at an archive: what it lacks is sent, and what it then lists is proven."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seriesport.dimse.contexts import PATIENT_ROOT_FIND, STORAGE_MAXIMUM, STUDY_ROOT_FIND, storage
from seriesport.dimse.status import SUCCESS, refused, warning
from seriesport.dimse.store import store
from seriesport.errors import SeriesportError
from seriesport.model.series import Proof, Receipt, ReceiptEntry, unannounced
from seriesport.transports.archive.comparison import read_back
from seriesport.transports.archive.query import Study, find_instances, has_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from seriesport.dimse.association import Association
    from seriesport.dimse.contexts import Proposal
    from seriesport.model.instance import Instance
    from seriesport.model.series import Announce

_INTERRUPTIONS = 2
"""After how many lost associations an upload stops; the caller may begin it again."""
_OWN_FILE = ("file-unreadable", "source-changed")
_REFUSALS = ("dimse-refused", "store-failed")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the destination said of one instance that was sent, or why it said nothing."""

    accepted: bool
    code: str = ""
    detail: str = ""
    lost: bool = False
    """Whether the answer never came, so that only a listing can tell."""
    proven: bool = False
    """Whether it was refused, but read back with the same content."""


class Upload:
    """One upload of instances. `associate` gives an association with the contexts proposed."""

    def __init__(
        self,
        associate: Callable[[Iterable[Proposal]], Association],
        instances: Sequence[Instance],
        announce: Announce = unannounced,
    ) -> None:
        self._associate = associate
        self._announce = announce
        self._instances = instances
        self._outcomes: dict[str, _Outcome] = {}
        self._interruptions = 0

    def run(self) -> Receipt:
        """List, send what is missing, list again.

        Raises:
            SeriesportError: where nothing can go on from the beginning.
        """
        before = self._listed(self._instances)
        todo = {i.uid: i for i in self._instances if before is None or i.uid not in before}
        self._announce(list(todo))
        for batch in _batches(todo.values()):
            self._send(deque(batch))
        after = before
        if self._outcomes:
            with suppress(SeriesportError):
                after = self._listed(self._instances)
        for instance in self._instances:
            if after and instance.uid in after and self._was_refused(instance.uid):
                self._compare(instance)
        return Receipt(tuple(self._entry(i.uid, after) for i in self._instances))

    def _was_refused(self, uid: str) -> bool:
        outcome = self._outcomes.get(uid)
        return outcome is not None and outcome.code in _REFUSALS

    def _compare(self, instance: Instance) -> None:
        """Judge anew a refused instance that the destination lists: by what it gives back of it.

        Some archives refuse what they have already.
        """
        refusal = self._outcomes[instance.uid]
        try:
            same = read_back(self._associate, instance)
        except SeriesportError as error:
            what = f"the destination lists it, but gives nothing to compare [{error.code}]"
            self._outcomes[instance.uid] = replace(refusal, detail=f"{refusal.detail}; {what}")
            return
        if same:
            detail = f"{refusal.detail}, but it is there with the same content"
            self._outcomes[instance.uid] = replace(refusal, proven=True, detail=detail)
        else:
            detail = f"{refusal.detail}; it is there with other content"
            self._outcomes[instance.uid] = replace(
                refusal, code="destination-conflict", detail=detail
            )

    def _listed(self, instances: Sequence[Instance]) -> set[str] | None:
        """What the destination lists of the instances' series; None where it cannot be asked."""
        uids: set[str] = set()
        groups = dict.fromkeys(
            (h.patient_id, h.study_instance_uid, h.series_instance_uid)
            for h in (i.header for i in instances)
        )
        for patient_id, study_uid, series_uid in groups:
            association = self._associate(self._contexts(instances)[:STORAGE_MAXIMUM])
            if not any(map(association.context, (STUDY_ROOT_FIND, PATIENT_ROOT_FIND))):
                return None
            study = Study(patient_id, study_uid)
            try:
                uids.update(find_instances(association, study, series_uid, detailed=False))
            except SeriesportError as error:
                if error.code in ("dimse-failure", "dimse-refused"):
                    return None
                if error.code != "listing-doubtful":
                    raise
                of_series = [i.uid for i in instances if i.header.series_instance_uid == series_uid]
                uids.update(u for u in of_series if has_instance(association, study, series_uid, u))
        return uids

    def _contexts(self, instances: Iterable[Instance]) -> list[Proposal]:
        return storage(
            ((i.header.sop_class_uid, i.transfer_syntax_uid) for i in instances), scp=False
        )

    def _send(self, queue: deque[Instance]) -> None:
        """Send a batch whose contexts fit into one association."""
        contexts = self._contexts(queue)
        association: Association | None = None
        while queue:
            instance = queue[0]
            try:
                association = association or self._associate(contexts)
                self._outcomes[instance.uid] = _send_one(association, instance)
                queue.popleft()
            except SeriesportError as error:
                association = None
                if error.code in _OWN_FILE:
                    self._outcomes[queue.popleft().uid] = _Outcome(
                        accepted=False, code=error.code, detail=error.message
                    )
                elif not self._recovered(queue, error):
                    return

    def _recovered(self, queue: deque[Instance], error: SeriesportError) -> bool:
        """After a broken association: list before anything is sent again.

        Gives False where it is over; what is still in the queue then has this error's code.
        """
        instance = queue[0]
        lost = _Outcome(accepted=False, code=error.code, detail=error.message, lost=True)
        self._outcomes[instance.uid] = lost
        self._interruptions += 1
        if self._interruptions < _INTERRUPTIONS:
            with suppress(SeriesportError):
                listed = self._listed([instance])
                if listed is not None and instance.uid in listed:
                    queue.popleft()
                return True
        for unsent in queue:
            self._outcomes[unsent.uid] = lost
        return False

    def _entry(self, uid: str, listed: set[str] | None) -> ReceiptEntry:
        outcome = self._outcomes.get(uid)
        if outcome is None or outcome.proven:
            proof, detail = (Proof.DIGEST, outcome.detail) if outcome else (Proof.LISTED, "")
            return ReceiptEntry(uid, sent=False, proof=proof, detail=detail)
        failed = ReceiptEntry(uid, sent=False, proof=None, code=outcome.code, detail=outcome.detail)
        if not outcome.accepted and not outcome.lost:
            return failed
        if listed is not None and uid in listed:
            detail = "its answer was lost" if outcome.lost else outcome.detail
            return ReceiptEntry(uid, sent=True, proof=Proof.LISTED, detail=detail)
        if outcome.lost:
            return failed
        if listed is None:
            detail = "; ".join(filter(None, (outcome.detail, "the destination cannot be queried")))
            return ReceiptEntry(uid, sent=True, proof=Proof.SENT, detail=detail)
        detail = "; ".join(filter(None, (outcome.detail, "accepted, but not listed")))
        return ReceiptEntry(
            uid, sent=True, proof=Proof.SENT, code="store-unverified", detail=detail
        )


def _send_one(association: Association, instance: Instance) -> _Outcome:
    """Send one instance in its own transfer syntax, or not at all."""
    context = association.context(instance.header.sop_class_uid, instance.transfer_syntax_uid)
    if context is None:
        detail = "the destination takes this SOP class not in this transfer syntax, or not at all"
        return _Outcome(accepted=False, code="context-refused", detail=detail)
    status = store(association, context, instance)
    if status == SUCCESS:
        return _Outcome(accepted=True)
    detail = f"status {status:#06x}"
    if warning(status):
        return _Outcome(accepted=True, detail=f"{detail} (a warning)")
    code = "dimse-refused" if refused(status) else "store-failed"
    return _Outcome(accepted=False, code=code, detail=detail)


def _batches(instances: Iterable[Instance]) -> Iterator[list[Instance]]:
    """Cut into runs whose pairs of SOP class and transfer syntax fit into one association."""
    batch: list[Instance] = []
    pairs: set[tuple[str, str]] = set()
    for instance in instances:
        pair = (instance.header.sop_class_uid, instance.transfer_syntax_uid)
        if pair not in pairs and len(pairs) == STORAGE_MAXIMUM:
            yield batch
            batch, pairs = [], set()
        pairs.add(pair)
        batch.append(instance)
    if batch:
        yield batch
