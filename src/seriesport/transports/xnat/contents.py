"""What a resource of a scan holds, compared with what is to be stored there."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

from seriesport.dicom.part10 import read_header
from seriesport.dicom.readers import fd_reader
from seriesport.errors import SeriesportError
from seriesport.model.instance import Instance
from seriesport.store.digest import chunks
from seriesport.store.keys import KEY
from seriesport.transports.xnat.items import record_of
from seriesport.transports.xnat.scans import told_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from seriesport.model.instance import Payload
    from seriesport.transports.xnat.catalog import Catalog, Experiment, ResourceFile
    from seriesport.transports.xnat.outgoing import Outgoing


class Contents:
    """One resource of one scan."""

    def __init__(self, catalog: Catalog, experiment: Experiment, scan: str, label: str) -> None:
        self.catalog = catalog
        self.experiment = experiment
        self.scan = scan
        self.label = label

    def listed(self) -> dict[str, ResourceFile]:
        """What the server lists now, by name."""
        every = self.catalog.files(self.experiment, self.scan)
        return {file.name: file for file in every if file.resource == self.label}

    def counted(self) -> int | None:
        """How many files the server says that there are, beside its listing."""
        record = record_of(self.catalog, self.experiment, self.scan)
        return record.resources.get(self.label) if record else None

    def places(
        self, listed: Mapping[str, ResourceFile], files: Iterable[Outgoing]
    ) -> dict[str, ResourceFile]:
        """Which listed file holds which of ours, by our name.

        An instance may be there under another name, if somebody else uploaded it: the headers of
        the files that have none of our names tell. So may a file that was made of a series, under
        the key that it had in other results.
        """
        ours = list(files)
        found = {file.name: listed[file.name] for file in ours if file.name in listed}
        lacking = {
            file.item.uid: file.name
            for file in ours
            if file.name not in found and isinstance(file.item, Instance)
        }
        names = {file.name for file in ours}
        for other in (file for name, file in listed.items() if name not in names):
            if not lacking:
                break
            told = told_by(self.catalog, self.experiment, other)
            name = lacking.pop(told.header.sop_instance_uid, None) if told else None
            if name is not None:
                found[name] = other
        for file in (file for file in ours if file.tail and file.name not in found):
            for name, other in listed.items():
                if KEY.fullmatch(_stem(name, file.tail)) and self.same(other, file):
                    found[file.name] = other
        return found

    def same(self, listed: ResourceFile, file: Outgoing) -> bool:
        """Whether a listed file, read back from the server, has the bytes of one of ours.

        A digest that is listed tells nothing: it may be that of an earlier content. Of an
        instance the data sets are compared: the file meta may be somebody else's.
        """
        with tempfile.TemporaryFile() as copy:
            size = self.download(listed, copy, file.size + (1 << 20))
            if isinstance(file.item, Instance):
                return _same_instance(copy, size, file.item)
            return size == file.size and _same_bytes(copy, 0, size, file)

    def download(self, listed: ResourceFile, copy: IO[bytes], most: int) -> int:
        """Copy a listed file, or a little more than `most` bytes of it; give their number."""
        size = 0
        path = listed.path(self.experiment.id)
        with self.catalog.session.open(
            path, deadline=self.catalog.deadline, page=listed.is_page
        ) as answer:
            answer.require_plain(listed.size)
            for chunk in answer.chunks():
                copy.write(chunk)
                size += len(chunk)
                if size > most:
                    break
        copy.flush()
        return size


def _stem(name: str, tail: str) -> str:
    """The beginning of a name that ends so; empty for another."""
    return name.removesuffix(tail) if name.endswith(tail) else ""


def _same_instance(copy: IO[bytes], size: int, instance: Instance) -> bool:
    try:
        told = read_header(fd_reader(copy.fileno()), size)
    except SeriesportError:
        return False
    return (
        told is not None
        and told.transfer_syntax_uid == instance.transfer_syntax_uid
        and told.size == instance.payload.size
        and _same_bytes(copy, told.data_set_offset, told.size, instance.payload)
    )


def _same_bytes(copy: IO[bytes], offset: int, size: int, payload: Payload) -> bool:
    copy.seek(offset)
    same = all(copy.read(len(chunk)) == chunk for chunk in chunks(payload))
    return same and copy.tell() == offset + size
