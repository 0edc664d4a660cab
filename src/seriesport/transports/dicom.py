"""DICOM archives: C-FIND, C-GET and C-STORE behind the transport protocol."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.address import Address, DicomAddress
from seriesport.dimse import contexts
from seriesport.dimse.association import Association
from seriesport.dimse.echo import echo
from seriesport.dimse.query import Series, Study, find_instances, find_series, find_studies
from seriesport.dimse.retrieval import Retrieval
from seriesport.dimse.upload import Upload
from seriesport.errors import SeriesportError
from seriesport.transports.protocol import (
    Announce,
    Expected,
    Receipt,
    SeriesReference,
    Transport,
    unannounced,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.dimse.contexts import Proposal
    from seriesport.instance import Instance
    from seriesport.settings import Settings


class DicomTransport(Transport):
    """One archive, over one association at a time, which is kept from call to call.

    Queries use the Study Root model, or the Patient Root model where the archive has only that.
    The server's `timeout` bounds its silence and `wall_clock` each call, the retrieval of a
    series included, whatever the archive does.
    """

    def __init__(self, address: DicomAddress, settings: Settings) -> None:
        self._address = address
        self._server = settings.server(address)
        self._association: Association | None = None
        self._sop_classes: dict[str, tuple[str, ...]] = {}
        self._proposed: dict[Proposal, None] = {}

    def echo(self, address: Address) -> None:
        """See the protocol: a C-ECHO."""
        self._checked(address)
        echo(self._associate((), self._deadline()))

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol. Also identifier-wildcard, where an identifier cannot be sent."""
        place = self._checked(address)
        association = self._associate((), self._deadline())
        found: list[Series] = []
        for study in find_studies(association, place.patient, place.study):
            self._sop_classes[study.uid] = study.sop_classes
            found += find_series(association, study, place.series)
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
            detailed=not self._classes_of(association, study),
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
        served = False
        for i, some in enumerate(rounds):
            association = self._associate(some.proposals, deadline, alone=some.alone)
            if not any(_serves(association, proposal) for proposal in some.proposals):
                continue
            served = True
            yield from retrieval.over(association, last=i == len(rounds) - 1)
            if retrieval.done:
                break
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

    def _classes_of(self, association: Association, study: Study) -> tuple[str, ...]:
        """The SOP classes that the archive reports of a study; asked once."""
        if study.uid not in self._sop_classes:
            found = find_studies(association, "", study.uid)
            self._sop_classes[study.uid] = found[0].sop_classes if found else ()
        return self._sop_classes[study.uid]

    def _rounds(self, series: SeriesReference, missing: list[Expected]) -> Iterator[contexts.Round]:
        reported = [e.sop_class_uid for e in missing if e.sop_class_uid]
        if missing and len(reported) == len(missing):
            known = likely = tuple(dict.fromkeys(reported))
        else:
            known = tuple(
                dict.fromkeys((*reported, *self._sop_classes.get(series.study_instance_uid, ())))
            )
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


def _serves(association: Association, proposal: Proposal) -> bool:
    """Whether a storage context was accepted."""
    syntax = proposal.transfer_syntaxes[0]
    return association.context(proposal.abstract_syntax, syntax) is not None


def _order(series: Series) -> tuple[str, str, int, str]:
    number = series.number
    ordinal = int(number) if number.isascii() and number.isdigit() else 2**31
    return (series.study.patient_id, series.study.uid, ordinal, series.uid)
