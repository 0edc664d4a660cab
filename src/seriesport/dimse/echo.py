"""C-ECHO (PS3.4 annex A, PS3.7 section 9.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.dimse.contexts import VERIFICATION
from seriesport.dimse.message import NO_DATA_SET, Field, Kind, encode
from seriesport.dimse.status import failure

if TYPE_CHECKING:
    from seriesport.dimse.association import Association


def echo(association: Association) -> None:
    """Ask for a sign of life.

    Raises:
        SeriesportError: context-refused, dimse-failure, or what the association raises.
    """
    context = association.require(VERIFICATION, "verification (C-ECHO)")
    message_id = association.begin_request("C-ECHO")
    request = {
        Field.AFFECTED_SOP_CLASS_UID: VERIFICATION,
        Field.COMMAND_FIELD: Kind.C_ECHO_RQ,
        Field.MESSAGE_ID: message_id,
        Field.DATA_SET_TYPE: NO_DATA_SET,
    }
    association.send(context.context_id, encode(request))
    status = association.receive_response(Kind.C_ECHO_RSP, message_id).status
    if status:
        raise failure("C-ECHO", status)
