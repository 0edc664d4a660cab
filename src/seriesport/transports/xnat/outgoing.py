"""A file on its way to an XNAT: its name and its bytes, digested while they pass."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from seriesport.dicom.part10 import encode_file_meta
from seriesport.errors import SeriesportError, unreadable
from seriesport.model.identifiers import is_uid
from seriesport.model.instance import Instance
from seriesport.store.digest import chunks
from seriesport.transports.xnat.address import XnatAddress

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from seriesport.model.instance import Item
    from seriesport.model.series import SeriesReference
    from seriesport.transports.xnat.catalog import Experiment
    from seriesport.transports.xnat.fields import Facts
    from seriesport.transports.xnat.items import Record

_HEAD = 65536
"""How much of a data set's beginning is kept to describe the series."""


def label_of(resource: str, address: XnatAddress, series: SeriesReference) -> str:
    """Return the resource that plain files of a series go to."""
    source = series.address.resource if isinstance(series.address, XnatAddress) else ""
    return resource or address.resource or source or "FILES"


def stem_of(series: SeriesReference, experiment: Experiment, record: Record) -> str:
    """Return how the names of files that were made of a series begin."""
    uid = series.series_instance_uid
    return uid if is_uid(uid) else f"{experiment.label or experiment.id}-{record.id}"


class Outgoing:
    """One item as the file that it is at an XNAT, a payload that `Session.send` takes.

    An instance is a DICOM file named by its SOP Instance UID; the same instance is always the
    same file, byte for byte. Of another file's name the `stem`, how it begins with us, is replaced
    by what it is at the XNAT.
    """

    def __init__(
        self, item: Item, facts: Facts | None = None, stem: tuple[str, str] | None = None
    ) -> None:
        self.item = item
        self.prefix = b""
        self.name = item.uid
        self.tail = ""
        """What follows the stem of a name that has one."""
        if stem is not None and item.uid.startswith(stem[0]):
            self.tail = item.uid.removeprefix(stem[0])
            self.name = stem[1] + self.tail
        self._facts = facts
        self._md5 = ""
        if isinstance(item, Instance):
            header = item.header
            self.name = f"{item.uid}.dcm"
            self.prefix = encode_file_meta(header.sop_class_uid, item.uid, item.transfer_syntax_uid)

    @property
    def size(self) -> int:
        """Of the file in bytes."""
        return len(self.prefix) + self.item.payload.size

    @property
    def md5(self) -> str:
        """Of the file, in hexadecimal. Read now, unless all of it has passed before.

        Raises:
            SeriesportError: file-unreadable, source-changed.
        """
        if not self._md5:
            for _ in chunks(self):
                pass
        return self._md5

    def open(self) -> BinaryIO:
        """See Payload. It ends with source-changed where the source is shorter or longer."""
        return cast("BinaryIO", io.BufferedReader(_Passing(self), 1 << 18))

    def passed(self, md5: str, head: bytes) -> None:
        """Take note of what has passed as a whole."""
        self._md5 = md5
        if self._facts is not None and isinstance(self.item, Instance):
            size = self.item.payload.size
            self._facts.note(self.item.uid, head, size, self.item.transfer_syntax_uid)


class _Passing(io.RawIOBase):
    """The raw stream below `Outgoing.open`."""

    def __init__(self, file: Outgoing) -> None:
        self._file = file
        self._prefix = memoryview(file.prefix)
        self._source = file.item.payload.open()
        self._left = file.item.payload.size
        self._digest = hashlib.md5(usedforsecurity=False)
        self._head = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._next(len(view))
        view[: len(piece)] = piece
        self._digest.update(piece)
        if not piece or (not self._left and not self._prefix):
            self._file.passed(self._digest.hexdigest(), bytes(self._head))
        return len(piece)

    def _next(self, most: int) -> bytes | memoryview:
        if self._prefix:
            piece, self._prefix = self._prefix[:most], self._prefix[most:]
            return piece
        if not self._left:
            return b""
        try:
            data = self._source.read(min(most, self._left))
            self._left -= len(data)
            if not data or (not self._left and self._source.read(1)):
                raise SeriesportError("source-changed", "a data set changed its length")
        except OSError as error:
            raise unreadable(error, "a data set") from error
        if len(self._head) < _HEAD:
            self._head += data[: _HEAD - len(self._head)]
        return data

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):
                self._source.close()
        super().close()
