"""XNAT behind the transport protocol."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.counts import counted
from seriesport.errors import SeriesportError
from seriesport.model.address import Address
from seriesport.model.series import (
    Announce,
    Expected,
    Receipt,
    Removal,
    SeriesReference,
    unannounced,
)
from seriesport.transports.contract import Check, Transport
from seriesport.transports.xnat.address import XnatAddress
from seriesport.transports.xnat.catalog import Catalog
from seriesport.transports.xnat.download import Downloads
from seriesport.transports.xnat.places import check_place
from seriesport.transports.xnat.removal import remove_files
from seriesport.transports.xnat.search import emptied, headers_of, resource_files, search
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.xnat.sharing import release_session, share_session
from seriesport.transports.xnat.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from seriesport.config.settings import Settings
    from seriesport.model.instance import Instance, Item, PlainFile
    from seriesport.model.series import Written
    from seriesport.transports.xnat.catalog import Experiment, ResourceFile
    from seriesport.transports.xnat.session import Session

_log = logging.getLogger("seriesport")


class XnatTransport(Transport):
    """One XNAT. All transports of a process share one session with it.

    A series is a scan's resource; its files are listed by name, with size and digest. The
    server's `timeout` bounds its silence and `wall_clock` each call, whatever the server does.
    """

    def __init__(self, address: XnatAddress, settings: Settings) -> None:
        self._address = address
        self._server = settings.server(address, XnatServer)
        self._shared: Session | None = None
        self._experiments: dict[tuple[str, str, str], Experiment] = {}
        self._files: dict[Address, list[ResourceFile]] = {}
        self._refreshed: set[tuple[str, str]] = set()
        self._stale: set[ResourceFile] = set()
        """Files whose digest is seen to be that of an earlier content."""

    def echo(self, address: Address) -> Iterator[Check]:
        """See the protocol: a log-in, and a look at the project."""
        project = self._checked(address).project
        first = Check.of("log-in", self._log_in)
        yield first
        if first.error is None:
            yield Check.of("project", lambda: self._look(project))

    def check_destination(self, address: Address) -> None:
        """See the protocol: a log-in, and a look at the project. Also what `check_place` raises."""
        place = self._checked(address)
        check_place(place)
        self._session.log_in()
        self._look(place.project)

    def find(self, address: Address) -> list[SeriesReference]:
        """See the protocol. Also what `search` raises."""
        return search(self._catalog(), self._checked(address))

    def expect(self, series: SeriesReference) -> dict[str, Expected]:
        """See the protocol. By the files' names."""
        files = self._listed(series)
        return {
            file.name: Expected(file.name, place=place, size=file.size, md5=file.md5)
            for place, file in enumerate(files, 1)
        }

    def uids(self, series: SeriesReference) -> set[str]:
        """See the protocol. Every file's beginning is read for it."""
        files = self._listed(series)
        if series.plain:
            return {file.name for file in files}
        catalog = self._catalog()
        experiment = self._experiment(catalog, self._checked(series.address))
        found = headers_of(catalog, experiment.id, files)
        return {header.sop_instance_uid for header in found if header is not None}

    def fetch(
        self,
        series: SeriesReference,
        expected: Mapping[str, Expected],
        have: Collection[str],
        spool: Path,
    ) -> Iterator[Item]:
        """See the protocol.

        Raises:
            SeriesportError: instance-truncated, where instances have no bytes, and what
                `Downloads.items` raises, after all that came was given.
        """
        files = self._files.get(series.address) or self._listed(series)
        missing = {
            place: file
            for place, file in enumerate(files, 1)
            if file.name in expected and file.name not in have
        }
        empty = set[str]() if series.plain else emptied(files)
        lost = [place for place, file in missing.items() if file.name in empty]
        missing = {place: file for place, file in missing.items() if place not in lost}
        catalog = self._catalog()
        experiment = self._experiment(catalog, self._checked(series.address))
        stale: set[ResourceFile] = set()
        downloads = Downloads(catalog.session, experiment.id, spool, catalog.deadline, stale)
        try:
            yield from downloads.items(missing, plain=series.plain)
        finally:
            self._stale |= stale
            if stale:
                _log.warning(
                    "out of date at the server: the digests of %s", counted(len(stale), "file")
                )
        if lost:
            shown = ", ".join(map(str, lost[:10])) + (" and more" if len(lost) > 10 else "")
            files = counted(len(lost), "file has", "files have")
            what = f"{files} no bytes at the server (in its listing: {shown})"
            raise SeriesportError("instance-truncated", what)

    def store(
        self,
        instances: Sequence[Instance],
        address: Address,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol. Also what `Upload.instances` raises."""
        del name
        place = self._checked(address)
        if not instances:
            return Receipt(())
        return Upload(self._session, place, announce).instances(instances)

    def store_files(
        self,
        files: Sequence[PlainFile],
        address: Address,
        resource: str,
        series: SeriesReference,
        name: str | None = None,
        announce: Announce = unannounced,
    ) -> Receipt:
        """See the protocol. Also what `Upload.files` raises."""
        place = self._checked(address)
        if not files:
            return Receipt(())
        upload = Upload(self._session, place, announce)
        return upload.files(files, resource, series, name or "")

    def remove(self, address: Address, written: Written) -> Removal:
        """See the protocol. The scan, its experiment and its subject stay. Also what
        `remove_files` raises.
        """
        return remove_files(self._catalog(), self._checked(address), written)

    def _log_in(self) -> str:
        if self._session.is_guest:
            return "as a guest, who may read what is public"
        self._session.log_in()
        return "with an account"

    def _look(self, project: str) -> str:
        count = len(self._catalog().subjects(project))
        return f"{count} {'subject' if count == 1 else 'subjects'}"

    def close(self) -> None:
        """See the protocol."""
        if self._shared is not None:
            release_session(self._shared)
            self._shared = None

    @property
    def _session(self) -> Session:
        if self._shared is None:
            self._shared = share_session(self._server)
        return self._shared

    def _catalog(self) -> Catalog:
        return Catalog(self._session, self._session.deadline())

    def _checked(self, address: Address) -> XnatAddress:
        mine = self._address
        if not isinstance(address, XnatAddress) or (address.server, address.port) != (
            mine.server,
            mine.port,
        ):
            raise SeriesportError("address-invalid", "the address is of another server")
        return address

    def _experiment(self, catalog: Catalog, place: XnatAddress) -> Experiment:
        key = (place.project, place.subject, place.experiment)
        if key not in self._experiments:
            self._experiments[key] = catalog.experiment(*key)
        return self._experiments[key]

    def _listed(self, series: SeriesReference) -> list[ResourceFile]:
        """The files of a series, with digests where the server has them or may make them."""
        place = self._checked(series.address)
        catalog = self._catalog()
        experiment = self._experiment(catalog, place)
        files = resource_files(catalog.files(experiment, place.scan), place.resource)
        scan = (experiment.id, place.scan)
        lacking = any(not file.md5 for file in files) and self._server.refresh_catalogs
        if lacking and scan not in self._refreshed:
            self._refreshed.add(scan)
            if catalog.compute_digests(experiment, place.scan):
                files = resource_files(catalog.files(experiment, place.scan), place.resource)
        files = [replace(file, md5="") if file in self._stale else file for file in files]
        self._files[series.address] = files
        return files
