"""Which presentation contexts to propose: SOP classes, transfer syntaxes, and in which order.

One context per SOP class and transfer syntax: with several in one context an archive chooses
among them, and some then transcode what they could have sent as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

CONTEXTS_MAXIMUM = 128
"""Presentation context IDs are the odd numbers of a byte (PS3.8 section 9.3.2.2)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp: bool = False
    """Whether we take the SCP's role too, to be stored to within a C-GET (PS3.7 annex D.3.3.4)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One presentation context that the peer accepted."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """What came of a negotiation."""

    contexts: Mapping[int, Accepted]
    roles: frozenset[str]
    """SOP classes that the peer agreed to store to us."""
    send_maximum: int
    """Longest P-DATA-TF to send, in bytes of its length field."""


VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
FIND_MODELS = (STUDY_ROOT_FIND, PATIENT_ROOT_FIND)
"""Best first."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IDENTIFIER_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

SERVICES = tuple(
    Proposal(uid, IDENTIFIER_SYNTAXES)
    for uid in (VERIFICATION, STUDY_ROOT_FIND, STUDY_ROOT_GET, PATIENT_ROOT_FIND, PATIENT_ROOT_GET)
)
"""What is proposed in every association, beside the storage classes."""
STORAGE_MAXIMUM = CONTEXTS_MAXIMUM - len(SERVICES)
"""How many storage contexts an association has room for."""

_UNCOMPRESSED = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
)
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
_RARE_PRIVATE = ("1.2.840.113619.5.2",)  # GE, implicit VR with big endian pixels
_NOT_STORED = (
    "1.2.840.10008.1.2.4.94",  # JPIP references point at a server
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.2.6.",  # MIME and XML, retired
    "1.2.840.10008.1.2.7.",  # SMPTE streams
)

_IMAGE = "1.2.840.10008.5.1.4.1.1."
_BY_MODALITY: dict[str, tuple[str, ...]] = {
    "CT": ("2", "2.1", "2.2"),
    "MR": ("4", "4.1", "4.3", "4.4", "4.2"),
    "PT": ("128", "130", "128.1"),
    "NM": ("20",),
    "US": ("6.1", "3.1", "6.2", "6", "3"),
    "IVUS": ("3.1", "6.1"),
    "CR": ("1", "1.1"),
    "DX": ("1.1", "1.1.1", "1"),
    "MG": ("1.2", "1.2.1", "13.1.3", "1.1"),
    "IO": ("1.3", "1.3.1"),
    "PX": ("1.1", "1"),
    "XA": ("12.1", "12.1.1", "13.1.1"),
    "RF": ("12.2", "12.2.1"),
    "RTIMAGE": ("481.1",),
    "RTDOSE": ("481.2",),
    "RTSTRUCT": ("481.3",),
    "RTPLAN": ("481.5", "481.8"),
    "RTRECORD": ("481.4", "481.6", "481.7", "481.9"),
    "SEG": ("66.4", "66.7", "66.5"),
    "REG": ("66.1", "66.3"),
    "SR": ("88.33", "88.22", "88.11", "88.34", "88.67", "88.35"),
    "KO": ("88.59",),
    "PR": ("11.1", "11.2", "11.3", "11.4", "11.5", "11.8"),
    "DOC": ("104.1", "104.2"),
    "M3D": ("104.3", "104.4", "104.5"),
    "OT": ("7", "7.2", "7.4", "7.3", "7.1"),
    "SC": ("7", "7.2", "7.4", "7.3", "7.1"),
    "GM": ("77.1.2", "77.1.2.1"),
    "SM": ("77.1.6", "77.1.2"),
    "ES": ("77.1.1", "77.1.1.1"),
    "XC": ("77.1.4", "77.1.4.1"),
    "OP": ("77.1.5.1", "77.1.5.2", "77.1.5.4"),
    "OPT": ("77.1.5.4",),
    "ECG": ("9.1.1", "9.1.2", "9.1.3"),
    "FID": ("66.2",),
    "RWV": ("67",),
}
_ALSO = ("7", "66")
"""What any modality may hold beside its own: secondary captures and raw data."""
_WITHOUT_PIXELS = ("88.", "11.", "481.3", "481.5", "481.8", "66.1", "66.3", "104.", "67", "9.")


