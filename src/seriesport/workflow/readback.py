"""Getting back from an archive what it lists, to compare its bytes with those that were sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from seriesport.model.series import Proof, Receipt, ReceiptEntry, SeriesReference
from seriesport.store.digest import digest_member
from seriesport.store.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.model.address import Address
    from seriesport.model.instance import Instance
    from seriesport.transports.contract import Transport


def read_back(
    transport: Transport, instances: Sequence[Instance], address: Address, receipt: Receipt
) -> Receipt:
    """Give the receipt of one series again, with what comparing its bytes proves.

    Args:
        transport: Of the archive.
        instances: Those of the receipt, in its order.
        address: The archive.
        receipt: What was stored, and listed.

    Raises:
        SeriesportError: what keeps the archive from giving the series.
    """
    header = instances[0].header
    there = address.narrowed(
        patient=header.patient_id,
        study=header.study_instance_uid,
        series=header.series_instance_uid,
    )
    series = SeriesReference.of(header, there)
    found: dict[str, str] = {}
    with scratch() as room:
        wanted = {i.uid for i in instances}
        expected = {uid: e for uid, e in transport.expect(series).items() if uid in wanted}
        for item in transport.fetch(series, expected, (), room):
            found[item.uid] = digest_member(item).sha256
            if item.location is not None:
                item.location.unlink()
    pairs = zip(receipt.entries, instances, strict=True)
    return Receipt(tuple(_compared(entry, i, found.get(i.uid)) for entry, i in pairs))


def _compared(entry: ReceiptEntry, instance: Instance, found: str | None) -> ReceiptEntry:
    if not entry.arrived:
        return entry
    if found == digest_member(instance).sha256:
        return replace(entry, proof=Proof.DIGEST)
    if found is None:
        detail = "listed, but not given back"
        return replace(entry, proof=None, code="store-unverified", detail=detail)
    detail = "the destination has this instance with other bytes"
    return replace(entry, proof=None, code="destination-conflict", detail=detail)
