"""Harmless trials of what an archive allows: they name what nobody has, and send nothing."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

from seriesport.dimse import contexts
from seriesport.dimse.attributes import Key
from seriesport.dimse.get import Spool, get
from seriesport.dimse.status import denied, failure
from seriesport.errors import SeriesportError
from seriesport.store.scratch import scratch
from seriesport.transports.archive.query import ask

if TYPE_CHECKING:
    from seriesport.dimse.association import Association

_COMMON = {kind: contexts.candidates(kind)[0] for kind in ("CT", "MR", "PT", "US", "CR", "SC")}
"""Storage classes that are told by name."""


def storage_proposals(*, scp: bool) -> list[contexts.Proposal]:
    """Return a context for each of as many storage classes as an association has room for.

    Args:
        scp: True for those in which a C-GET is answered, False for those of a C-STORE.
    """
    classes = dict.fromkeys((*_COMMON.values(), *contexts.storage_classes()))
    proposals = [contexts.Proposal(uid, contexts.IDENTIFIER_SYNTAXES, scp) for uid in classes]
    return proposals[: contexts.STORAGE_MAXIMUM]


def accepted_storage(association: Association) -> str:
    """Return which storage classes were accepted, as in `CT, MR, 7 more storage classes`.

    Raises:
        SeriesportError: context-refused, where there are none.
    """
    wanted = {p.abstract_syntax for p in association.proposals}.difference(_SERVICES)
    accepted = wanted & {c.abstract_syntax for c in association.contexts.values()}
    if not accepted:
        raise SeriesportError("context-refused", "the archive accepts no storage class")
    named = [kind for kind, uid in _COMMON.items() if uid in accepted]
    if rest := len(accepted) - len(named):
        more = "more " if named else ""
        named.append(f"{rest} {more}storage {'class' if rest == 1 else 'classes'}")
    return ", ".join(named)


def try_find(association: Association) -> None:
    """Ask for a study that nobody has.

    Raises:
        SeriesportError: what keeps the archive from answering.
    """
    uid = _unknown_uid()
    keys = {Key.LEVEL: "STUDY", Key.STUDY_INSTANCE_UID: uid}
    with closing(ask(association, keys, patient_id=uid)) as answers:
        next(answers, None)


def try_get(association: Association) -> None:
    """Ask to be sent a study that nobody has; any answer will do that does not deny the service.

    Raises:
        SeriesportError: what keeps the archive from answering; dimse-failure, where it denies us
            the service.
    """
    uid = _unknown_uid()
    model = association.model(contexts.STUDY_ROOT_GET, contexts.PATIENT_ROOT_GET)
    keys = {Key.LEVEL: "STUDY", Key.STUDY_INSTANCE_UID: uid}
    if model == contexts.PATIENT_ROOT_GET:
        keys[Key.PATIENT_ID] = uid
    with scratch() as room, closing(get(association, keys, Spool(room), model)) as arriving:
        try:
            next(arriving)
        except StopIteration as end:
            if denied(end.value.status):
                raise failure("C-GET", end.value.status) from None


_SERVICES = {proposal.abstract_syntax for proposal in contexts.SERVICES}


def _unknown_uid() -> str:
    """Return a UID that was never given to anything (PS3.5 annex B.2)."""
    return f"2.25.{uuid4().int}"
