"""Storing at an XNAT: the experiment and the scan are found or made, and a resource is filled."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.model.series import Receipt, unannounced
from seriesport.transports.xnat.catalog import Catalog
from seriesport.transports.xnat.contents import Contents
from seriesport.transports.xnat.fields import (
    Facts,
    fields_of,
    identifying_fields,
    scan_types,
    session_fields,
    session_types,
)
from seriesport.transports.xnat.filling import Filling
from seriesport.transports.xnat.items import record_of, records
from seriesport.transports.xnat.locks import turn
from seriesport.transports.xnat.outgoing import Outgoing, label_of, stem_of
from seriesport.transports.xnat.places import check_place, experiment_of
from seriesport.transports.xnat.scans import Wanted, check_distinct, fill, named, scan_at, scan_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seriesport.model.instance import Instance, PlainFile
    from seriesport.model.series import Announce, ReceiptEntry, SeriesReference
    from seriesport.transports.xnat.address import XnatAddress
    from seriesport.transports.xnat.catalog import Experiment
    from seriesport.transports.xnat.items import Record
    from seriesport.transports.xnat.session import Session

_log = logging.getLogger("seriesport")
_WORDS = {
    "DICOM": {"format": "DICOM", "content": "RAW"},
    "NIFTI": {"format": "NIFTI", "content": "NIFTI_RAW"},
    "BIDS": {"format": "JSON", "content": "BIDS"},
    "SNAPSHOTS": {"format": "GIF", "content": "SNAPSHOTS"},
}
"""Format and content that XNAT's own tools give to resources."""


class Upload:
    """One upload to an XNAT. Everything is asked anew: it may be repeated at any time."""

    def __init__(
        self, session: Session, address: XnatAddress, announce: Announce = unannounced
    ) -> None:
        check_place(address)
        self._announce = announce
        self._catalog = Catalog(session, session.deadline())
        self._address = address

    def instances(self, instances: Sequence[Instance]) -> Receipt:
        """Store the instances of one series in the scan that holds it, or in a new one.

        Raises:
            SeriesportError: address-invalid, instance-foreign where they are of several series,
                and see `experiment_of`, `scan_at`, `scan_for` and `Filling`.
        """
        header = instances[0].header
        if len({i.header.series_instance_uid for i in instances}) > 1:
            raise SeriesportError("instance-foreign", "the instances are of more than one series")
        if not header.series_instance_uid:
            raise SeriesportError("instance-invalid", "the instances have no Series Instance UID")
        wanted = Wanted(
            header.series_instance_uid,
            header.series_number,
            header.modality,
            scan_types(header.sop_class_uid, header.modality),
            identifying_fields(
                header.series_instance_uid, header.series_description, header.modality
            ),
        )
        experiment = experiment_of(
            self._catalog,
            self._address,
            session_types(header.sop_class_uid, header.modality),
            partial(session_fields, instances[0]),
        )
        record = self._scan(experiment, wanted)
        label = self._address.resource or "DICOM"
        facts = Facts()
        files = _unique([Outgoing(instance, facts) for instance in instances])
        entries = self._fill(experiment, record, label, files)
        self._describe(experiment, record, wanted, facts, entries)
        return Receipt(tuple(replace(entries[i.uid], uid=i.uid) for i in instances))

    def files(
        self, files: Sequence[PlainFile], resource: str, series: SeriesReference, name: str = ""
    ) -> Receipt:
        """Store plain files in a resource of the scan that holds a series, or of a new one.

        Names that begin with `name` begin with the series' UID there, or with the labels of
        experiment and scan where it has none.

        Raises:
            SeriesportError: address-invalid, where neither the address names a scan nor the
                series is known, and see `experiment_of`, `scan_at`, `scan_for` and `Filling`.
        """
        label = label_of(resource, self._address, series)
        if not series.series_instance_uid and not self._address.scan:
            what = "plain files need the scan: xnat://server/project/subject/experiment/scan"
            raise SeriesportError("address-invalid", what)
        fields = fields_of(series)
        experiment = experiment_of(
            self._catalog, self._address, session_types("", series.modality), dict
        )
        wanted = Wanted(
            series.series_instance_uid,
            series.series_number,
            series.modality,
            scan_types("", series.modality),
            fields,
        )
        record = self._scan(experiment, wanted)
        stem = stem_of(series, experiment, record)
        outgoing = [Outgoing(file, stem=(name, stem) if name else None) for file in files]
        entries = self._fill(experiment, record, label, _unique(outgoing))
        return Receipt(tuple(entries[file.item.uid] for file in outgoing))

    def _scan(self, experiment: Experiment, wanted: Wanted) -> Record:
        """Only one upload at a time chooses a scan of an experiment."""
        server = self._catalog.session.server.url
        with turn(server, experiment.id, deadline=self._catalog.deadline):
            if not self._address.scan:
                return scan_for(self._catalog, experiment, wanted)
            if not wanted.series_uid:
                scans = records(self._catalog, experiment)
                found = named(scans, self._address.scan)
                if found is not None:
                    check_distinct(scans, found.id)
                    return found
            return scan_at(self._catalog, experiment, self._address.scan, wanted)

    def _fill(
        self, experiment: Experiment, record: Record, label: str, files: Sequence[Outgoing]
    ) -> Mapping[str, ReceiptEntry]:
        contents = Contents(self._catalog, experiment, record.id, label)
        filling = Filling(contents, _WORDS.get(label.upper(), {}), self._announce)
        server = self._catalog.session.server.url
        deadline = self._catalog.deadline
        with turn(server, experiment.id, record.id, label, deadline=deadline):
            entries = filling.run(files, exists=label in record.resources)
        return {entry.uid: entry for entry in entries}

    def _describe(
        self,
        experiment: Experiment,
        record: Record,
        wanted: Wanted,
        facts: Facts,
        entries: Mapping[str, ReceiptEntry],
    ) -> None:
        """Fill in what the headers say, and see that the scan still is the series' own.

        Raises:
            SeriesportError: store-unverified, where another upload took the scan meanwhile.
        """
        if record.fields.get("frames") and not any(entry.sent for entry in entries.values()):
            return
        now = record_of(self._catalog, experiment, record.id)
        if now is None or now.uid != wanted.series_uid:
            what = "another upload took the scan for its series at the same time"
            raise SeriesportError("store-unverified", what)
        if all(entry.arrived for entry in entries.values()):
            fill(self._catalog, experiment, now, facts.fields(now.xsi_type))


def _unique(files: Sequence[Outgoing]) -> list[Outgoing]:
    """The files, of those under one name the first.

    Raises:
        SeriesportError: instance-conflict, where one name has two contents.
    """
    found: dict[str, Outgoing] = {}
    for file in files:
        first = found.setdefault(file.name, file)
        if first is not file and first.md5 != file.md5:
            raise SeriesportError("instance-conflict", "one name has two different contents")
    return list(found.values())
