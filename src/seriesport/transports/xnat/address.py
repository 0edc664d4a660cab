"""Addresses on an XNAT: `xnat://server/project/subject/experiment/scan/resource`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from seriesport.model.address import Address, ServerAddress, invalid, split_server
from seriesport.model.identifiers import UnfitError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from seriesport.model.identifiers import Identifiers

_PARTS = ("project", "subject", "experiment", "scan", "resource")


@dataclass(frozen=True, slots=True)
class XnatAddress(ServerAddress):
    """An XNAT project, or what is below it. Parts that are empty stand for all."""

    scheme: ClassVar[str] = "xnat"
    takes_files: ClassVar[bool] = True
    has_scans: ClassVar[bool] = True
    advice: ClassVar[str] = "add the scan to the address"

    project: str
    subject: str = ""
    experiment: str = ""
    scan: str = ""
    resource: str = ""

    @property
    def url(self) -> str:
        """See Address."""
        return self.join(self.project, self.subject, self.experiment, self.scan, self.resource)

    @property
    def root(self) -> XnatAddress:
        """See Address: the project."""
        return XnatAddress(self.server, self.port, self.project)

    @property
    def destination_problem(self) -> str:
        """See Address."""
        if self.experiment:
            return ""
        return "an xnat:// destination names project, subject and experiment, and a scan or none"

    @property
    def counterpart(self) -> Hashable:
        """See Address: labels are the same in a copy of a project."""
        return self.experiment, self.scan, self.resource

    @property
    def columns(self) -> Mapping[str, str]:
        """See Address."""
        return {name: getattr(self, name) for name in _PARTS[1:]}

    def with_identifiers(self, given: Identifiers) -> tuple[Address, Identifiers]:
        """See Address."""
        for key, value in zip(given._fields, given, strict=True):
            if value and key != "series_number":
                text = "an xnat:// source names subject, experiment and scan in its address"
                raise UnfitError(key, f"{key} does not go here: {text}")
        return self, given


def parse(rest: str, at: int) -> XnatAddress:
    """Read what follows `xnat://` in an address, where it begins at a position."""
    server, port, parts = split_server(rest, at, _PARTS)
    given = [i for i, part in enumerate(parts) if part]
    if not given:
        raise invalid("the project is missing: xnat://server/project/subject/experiment/scan", at)
    for i in range(given[-1]):
        if not parts[i]:
            raise invalid(f"the {_PARTS[i]} is empty", at)
    return XnatAddress(server, port, *parts)
