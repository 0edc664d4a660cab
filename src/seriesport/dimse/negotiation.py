"""A-ASSOCIATE: what is proposed, and what the peer makes of it (PS3.8 section 9.3, PS3.7 annex D).

pynetdicom's PDU classes do the encoding and decoding. They bring pydicom and NumPy with them, so
that this module is imported only when an association is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context

from seriesport.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from seriesport.dimse.contexts import CONTEXTS_MAXIMUM, Accepted, Agreement
from seriesport.dimse.pdu import (
    RECEIVE_MAXIMUM,
    SEND_MAXIMUM,
    SEND_MINIMUM,
    PduType,
    control_pdu,
    malformed,
)
from seriesport.errors import SeriesportError
from seriesport.model.identifiers import NO_AET, is_aet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seriesport.dimse.contexts import Proposal

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


def request(called_aet: str, calling_aet: str, proposals: Sequence[Proposal]) -> bytes:
    """Encode an A-ASSOCIATE-RQ. The context of `proposals[i]` has the ID 2i + 1.

    Raises:
        SeriesportError: address-invalid or config-invalid, for an AE title that PS3.5 does not
            allow (1 to 16 printable ASCII characters, no backslash).
    """
    if not 0 < len(proposals) <= CONTEXTS_MAXIMUM:
        raise ValueError("an association has 1 to 128 presentation contexts")
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.called_ae_title = _checked("address-invalid", "called", called_aet)
    primitive.calling_ae_title = _checked("config-invalid", "calling", calling_aet)
    length = MaximumLengthNotification()
    length.maximum_length_received = RECEIVE_MAXIMUM
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    roles: list[SCP_SCU_RoleSelectionNegotiation] = []
    contexts = [build_context(p.abstract_syntax, list(p.transfer_syntaxes)) for p in proposals]
    for i, made in enumerate(contexts):
        made.context_id = 2 * i + 1
    primitive.presentation_context_definition_list = contexts
    for uid in dict.fromkeys(p.abstract_syntax for p in proposals if p.scp):
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = uid
        role.scu_role, role.scp_role = False, True
        roles.append(role)
    primitive.user_information = [length, implementation, version, *roles]
    return A_ASSOCIATE_RQ(primitive).encode()


def _checked(code: str, which: str, aet: str) -> str:
    if not is_aet(aet):
        raise SeriesportError(code, f"the {which} AE title cannot be one: {NO_AET}")
    return aet


def titles(request: bytes) -> tuple[str, str]:
    """Return the called and the calling AE title of an A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""
    return request[10:26].decode("ascii").strip(), request[26:42].decode("ascii").strip()


def answer(kind: PduType, body: bytes, proposals: Sequence[Proposal]) -> Agreement:
    """Read the answer to a request.

    Raises:
        SeriesportError: association-rejected, association-busy, association-aborted or
            protocol-error.
    """
    if kind is PduType.ASSOCIATE_AC:
        return _accepted(body, proposals)
    if kind is PduType.ASSOCIATE_RJ:
        raise _rejected(*body[1:4])
    if kind is PduType.ABORT:
        raise SeriesportError("association-aborted", "the archive aborted the negotiation")
    raise malformed(f"{kind.name} instead of an answer to the association request")


def _accepted(body: bytes, proposals: Sequence[Proposal]) -> Agreement:
    pdu = A_ASSOCIATE_AC()
    try:
        pdu.decode(control_pdu(PduType.ASSOCIATE_AC, body))
        items = [
            (item.context_id, item.result, str(item.transfer_syntax or ""))
            for item in pdu.presentation_context
        ]
        information = pdu.user_information
        maximum = (information.maximum_length if information else None) or 0
        agreed = information.role_selection.values() if information else ()
        roles = frozenset(str(role.uid) for role in agreed if role.scp_role)
    except Exception as error:
        raise malformed("the answer to the association request cannot be read") from error
    contexts: dict[int, Accepted] = {}
    for context_id, result, syntax in items:
        if result != 0:
            continue
        if context_id is None or not context_id % 2 or not context_id // 2 < len(proposals):
            raise malformed("a presentation context was accepted that was not proposed")
        proposal = proposals[context_id // 2]
        if syntax not in proposal.transfer_syntaxes or context_id in contexts:
            raise malformed("a transfer syntax was accepted that was not proposed")
        contexts[context_id] = Accepted(context_id, proposal.abstract_syntax, syntax)
    if maximum and maximum < SEND_MINIMUM:
        raise malformed(f"the archive receives only {maximum} bytes at a time")
    return Agreement(contexts, roles, min(maximum or SEND_MAXIMUM, SEND_MAXIMUM))


_SOURCES = {1: "its service", 2: "its association layer", 3: "its presentation layer"}
_REASONS = {
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "too many associations",
}


def _rejected(result: int, source: int, reason: int) -> SeriesportError:
    """PS3.8 section 9.3.4: result 2 is transient; so are congestion and local limits."""
    by = _SOURCES.get(source, f"source {source}")
    why = _REASONS.get((source, reason), f"reason {reason}")
    busy = result == 2 or (source, reason) in ((3, 1), (3, 2))
    code = "association-busy" if busy else "association-rejected"
    return SeriesportError(code, f"the archive rejected the association ({by}: {why})")
