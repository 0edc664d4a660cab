"""Receipts on disk: what was delivered where, and how far that is proven. No identifiers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from seriesport.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seriesport.bundle import Manifest
    from seriesport.transports.protocol import Receipt

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """One series at one destination."""

    destination: str
    """Keyed hash of the destination's address, and of the host and port of its server."""
    kind: str
    """Scheme of the destination."""
    expected: int
    delivered: int
    instances: Sequence[dict[str, Any]]
    """Per instance: member of the bundle, proof, reason code, detail. Whether this run sent it or
    an earlier one is not said, so that a run that was killed ends with the same receipts."""

    @property
    def complete(self) -> bool:
        """Whether every instance is there."""
        return self.delivered == self.expected

    @property
    def codes(self) -> list[str]:
        """Reason codes of what did not arrive."""
        return [row["code"] for row in self.instances if row["code"]]


def delivery(destination: str, kind: str, receipt: Receipt, manifest: Manifest) -> Delivery:
    """A receipt without identifiers: instances by their member of the bundle."""
    rows = [
        {
            "member": member.name,
            "proof": entry.proof,
            "code": entry.code,
            "detail": entry.detail,
        }
        for member, entry in zip(manifest.instances, receipt.entries, strict=True)
    ]
    delivered = sum(entry.arrived for entry in receipt.entries)
    return Delivery(destination, kind, len(rows), delivered, rows)


def read_receipts(path: Path, bundle_sha256: str) -> dict[str, Delivery]:
    """The complete deliveries of a bundle by destination; empty where there are none."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if (data["format"], data["bundle_sha256"]) != (_FORMAT, bundle_sha256):
            return {}
        found = [Delivery(**row) for row in data["deliveries"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {d.destination: d for d in found if d.complete}


def write_receipts(path: Path, bundle_sha256: str, deliveries: Sequence[Delivery]) -> None:
    """Write the deliveries of a bundle."""
    data = {
        "format": _FORMAT,
        "bundle_sha256": bundle_sha256,
        "deliveries": [asdict(d) for d in deliveries],
    }
    write_text(path, json.dumps(data, indent=1) + "\n")