def candidates(modality: str) -> tuple[str, ...]:
    """The storage SOP classes that a modality's series usually has; empty where it is unknown."""
    own = _BY_MODALITY.get(modality.strip().upper(), ())
    return tuple(_IMAGE + tail for tail in dict.fromkeys((*own, *_ALSO))) if own else ()


def storage_classes() -> tuple[str, ...]:
    """All storage SOP classes of pydicom's dictionary, retired ones last."""
    rows = [
        (bool(retired), uid)
        for uid, name, kind, retired in _dictionary()
        if kind == "SOP Class" and "Storage" in name and "Storage Commitment" not in name
    ]
    return tuple(uid for _, uid in sorted(rows, key=lambda row: row[0]))


def common_syntaxes(sop_class_uid: str) -> tuple[str, ...]:
    """The transfer syntaxes to propose first for a class."""
    tail = sop_class_uid.removeprefix(_IMAGE)
    if tail != sop_class_uid and tail.startswith(_WITHOUT_PIXELS):
        return _UNCOMPRESSED
    return _UNCOMPRESSED + COMPRESSED


def rare_syntaxes(sop_class_uid: str) -> tuple[str, ...]:
    """All other transfer syntaxes of pydicom's dictionary that a stored instance may have."""
    known = [
        uid
        for uid, _, kind, _ in _dictionary()
        if kind == "Transfer Syntax" and not uid.startswith(_NOT_STORED)
    ]
    first = common_syntaxes(sop_class_uid)
    return tuple(uid for uid in (*COMPRESSED, *known, *_RARE_PRIVATE) if uid not in first)


def _dictionary() -> Iterator[tuple[str, str, str, str]]:
    from pydicom._uid_dict import (  # noqa: PLC0415 - pydicom takes 0.4 s
        UID_dictionary,  # pyright: ignore[reportPrivateUsage] - there is no public one
    )

    for uid, (name, kind, _, retired, _) in UID_dictionary.items():
        yield uid, name, kind, retired


def storage(pairs: Iterable[tuple[str, str]], *, scp: bool) -> list[Proposal]:
    """A context for each pair of SOP class and transfer syntax, without repeats."""
    return [Proposal(uid, (syntax,), scp) for uid, syntax in dict.fromkeys(pairs)]


@dataclass(frozen=True, slots=True)
class Round:
    """What to propose in one association, beside the services."""

    proposals: tuple[Proposal, ...]
    alone: bool
    """Whether contexts of other rounds would do harm."""


def rounds(
    likely: Collection[str], known: Collection[str], syntaxes: Collection[str]
) -> Iterator[Round]:
    """What to propose in one association after the other until nothing is missing any more.

    First the `likely` SOP classes, then the others that the archive reports (`known`), with the
    reported `syntaxes` and the common ones. Then again without the uncompressed ones: an archive
    that cannot decompress may choose one of those all the same, and fail (dcmqrscp does). Then
    rare ones, then each compressed one alone. Where the archive reports no classes, every storage
    class there is comes last. No round has more than STORAGE_MAXIMUM proposals, and none of the
    first two comes twice.
    """
    usual = tuple(dict.fromkeys((*likely, *known)))
    reported = tuple(syntaxes)
    first = [(uid, s) for uid in likely for s in (*reported, *common_syntaxes(uid))]
    yield from _rounds(first)
    others = [(uid, s) for uid in known for s in (*reported, *common_syntaxes(uid))]
    yield from _rounds([pair for pair in others if pair not in set(first)])
    imaging = [uid for uid in usual if common_syntaxes(uid) != _UNCOMPRESSED]
    yield from _rounds([(uid, s) for uid in imaging for s in COMPRESSED], alone=True)
    yield from _rounds([(uid, s) for uid in usual for s in rare_syntaxes(uid)], alone=True)
    for syntax in COMPRESSED:
        yield from _rounds([(uid, syntax) for uid in imaging], alone=True)
    if not known:
        everything = storage_classes()
        for some in (_UNCOMPRESSED[:2], _UNCOMPRESSED[2:] + COMPRESSED):
            yield from _rounds([(uid, s) for uid in everything for s in some], alone=True)


def _rounds(pairs: Iterable[tuple[str, str]], *, alone: bool = False) -> Iterator[Round]:
    proposals = storage(pairs, scp=True)
    for start in range(0, len(proposals), STORAGE_MAXIMUM):
        yield Round(tuple(proposals[start : start + STORAGE_MAXIMUM]), alone)
