"""What an unfinished copy has delivered: it is not fetched again as long as it is there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.model.series import Proof, Receipt, ReceiptEntry
from seriesport.store.bundle import manifest_path, read_manifest
from seriesport.store.digest import digest_member
from seriesport.transports.listing import key_of
from seriesport.transports.served import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seriesport.model.address import Address
    from seriesport.model.series import SeriesReference
    from seriesport.store.bundle import Manifest
    from seriesport.transports.contract import Transport


def note(bundle: Path) -> None:
    """Keep the manifest of a delivered bundle, which holds no identifier, instead of the bundle."""
    with suppress(FileNotFoundError):
        manifest_path(bundle).replace(_note(bundle))
    bundle.unlink()


def forget(bundle: Path) -> None:
    """Remove what `note` kept, and the folder if nothing else is in it."""
    _note(bundle).unlink(missing_ok=True)
    with suppress(OSError):  # another copy is at work there
        bundle.parent.rmdir()


def arrived(
    bundle: Path,
    series: SeriesReference,
    destination: Address,
    reader: Callable[[], Transport],
    writer: Callable[[], Transport],
) -> Receipt | None:
    """Return the receipt of a series that was delivered, if all that the source has is there.

    Files are read, and their digests compared with those noted. An archive lists what it has.
    An XNAT and plain files are left to `store`.

    Raises:
        SeriesportError: where a server has too much to do.
    """
    try:
        noted = read_manifest(_note(bundle))
        if noted.plain:
            return None
        uids = reader().uids(series)
        proof = _proof(noted, uids, series, destination, writer())
    except SeriesportError as error:
        if error.code in REFUSALS:
            raise
        return None
    if proof is None:
        return None
    bundle.unlink(missing_ok=True)  # a kill may have come before that
    return Receipt(tuple(ReceiptEntry(uid, sent=False, proof=proof) for uid in sorted(uids)))


def _note(bundle: Path) -> Path:
    return bundle.with_name("delivered.json")


def _proof(
    noted: Manifest,
    uids: set[str],
    series: SeriesReference,
    destination: Address,
    writer: Transport,
) -> Proof | None:
    if destination.lists_only:
        place = destination.narrowed(
            study=series.study_instance_uid, series=series.series_instance_uid
        )
        listed = {uid for one in writer.find(place) for uid in writer.uids(one)}
        return Proof.LISTED if uids <= listed else None
    if destination.local is None:
        return None
    digests: dict[str, str] = {}
    for one in writer.find(destination):
        if key_of(one) == key_of(series):
            # files are read where they are: there is no spool
            for item in writer.fetch(one, writer.expect(one), (), destination.local):
                digests[item.uid] = digest_member(item).sha256
    same = sorted(digests.values()) == sorted(member.sha256 for member in noted.instances)
    return Proof.DIGEST if same and digests.keys() == uids else None
