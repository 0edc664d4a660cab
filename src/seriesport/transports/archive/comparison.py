"""Whether an archive has an instance with the same content: it is read back and compared."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import encode_file_meta
from seriesport.dimse.contexts import EXPLICIT_LITTLE, IMPLICIT_LITTLE, storage
from seriesport.errors import SeriesportError
from seriesport.store.scratch import scratch
from seriesport.transports.archive.query import Study
from seriesport.transports.archive.retrieval import Retrieval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydicom.dataset import Dataset

    from seriesport.dimse.association import Association
    from seriesport.dimse.contexts import Proposal
    from seriesport.model.instance import Instance


def read_back(associate: Callable[[Iterable[Proposal]], Association], instance: Instance) -> bool:
    """Return True if an archive gives an instance back with the same content.

    Another encoding of the same elements is the same content; group lengths are none.

    Raises:
        SeriesportError: incomplete where it does not come, and what a C-GET raises.
    """
    header = instance.header
    own = instance.transfer_syntax_uid
    syntaxes = (own, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    association = associate(storage(((header.sop_class_uid, s) for s in syntaxes), scp=True))
    study = Study(header.patient_id, header.study_instance_uid)
    with scratch() as room:
        retrieval = Retrieval(study, header.series_instance_uid, [instance.uid], room, whole=False)
        for received in retrieval.over(association, [instance.uid], last=True):
            if received.uid == instance.uid:
                return _same(instance, received)
    raise SeriesportError("incomplete", "the archive does not give it back")


def _same(one: Instance, other: Instance) -> bool:
    with one.payload.open() as a, other.payload.open() as b:
        here, there = a.read(), b.read()
    if one.transfer_syntax_uid == other.transfer_syntax_uid and here == there:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _elements(one, here) == _elements(other, there)
    except Exception:  # noqa: BLE001 - whatever pydicom raises, it is not known to be the same
        return False


def _elements(instance: Instance, content: bytes) -> Dataset:
    import pydicom  # noqa: PLC0415 - pydicom takes 0.4 s

    header = instance.header
    meta = encode_file_meta(header.sop_class_uid, instance.uid, instance.transfer_syntax_uid)
    dataset = pydicom.dcmread(BytesIO(meta + content))  # pyright: ignore[reportUnknownMemberType] partly typed
    for tag in [tag for tag, _ in dataset.items() if tag.element == 0]:
        del dataset[tag]
    return dataset
