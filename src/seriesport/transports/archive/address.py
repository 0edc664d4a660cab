"""Addresses in a DICOM archive: `dicom://host:port/AET/patient/study/series`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from seriesport.model.address import ServerAddress, decode, invalid, quote_part, split_server
from seriesport.model.identifiers import NO_AET, Identifiers, UnfitError, is_aet, is_uid
from seriesport.model.instance import OPAQUE_UID

_CALLING = "calling="
_PARTS = ("AE title", "patient", "study", "series")


@dataclass(frozen=True, slots=True)
class DicomAddress(ServerAddress):
    """A DICOM archive, or a patient, study or series in it. Parts are empty for any."""

    scheme: ClassVar[str] = "dicom"
    lists_only: ClassVar[bool] = True
    advice: ClassVar[str] = "add the series number or UID to the address"

    aet: str
    """Called AE title."""
    patient: str = ""
    study: str = ""
    """Study Instance UID or accession number."""
    series: str = ""
    """Series Instance UID or series number."""
    calling: str = ""
    """Calling AE title, with a host and port; empty for the usual one."""

    @property
    def url(self) -> str:
        """See Address."""
        calling = f"?{_CALLING}{quote_part(self.calling)}" if self.calling else ""
        return self.join(self.aet, self.patient, self.study, self.series) + calling

    @property
    def root(self) -> DicomAddress:
        """See Address: the archive."""
        return self.narrowed()

    @property
    def identity(self) -> str:
        """See Address: the calling AE title is left out."""
        return replace(self, calling="").url

    @property
    def is_unbounded(self) -> bool:
        """See Address."""
        return not (self.patient or self.study)

    @property
    def destination_problem(self) -> str:
        """See Address."""
        if self.is_unbounded:
            return ""
        return "a destination ends with the AE title; the images carry their own identifiers"

    @property
    def whole_study(self) -> DicomAddress | None:
        """See Address."""
        return replace(self, series="") if self.series else None

    def narrowed(self, *, patient: str = "", study: str = "", series: str = "") -> DicomAddress:
        """See Address."""
        return replace(self, patient=patient, study=study, series=series)

    def with_identifiers(self, given: Identifiers) -> tuple[DicomAddress, Identifiers]:
        """See Address."""
        for key in ("study", "series"):
            text = getattr(given, key)
            if text and not _may_be_uid(text):
                problem = f"{key} is no DICOM UID (three numbers or more, with dots between)"
                raise UnfitError(key, problem)
        if given.accession and is_uid(given.accession):
            problem = "accession has the form of a UID; if it is the study's, write study:"
            raise UnfitError("accession", problem)
        merged = given if self.is_unbounded else _merge(_carried(self), given)
        study = merged.study or merged.accession
        series = merged.series or merged.series_number
        if series and not study:
            key = "series" if merged.series else "series_number"
            problem = f"{key} needs its study, or its accession number, beside it"
            raise UnfitError(key, problem)
        return self.narrowed(patient=merged.patient, study=study, series=series), merged


def _may_be_uid(text: str) -> bool:
    """Return True for a UID, also for one that breaks rules which archives do not keep."""
    return OPAQUE_UID.fullmatch(text) is not None and text.count(".") > 1


def _carried(address: DicomAddress) -> Identifiers:
    by_uid, series_by_uid = is_uid(address.study), is_uid(address.series)
    return Identifiers(
        patient=address.patient,
        study=address.study if by_uid else "",
        accession="" if by_uid else address.study,
        series=address.series if series_by_uid else "",
        series_number="" if series_by_uid else address.series,
    )


def _merge(carried: Identifiers, given: Identifiers) -> Identifiers:
    merged = carried
    for key in ("patient", "study", "accession", "series", "series_number"):
        here, there = getattr(given, key), getattr(carried, key)
        if here and there and here != there:
            problem = f"{key} is another one than in the source's address; name it once"
            raise UnfitError(key, problem)
        if here:
            merged = merged._replace(**{key: here})
    for one, other in (("study", "accession"), ("series", "series_number")):
        if getattr(merged, one) and getattr(merged, other):
            key = one if getattr(given, one) else other
            problem = f"the source's address names the {one} already, in another way; name it once"
            raise UnfitError(key, problem)
    return merged


def parse(rest: str, at: int) -> DicomAddress:
    """Read what follows `dicom://` in an address, where it begins at a position."""
    rest, calling = _split_calling(rest, at)
    server, port, parts = split_server(rest, at, _PARTS)
    aet, patient, study, series = parts[0].strip(" "), *parts[1:]
    here = at + min(len(rest.partition("/")[0]) + 1, len(rest))
    if not aet:
        raise invalid(
            "the called AE title is missing: dicom://host:port/AET/patient/study/series", here
        )
    if not is_aet(aet):
        raise invalid(NO_AET, here)
    if calling and port is None:
        raise invalid(
            "?calling= goes with host:port; a server of config.yaml has its calling_aet there",
            at + len(rest),
        )
    if series and not study:
        start = len(rest.rstrip("/").rpartition("/")[0]) + 1
        raise invalid("a series needs its study before it", at + start)
    return DicomAddress(server, port, aet, patient, study, series, calling)


def _split_calling(rest: str, at: int) -> tuple[str, str]:
    """Split off `?calling=AET`; any other '?' belongs to a part, which refuses it."""
    place, mark, title = rest.partition(f"?{_CALLING}")
    if not mark:
        return rest, ""
    start = at + len(place) + len(mark)
    calling = decode(title, "calling AE title", start).strip(" ")
    if not is_aet(calling):
        raise invalid(NO_AET, start)
    return place, calling
