"""What transports move: encoded DICOM instances and plain files, where they lie, never decoded."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer

OPAQUE_UID = re.compile(r"[0-9A-Za-z._+:~-]{1,256}")
"""What is taken for a UID. Archives hold longer ones than the 64 characters of PS3.5 section 9.1,
and others than digits and dots; no pattern, separator or path gets through."""


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
class FileSlice:
    """A data set that lies unencoded in a file: all of it, or the part behind a header."""

    path: Path | str
    offset: int
    """Of the data set's first byte in the file."""
    size: int

    def open(self) -> BinaryIO:
        """Give a stream of the slice. It ends early where the file has become shorter."""
        return cast("BinaryIO", io.BufferedReader(_SliceReader(self), 65536))


class _SliceReader(io.RawIOBase):
    """The raw stream below `FileSlice.open`."""

    def __init__(self, part: FileSlice) -> None:
        self._fd = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
        self._start = part.offset
        self._size = part.size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        os.lseek(self._fd, self._start + self._at, os.SEEK_SET)  # some Macs have no preadv
        count = os.readv(self._fd, [view]) if len(view) else 0
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


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

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of instances in a series: instance number, then UID."""
        number = self.instance_number
        return (2**31 if number is None else number, self.sop_instance_uid)


@dataclass(frozen=True, slots=True)
class Instance:
    """One SOP instance: its header, its transfer syntax and its encoded data set."""

    header: Header
    transfer_syntax_uid: str
    payload: Payload
    location: Path | None = None
    """The file that holds it, where it is a file of its own that the receiver may take over."""
    name: str = ""
    """What the source lists it as, where that is not its SOP Instance UID."""

    @property
    def uid(self) -> str:
        """The SOP Instance UID."""
        return self.header.sop_instance_uid

    @property
    def listed(self) -> str:
        """What the source lists it as."""
        return self.name or self.uid

    @property
    def order(self) -> tuple[int, str]:
        """Sort key of instances in a series: instance number, then UID."""
        return self.header.order


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file that is no DICOM instance: a NIfTI, its sidecar, a picture."""

    name: str
    """Path below its resource or folder, parts joined by `/`. It may hold identifiers."""
    payload: Payload
    """The whole file."""
    location: Path | None = None
    """As in Instance."""

    @property
    def uid(self) -> str:
        """What tells it from the other files of its resource: its name."""
        return self.name

    @property
    def listed(self) -> str:
        """What the source lists it as: its name."""
        return self.name

    @property
    def order(self) -> tuple[int, str]:
        """Sort key: the name."""
        return (0, self.name)


Item = Instance | PlainFile
"""What a transport moves: all items of a series are of one kind."""
