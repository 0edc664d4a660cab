"""DICOM archives: C-FIND, C-GET and C-STORE behind the transport protocol."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.dimse import contexts
from seriesport.dimse.association import Association
from seriesport.dimse.echo import echo
from seriesport.errors import SeriesportError
from seriesport.model.address import Address
from seriesport.model.series import Announce, Expected, Receipt, SeriesReference, unannounced
from seriesport.transports.archive import probe
from seriesport.transports.archive.address import DicomAddress
from seriesport.transports.archive.query import (
    Content,
    Series,
    Study,
    find_contents,
    find_instances,
    find_series,
    find_studies,
)
from seriesport.transports.archive.retrieval import Retrieval
from seriesport.transports.archive.server import DicomServer
from seriesport.transports.archive.upload import Upload
from seriesport.transports.contract import Check, Transport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.dimse.contexts import Proposal
    from seriesport.model.instance import Instance

_FEW_CLASSES = 7
"""As many SOP classes fit into one association with all their usual transfer syntaxes; of more, it
has to be known which instance is of which."""


class DicomTransport(Transport):
    """One archive, over one association at a time, which is kept from call to call.

    Queries use the Study Root model, or the Patient Root model where the archive has only that.
    The server's `timeout` bounds its silence and `wall_clock` each call, the retrieval of a
    series included, whatever the archive does.
    """

    def __init__(self, address: DicomAddress, settings: Settings) -> None:
        self._address = address
        self._server = settings.server(address, DicomServer)
        self._association: Association | None = None
        self._contents: dict[str, Content] = {}
        self._proposed: dict[Proposal, None] = {}

    def echo(self, address: Address) -> Iterator[Check]:
        """See the protocol: the association, then C-ECHO, C-FIND, C-GET and C-STORE's contexts."""
        self._checked(address)
        first = Check.of("association", self._greet)
        yield first
        if first.error is None:
            yield Check.of("C-ECHO", self._try_echo)
            yield Check.of("C-FIND", self._try_find)
            yield Check.of("C-GET", self._try_get)
            yield Check.of("C-STORE", self._try_store, needed=False)

    def check_destination(self, address: Address) -> None:
        """See the protocol: C-FIND, where the archive offers it, and any storage class."""
        self._checked(address)
        self._try_store()
        association = self._associate((), self._deadline())
        if association.context(association.model(*contexts.FIND_MODELS)):
            self._try_find()
        else:
            self._try_echo()

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol. Also identifier-wildcard, where an identifier cannot be sent."""
        place = self._checked(address)
        association = self._associate((), self._deadline())
        found: list[Series] = []
        for study in find_studies(association, place.patient, place.study):
            content = self._content(association, study)
            found += find_series(association, study, place.series, content.series)
        return [self._reference(place, series) for series in sorted(found, key=_order)]

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """See the protocol."""
        proposals = contexts.storage(
            (
                (uid, syntax)
                for uid in contexts.candidates(series.modality)
                for syntax in contexts.common_syntaxes(uid)
            ),
            scp=True,
        )
        association = self._associate(proposals[: contexts.STORAGE_MAXIMUM], self._deadline())
        study = Study(series.patient_id, series.study_instance_uid)
        return find_instances(
            association,
            study,
            series.series_instance_uid,
            detailed=not 0 < len(self._content(association, study).sop_classes) <= _FEW_CLASSES,
        )

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Instance]:
        """See the protocol.

        Raises:
            SeriesportError: dimse-failure or dimse-refused with the status, after all that came
                was given; context-refused; file-unwritable; and what ends an association.
        """
        deadline = self._deadline()
        missing = [uid for uid in expected if uid not in have]
        if expected and not missing:
            return
        study = Study(series.patient_id, series.study_instance_uid)
        retrieval = Retrieval(study, series.series_instance_uid, missing, spool, whole=not have)
        rounds = list(self._rounds(series, [expected[uid] for uid in missing]))
        classes = {uid: one.sop_class_uid for uid, one in expected.items()}
        served = False
        refused: set[Proposal] = set()
        while rounds and not retrieval.done:
            some = rounds.pop(0)
            proposals = _useful(some, retrieval.missing, classes, refused)
            if not proposals:
                continue
            association = self._associate(proposals, deadline, alone=some.alone)
            refused.update(p for p in proposals if not _serves(association, p))
            accepted = {p.abstract_syntax for p in proposals if p not in refused}
            if not accepted:
                continue
            served = True
            within = [u for u in retrieval.missing if classes.get(u) in (None, *accepted)]
            last = not any(_useful(later, within, classes, refused) for later in rounds)
            yield from retrieval.over(association, within, last=last)
        yield from self._relabelled(retrieval, deadline)
        if not served:
            problem = "the archive takes none of the storage contexts that the series needs"
            raise SeriesportError("context-refused", problem)
        retrieval.check()

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol."""
        del name
        self._checked(address)
        deadline = self._deadline()

        def associate(proposals: Iterable[Proposal]) -> Association:
            return self._associate(proposals, deadline)

        return Upload(associate, instances, announce).run()

    def close(self) -> None:
        """See the protocol."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def _greet(self) -> str:
        self._associate((), self._deadline())
        tls = "with" if self._server.tls else "without"
        return f"{self._server.calling_aet!r} at {self._address.aet!r}, {tls} TLS"

    def _try_echo(self) -> str:
        echo(self._associate((), self._deadline()))
        return ""

    def _try_find(self) -> str:
        probe.try_find(self._associate((), self._deadline()))
        return ""

    def _try_get(self) -> str:
        proposals = probe.storage_proposals(scp=True)
        association = self._associate(proposals, self._deadline(), alone=True)
        probe.try_get(association)
        accepted = probe.accepted_storage(association)
        unsure = "" if association.roles else ", but it confirms the role for none"
        return f"contexts for {accepted}{unsure}"

    def _try_store(self) -> str:
        proposals = probe.storage_proposals(scp=False)
        association = self._associate(proposals, self._deadline(), alone=True)
        return f"contexts for {probe.accepted_storage(association)}; nothing was sent"

    def _deadline(self) -> float:
        return time.monotonic() + self._server.wall_clock

    def _checked(self, address: Address) -> DicomAddress:
        mine = self._address
        if not isinstance(address, DicomAddress) or (address.server, address.port, address.aet) != (
            mine.server,
            mine.port,
            mine.aet,
        ):
            raise SeriesportError("address-invalid", "the address is of another archive")
        return address

    def _associate(
        self, needed: Iterable[Proposal], deadline: float, *, alone: bool = False
    ) -> Association:
        """The association at hand where it proposed what is needed, or a new one.

        Unless they shall be `alone`, a new one proposes again what earlier series needed, as far
        as there is room, so that it fits the next series too.
        """
        wanted = dict.fromkeys(needed)
        held = self._association
        fits = held is not None and not alone and wanted.keys() <= set(held.proposals)
        if held is not None and fits and held.usable:
            held.deadline = deadline
            return held
        self.close()
        earlier = () if alone else self._proposed
        proposals = list(dict.fromkeys((*contexts.SERVICES, *wanted, *earlier)))
        del proposals[contexts.CONTEXTS_MAXIMUM :]
        if not alone:
            self._proposed = dict.fromkeys(proposals[len(contexts.SERVICES) :])
        self._association = Association.connect(
            self._server, self._address.aet, proposals, deadline
        )
        return self._association

    def _content(self, association: Association, study: Study) -> Content:
        """Return what the archive tells of a study's content; it is asked once."""
        if study.uid not in self._contents:
            self._contents[study.uid] = find_contents(association, study)
        return self._contents[study.uid]

    def _relabelled(self, retrieval: Retrieval, deadline: float) -> Iterator[Instance]:
        """Ask again for what came under a wrong transfer syntax, in each right one alone."""
        for proposal, uids in retrieval.relabelled():
            association = self._associate((proposal,), deadline, alone=True)
            if _serves(association, proposal):
                yield from retrieval.over(association, uids, last=True)
        yield from retrieval.mislabelled()

    def _rounds(self, series: SeriesReference, missing: list[Expected]) -> Iterator[contexts.Round]:
        content = self._contents.get(series.study_instance_uid, Content())
        reported = [e.sop_class_uid for e in missing if e.sop_class_uid]
        if missing and len(reported) == len(missing):
            known = likely = tuple(dict.fromkeys(reported))
        else:
            known = tuple(dict.fromkeys((*reported, *content.sop_classes)))
            usual = contexts.candidates(series.modality)
            likely = tuple(uid for uid in known if uid in usual) or known or usual
        syntaxes = dict.fromkeys(s for e in missing for s in e.transfer_syntax_uids)
        return contexts.rounds(likely, known, syntaxes)

    def _reference(self, place: DicomAddress, series: Series) -> SeriesReference:
        study = series.study
        return SeriesReference(
            address=replace(place, patient=study.patient_id, study=study.uid, series=series.uid),
            patient_id=study.patient_id,
            study_instance_uid=study.uid,
            series_instance_uid=series.uid,
            accession_number=study.accession_number,
            modality=series.modality,
            series_number=series.number,
            series_description=series.description,
            instances=series.instances,
        )


def _useful(
    some: contexts.Round,
    missing: Collection[str],
    classes: Mapping[str, str | None],
    refused: Collection[Proposal],
) -> list[Proposal]:
    """Return the proposals that were not refused before, of classes that are still missing."""
    wanted = {classes.get(uid) for uid in missing}
    anything = not missing or None in wanted
    return [
        proposal
        for proposal in some.proposals
        if proposal not in refused and (anything or proposal.abstract_syntax in wanted)
    ]


def _serves(association: Association, proposal: Proposal) -> bool:
    """Whether a storage context was accepted."""
    syntax = proposal.transfer_syntaxes[0]
    return association.context(proposal.abstract_syntax, syntax) is not None


def _order(series: Series) -> tuple[str, str, int, str]:
    number = series.number
    ordinal = int(number) if number.isascii() and number.isdigit() else 2**31
    return (series.study.patient_id, series.study.uid, ordinal, series.uid)
