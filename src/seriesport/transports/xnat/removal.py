"""Removing from an XNAT what an upload wrote there: read back first, listed again afterwards."""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import read_path
from seriesport.errors import SeriesportError
from seriesport.http.answer import StatusError
from seriesport.model.instance import FileSlice
from seriesport.model.series import Removal
from seriesport.store.digest import digest_payload
from seriesport.transports.xnat.contents import Contents
from seriesport.transports.xnat.items import records
from seriesport.transports.xnat.locks import turn
from seriesport.transports.xnat.outgoing import label_of, stem_of
from seriesport.transports.xnat.places import check_place
from seriesport.transports.xnat.scans import holder, named

if TYPE_CHECKING:
    from seriesport.model.instance import Payload
    from seriesport.model.series import Written
    from seriesport.transports.xnat.address import XnatAddress
    from seriesport.transports.xnat.catalog import Catalog, Experiment, ResourceFile
    from seriesport.transports.xnat.items import Record


def remove_files(catalog: Catalog, address: XnatAddress, written: Written) -> Removal:
    """Remove the files of a scan's resource that have bytes which were written.

    Raises:
        SeriesportError: access-denied, where this user may not delete: it needs an owner's role;
            store-unverified, where the server lists what it said to have deleted.
    """
    check_place(address)
    experiment = catalog.find_experiment(address.project, address.subject, address.experiment)
    record = experiment and _scan(catalog, experiment, address, written)
    if not experiment or not record:
        return Removal(0, 0)
    label = address.resource or "DICOM"
    if written.resource is not None:
        label = label_of(written.resource, address, written.series)
    contents = Contents(catalog, experiment, record.id, label)
    server, deadline = catalog.session.server.url, catalog.deadline
    with turn(server, experiment.id, record.id, label, deadline=deadline):
        listed = contents.listed()
        if written.resource is not None:
            names = _names(written, stem_of(written.series, experiment, record))
            listed = {name: file for name, file in listed.items() if name in names}
        gone = [name for name, file in listed.items() if _has_bytes(contents, file, written)]
        for name in gone:
            _delete(catalog, listed[name].path(experiment.id))
        if gone and not set(gone).isdisjoint(contents.listed()):
            what = "the server lists files that it said to have deleted"
            raise SeriesportError("store-unverified", what)
    return Removal(len(gone), len(listed) - len(gone))


def _names(written: Written, stem: str) -> set[str]:
    """The names that plain files have at an XNAT; as `Outgoing` gives them."""
    if not written.resource:  # as they came
        return set(written.files)
    return {re.sub(f"^{re.escape(written.name)}", lambda _: stem, name) for name in written.files}


def _scan(
    catalog: Catalog, experiment: Experiment, address: XnatAddress, written: Written
) -> Record | None:
    scans = records(catalog, experiment)
    if address.scan:
        return named(scans, address.scan)
    return holder(catalog, experiment, scans, written.series.series_instance_uid)


def _has_bytes(contents: Contents, file: ResourceFile, written: Written) -> bool:
    with tempfile.NamedTemporaryFile() as copy:
        size = contents.download(file, copy, file.size or 0)
        payload: Payload = FileSlice(copy.name, 0, size)
        if written.resource is None:
            try:
                read = read_path(copy.name)
            except SeriesportError:
                return False
            if read is None:
                return False
            payload = FileSlice(copy.name, read[0].data_set_offset, read[0].size)
        return digest_payload(payload).sha256 in written.sha256


def _delete(catalog: Catalog, path: str) -> None:
    try:
        catalog.session.send("DELETE", path, deadline=catalog.deadline)
    except StatusError as error:
        if error.status == 403:
            what = "this user may not delete at the XNAT: it needs an owner's role"
            raise SeriesportError("access-denied", what) from None
        if error.status != 404:
            raise
