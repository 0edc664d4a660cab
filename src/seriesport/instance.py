"""Instance: one encoded DICOM data set, where it lies, and what identifies it. Never decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Payload(Protocol):
    """Where the bytes of an encoded data set lie; opened only while they are moved."""

    @property
    def size(self) -> int:
        """Length of the data set in bytes, without file meta information."""
        ...

    def open(self) -> BinaryIO:
        """Give a stream of exactly `size` bytes; the caller closes it."""
        ...


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes of an instance that identify and list it, as text without padding (PS3.6)."""

    sop_class_uid: str
    sop_instance_uid: str
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    accession_number: str = ""
    modality: str = ""
    series_number: str = ""
    series_description: str = ""
    instance_number: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance: its header, its transfer syntax and its encoded data set."""

    header: Header
    transfer_syntax_uid: str
    payload: Payload
    location: Path | None = None
    """The file that holds it, where it is a file of its own that the receiver may take over."""

    @property
    def uid(self) -> str:
        """The SOP Instance UID."""
        return self.header.sop_instance_uid

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of instances in a series: instance number, then UID."""
        number = self.header.instance_number
        return (2**31 if number is None else number, self.uid)
