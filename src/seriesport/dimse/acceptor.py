"""A-ASSOCIATE from the acceptor's side (PS3.8 sections 9.3.2-9.3.4, PS3.7 annex D.3)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import IMPLEMENTATION_CLASS_UID
from seriesport.dimse.pdu import RECEIVE_MAXIMUM, malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ITEM = Struct(">BxH")
_TITLES = slice(4, 36)
_FIXED = 68
"""Bytes of an A-ASSOCIATE-RQ before its variable items, without the PDU header."""
_CONTEXT_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _USER = 0x10, 0x20, 0x21, 0x50
_ABSTRACT, _TRANSFER = 0x30, 0x40
_MAXIMUM, _IMPLEMENTATION, _ROLE = 0x51, 0x52, 0x54

_LONGEST_UID = 128
"""Bytes of a syntax or class; PS3.5 allows 64, and some requestors pad."""

ABSTRACT_SYNTAX_REFUSED = 3
TRANSFER_SYNTAXES_REFUSED = 4


@dataclass(frozen=True, slots=True)
class Proposed:
    """One presentation context that the requestor proposes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What an A-ASSOCIATE-RQ asks for."""

    called_aet: str
    calling_aet: str
    titles: bytes
    """Both AE titles as they came; the answer repeats them."""
    maximum: int
    """Longest P-DATA-TF that the requestor receives, in bytes; 0 where it sets no limit."""
    contexts: tuple[Proposed, ...]
    roles: dict[str, tuple[int, int]]
    """By SOP class: whether the requestor takes the SCU's and the SCP's role."""


def decode_request(body: bytes) -> Request:
    """Read the body of an A-ASSOCIATE-RQ.

    Raises:
        SeriesportError: protocol-error.
    """
    if len(body) < _FIXED:
        raise malformed("an A-ASSOCIATE-RQ is too short")
    contexts: list[Proposed] = []
    roles: dict[str, tuple[int, int]] = {}
    maximum = 0
    for kind, value in _items(body[_FIXED:]):
        if kind == _CONTEXT_RQ:
            contexts.append(_context(value))
        elif kind == _USER:
            for sub, content in _items(value):
                if sub == _MAXIMUM and len(content) == 4:
                    maximum = int.from_bytes(content, "big")
                elif sub == _ROLE:
                    uid, scu, scp = _role(content)
                    roles[uid] = (scu, scp)
    titles = body[_TITLES]
    called, calling = (titles[i : i + 16].decode("ascii", "replace").strip() for i in (0, 16))
    return Request(called, calling, titles, maximum, tuple(contexts), roles)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if len(data) - at < _ITEM.size:
            raise malformed("an item of an A-ASSOCIATE-RQ has no header")
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if length > len(data) - at:
            raise malformed("an item of an A-ASSOCIATE-RQ is longer than the PDU")
        yield kind, data[at : at + length]
        at += length


def _context(value: bytes) -> Proposed:
    if len(value) < 4:
        raise malformed("a presentation context is too short")
    parts = list(_items(value[4:]))
    abstract = [_uid(content) for kind, content in parts if kind == _ABSTRACT]
    transfer = tuple(_uid(content) for kind, content in parts if kind == _TRANSFER)
    if len(abstract) != 1 or not transfer:
        raise malformed("a presentation context has no abstract or no transfer syntax")
    return Proposed(value[0], abstract[0], transfer)


def _role(content: bytes) -> tuple[str, int, int]:
    length = int.from_bytes(content[:2], "big")
    if len(content) != length + 4:
        raise malformed("a role selection has the wrong length")
    return _uid(content[2:-2]), content[-2], content[-1]


def _uid(value: bytes) -> str:
    if len(value) > _LONGEST_UID:
        raise malformed("a UID of an A-ASSOCIATE-RQ is too long")
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def encode_acceptance(request: Request, choose: Callable[[Proposed], str | int]) -> bytes:
    """Encode the body of an A-ASSOCIATE-AC.

    `choose` gives the accepted transfer syntax of a context, or the result number of a refusal.
    Every role that the requestor proposed is accepted as proposed.
    """
    items = [_item(_CONTEXT_APPLICATION, b"1.2.840.10008.3.1.1.1")]
    for context in request.contexts:
        chosen = choose(context)
        result, syntax = (0, chosen) if isinstance(chosen, str) else (chosen, "1.2.840.10008.1.2")
        head = bytes((context.context_id, 0, result, 0))
        items.append(_item(_CONTEXT_AC, head + _item(_TRANSFER, syntax.encode())))
    user = [
        _item(_MAXIMUM, RECEIVE_MAXIMUM.to_bytes(4, "big")),
        _item(_IMPLEMENTATION, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    for uid, (scu, scp) in request.roles.items():
        encoded = uid.encode("ascii", "replace")
        user.append(_item(_ROLE, len(encoded).to_bytes(2, "big") + encoded + bytes((scu, scp))))
    items.append(_item(_USER, b"".join(user)))
    return b"\0\1\0\0" + request.titles + bytes(32) + b"".join(items)


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content
