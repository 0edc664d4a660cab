"""The instances or files of one series, read where they lie.

Instances of a ZIP or a bundle are read where they are. Files are made in a temporary folder only
for what pydicom has to read, such as compressed pixels.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.dicom.elements import Syntax
from seriesport.dicom.part10 import encode_file_meta
from seriesport.dicom.whole import check_elements
from seriesport.errors import SeriesportError, unreadable, unwritable
from seriesport.formats.source import inflate
from seriesport.images.encoded import explicit_of
from seriesport.images.frames import Frame, frames_of, quiet, readable_header, require_images
from seriesport.images.headers import Header, header_of
from seriesport.images.records import Records
from seriesport.model.instance import FileSlice
from seriesport.store.digest import chunks
from seriesport.store.files import copy_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.instance import Instance, Payload

_log = logging.getLogger("seriesport")


@dataclass(slots=True)
class SeriesFiles:
    """The instances or files of one series, there as long as the context lasts."""

    files: Sequence[Path] = ()
    """Files of a format other than DICOM."""
    instances: Sequence[Instance] = ()
    """DICOM instances."""
    room: Path = Path()
    """A folder for temporary files."""
    checked: bool = False
    """True where each instance is known to be whole."""
    _made: dict[int, Path] = field(default_factory=dict[int, Path])

    @property
    def dicom(self) -> bool:
        """True for DICOM."""
        return bool(self.instances)

    def file(self, number: int) -> Path:
        """Return a file that pydicom can read, with the instance at a place from 1.

        Raises:
            SeriesportError: file-unwritable, file-unreadable, source-changed.
        """
        if number not in self._made:
            self._made[number] = self._file(number)
        return self._made[number]

    def scan(self, *, files: bool = False) -> tuple[list[Frame], Records]:
        """Return the frames and headers of all instances, each read once and found whole.

        Args:
            files: True where pydicom has to read each frame's file.

        Raises:
            SeriesportError: as `images.frames.read_frames`; instance-truncated,
                instance-invalid where an instance is not whole.
        """
        frames: list[Frame] = []
        records = Records()
        headers_alone: list[int] = []
        with quiet():
            for number, instance in enumerate(self.instances, 1):
                with readable_header(number):
                    quick = _quick(instance)
                    if self._check(number, instance, quick) is None:
                        headers_alone.append(number)
                    frames += self._scan(number, quick, records, files=files)
        if frames and headers_alone:
            raise _cut(headers_alone[0])
        total = len(self.instances)
        passed_over = total - len({frame.instance for frame in frames})
        if 0 < passed_over < total:
            _log.info("passed over %d of %d instances, without pixels", passed_over, total)
        return require_images(frames, total), records

    def check(self) -> None:
        """Refuse instances that are not whole. Raises SeriesportError: as `scan`."""
        for number, instance in enumerate(self.instances, 1):
            if self._check(number, instance, _quick(instance)) is None:
                raise _cut(number)

    def _scan(
        self, number: int, quick: Header | None, records: Records, *, files: bool
    ) -> list[Frame]:
        instance = self.instances[number - 1]
        found = frames_of(quick, lambda: self.file(number), number)
        if files:
            found = [replace(frame, path=self.file(number)) for frame in found]
        encoded = None if quick is None or not found else explicit_of(quick)
        if encoded is not None:
            records.add(number, encoded, instance.transfer_syntax_uid)
        elif found:
            records.read(number, self.file(number))
        return found

    def _check(self, number: int, instance: Instance, quick: Header | None) -> bool | None:
        """Return what `dicom.whole.check_elements` does."""
        if self.checked or (quick is not None and quick.top.whole):
            return True
        try:
            with instance.payload.open() as stream:
                return check_elements(stream, instance.payload.size, instance.transfer_syntax_uid)
        except SeriesportError as error:
            raise SeriesportError(error.code, f"instance {number}: {error.message}") from error

    def _file(self, number: int) -> Path:
        instance = self.instances[number - 1]
        payload = instance.payload
        path = Path(payload.path) if isinstance(payload, FileSlice) else None
        if path is None or not _is_alone(path, payload):
            path = self.room / f"{number:06d}.dcm"
            meta = encode_file_meta(
                instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
            )
            write_file(path, meta, payload)
        if not Syntax.of(instance.transfer_syntax_uid).deflated:
            return path
        target = self.room / f"inflated-{number:06d}.dcm"
        inflate(path, target)
        return target


def _cut(number: int) -> SeriesportError:
    what = f"instance {number}: the image has no pixel data"
    return SeriesportError("instance-truncated", what)


def _quick(instance: Instance) -> Header | None:
    if not isinstance(instance.payload, FileSlice):
        return None
    try:
        return header_of(instance.payload, instance.transfer_syntax_uid)
    except OSError as error:
        raise unreadable(error) from error


def _is_alone(path: Path, payload: Payload) -> bool:
    """Return True for a DICOM file whose data set is this payload."""
    assert isinstance(payload, FileSlice)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = payload.offset + payload.size == os.fstat(fd).st_size
        return whole and os.pread(fd, 4, 128) == b"DICM"
    finally:
        os.close(fd)


def write_file(path: Path, head: bytes, payload: Payload) -> None:
    """Write some bytes and a payload behind them.

    Raises:
        SeriesportError: file-unwritable, file-unreadable, source-changed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as stream:
            stream.write(head)
            if isinstance(payload, FileSlice):
                _copy(payload, stream.fileno(), len(head))
                return
            for chunk in chunks(payload):
                stream.write(chunk)
    except OSError as error:
        raise unwritable(error) from error


def _copy(part: FileSlice, target: int, position: int) -> None:
    """Copy bytes that lie in a file without taking them into memory."""
    source = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        copy_range(source, part.offset, target, position, part.size)
    except EOFError:
        raise SeriesportError("source-changed", "a file became shorter") from None
    finally:
        os.close(source)
