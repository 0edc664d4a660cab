"""Settings of a DICOM archive: how to reach it, and what it can bear."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from seriesport.config.keys import Key
from seriesport.config.settings import Server
from seriesport.errors import SeriesportError
from seriesport.model.identifiers import NO_AET, is_aet

if TYPE_CHECKING:
    from seriesport.model.address import ServerAddress

_CALLING_AET = "SERIESPORT_CALLING_AET"


def default_calling_aet() -> str:
    """Return the calling AE title where neither config.yaml nor an address has one.

    Raises:
        SeriesportError: config-invalid, where the environment has something that is none.
    """
    title = os.environ.get(_CALLING_AET, "SERIESPORT")
    if not is_aet(title):
        raise SeriesportError("config-invalid", f"the environment's {_CALLING_AET}: {NO_AET}")
    return title


@dataclass(frozen=True, slots=True)
class DicomServer(Server):
    """One DICOM archive."""

    scheme: ClassVar[str] = "dicom"

    host: Annotated[
        str,
        Key(
            "Host name or IP address.",
            "pacs.hospital.example",
            {
                "pattern": "^[A-Za-z0-9:]([A-Za-z0-9._:-]*[A-Za-z0-9:])?$",
                "x-expected": "a host name or an IP address, without scheme, port or user name",
            },
        ),
    ]
    port: Annotated[
        int,
        Key(
            "TCP port; often 104, 11112 or 4242, and 2762 with TLS.",
            11112,
            {"minimum": 1, "maximum": 65535},
        ),
    ]
    calling_aet: Annotated[
        str,
        Key(
            "The AE title that Seriesport calls itself by. The archive must know it. Without it,"
            " the environment variable SERIESPORT_CALLING_AET is asked first.",
            "RESEARCH1",
            {
                "pattern": r"^(?=.*[^ ])[ -\[\]-~]{1,16}$",
                "x-expected": "at most 16 ASCII characters, without a backslash",
                "default": "SERIESPORT",
            },
        ),
    ] = field(default_factory=default_calling_aet)
    associations: Annotated[
        int,
        Key(
            "The most associations with an archive at one time, over all jobs of a run together.",
            2,
            {"minimum": 1, "maximum": 64},
        ),
    ] = 4

    @classmethod
    def unnamed(cls, address: ServerAddress) -> Self | None:
        """See Server. The address may carry the calling AE title."""
        if address.port is None:
            return None
        calling = getattr(address, "calling", "") or default_calling_aet()
        return cls(address.authority, address.server, address.port, calling_aet=calling)

    def moved(self, place: str) -> Self:
        """See Server."""
        host, _, port = place.rpartition(":")
        if not host or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            raise ValueError("is not host:port")
        return replace(self, host=host.strip("[]"), port=int(port), configured=self.place)

    @property
    def at_once(self) -> int:
        """The associations."""
        return self.associations

    def within(self, most: int) -> Self:
        """See Server."""
        return replace(self, associations=min(self.associations, most))

    @property
    def _here(self) -> str:
        return f"{self.host}:{self.port}"
