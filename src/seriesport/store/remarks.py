"""Remarks on a series that is complete and odd all the same, for its manifest and its ledger."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from seriesport.counts import part
from seriesport.dicom.whole import IMAGE_CLASSES
from seriesport.model.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from seriesport.model.instance import Header, Item

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")


def _uids(header: Header) -> tuple[str, ...]:
    return (
        header.sop_class_uid,
        header.sop_instance_uid,
        header.study_instance_uid,
        header.series_instance_uid,
    )


_BREACHES: dict[str, Callable[[Header], bool]] = {
    "a UID of more than 64 characters": lambda h: any(len(uid) > 64 for uid in _uids(h)),
    "a UID of other than digits and dots, or with zeros in front": lambda h: any(
        uid and _UID.fullmatch(uid) is None for uid in _uids(h)
    ),
    "a PatientID of more than 64 characters": lambda h: len(h.patient_id) > 64,
    "an AccessionNumber of more than 16 characters": lambda h: len(h.accession_number) > 16,
}
"""Breaches of the rules for values (PS3.5 section 6.2) that keep nobody from using them."""


def remarks(items: Sequence[Item], without_pixels: Collection[str]) -> Iterator[str]:
    """Give what is odd about the instances of a series, with counts and without identifiers.

    Args:
        items: Of one series.
        without_pixels: SOP Instance UIDs of those that hold no pixels.
    """
    headers = [item.header for item in items if isinstance(item, Instance)]
    bare = [header for header in headers if header.sop_instance_uid in without_pixels]
    if len(bare) < len(headers) or any(one.sop_class_uid in IMAGE_CLASSES for one in bare):
        yield from _counted("no pixels", len(bare), len(headers))
    for breach, occurs in _BREACHES.items():
        yield from _counted(breach, sum(map(occurs, headers)), len(headers))


def _counted(what: str, count: int, total: int) -> Iterator[str]:
    if count:
        yield f"{part(count, total, 'instance', 'has', 'have')} {what}"
