"""Where the instances of a series go in a folder or ZIP that may hold some of them already."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.model.instance import Instance
from seriesport.model.series import Proof, ReceiptEntry
from seriesport.transports.listing import Listed, key_of, same_content

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from seriesport.transports.listing import Listing

PACKED = (
    ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tbz2", ".txz", ".gz", ".bz2",
    ".xz", ".zst", ".7z", ".rar", ".iso",
)  # fmt: skip
"""How names of packed files end that nothing here writes."""
_OF_FILES = (
    *PACKED, ".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".mha", ".mhd", ".npz", ".npy", ".mat",
    ".png", ".jpg", ".jpeg", ".tif", ".tiff",
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\/]")


def check_folder_name(name: str) -> None:
    """Check that the name of a folder that is to be made is not one that means a file.

    Raises:
        SeriesportError: address-invalid.
    """
    suffix = max((s for s in _OF_FILES if name.lower().endswith(s)), key=len, default="")
    if suffix:
        what = f"a folder's name does not end in {suffix}; give a folder, or a ZIP as in out.zip"
        raise SeriesportError("address-invalid", what)


@dataclass(slots=True)
class Placement:
    """What is to be done for each instance, in the order given."""

    entries: list[ReceiptEntry | None] = field(default_factory=list[ReceiptEntry | None])
    """What is settled already; None where the instance has to be written."""
    missing: list[tuple[int, str, Instance]] = field(
        default_factory=list[tuple[int, str, Instance]]
    )
    """Index in `entries`, name of the file or member, and the instance."""


def place(
    instances: Sequence[Instance], present: Iterable[Listed], taken: Collection[str]
) -> Placement:
    """Decide which instances are missing, and how their files or members are called.

    An instance gets the number of its place in the series, or the next free one; the same
    series gets the same names in a second attempt.

    Args:
        instances: The series.
        present: What the destination has.
        taken: Names that something has, DICOM or not.
    """
    known = {one.header.sop_instance_uid: one for one in present}
    ranks = {i.uid: n for n, i in enumerate(sorted(instances, key=lambda i: i.order), 1)}
    used = set(taken)
    placement = Placement()
    for index, instance in enumerate(instances):
        there = known.get(instance.uid)
        if there is not None:
            placement.entries.append(_present(instance, there))
            continue
        name = _free(ranks[instance.uid], len(instances), used)
        used.add(name)
        placement.entries.append(None)
        placement.missing.append((index, name, instance))
        known[instance.uid] = Listed(
            0, name, instance.header, instance.transfer_syntax_uid, instance.payload
        )
    return placement


def _present(instance: Instance, there: Listed) -> ReceiptEntry:
    if same_content(instance, there.instance):
        return ReceiptEntry(instance.uid, sent=False, proof=Proof.DIGEST)
    return ReceiptEntry(
        instance.uid,
        sent=False,
        proof=None,
        code="destination-conflict",
        detail="the destination has this instance with other bytes",
    )


def _free(rank: int, count: int, used: set[str]) -> str:
    number = rank
    while (name := f"{number:06d}.dcm") in used:
        number = max(number, count) + 1
    return name


def choose_folder(
    instances: Sequence[Instance], listing: Listing, names: Iterable[str], below: str = ""
) -> str:
    """The folder for a series without a name: one that holds the series, or the next free.

    Args:
        instances: The series.
        listing: What the destination has; names have their folder before the last `/`.
        names: Names that are taken, folders or what is in them.
        below: The folder that a new one goes into, with a `/` at its end.
    """
    for key in {key_of(instance.header) for instance in instances}:
        holding = [one.name.rpartition("/")[0] for one in listing.series.get(key, [])]
        if holding:
            return min(set(holding), key=lambda folder: (-holding.count(folder), folder))
    taken = {name.removeprefix(below).partition("/")[0] for name in names if name.startswith(below)}
    number = 1
    while f"series-{number:03d}" in taken:
        number += 1
    return f"{below}series-{number:03d}"


def check_name(name: str) -> None:
    """Refuse a folder name that is none.

    Raises:
        SeriesportError: address-invalid.
    """
    if not is_name(name):
        raise SeriesportError("address-invalid", "the series' name cannot be a folder's name")


def is_name(name: str) -> bool:
    """Return True for what may be the name of a series' folder."""
    short = len(name.encode("utf-8", "surrogateescape")) <= 255
    return short and name not in ("", ".", "..") and not _CONTROL.search(name)
