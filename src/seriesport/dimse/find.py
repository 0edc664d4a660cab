"""C-FIND (PS3.4 annex C.4.1, PS3.7 section 9.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seriesport.dimse import attributes
from seriesport.dimse.contexts import STUDY_ROOT_FIND
from seriesport.dimse.message import PRIORITY_MEDIUM, Field, Kind, encode
from seriesport.dimse.pdu import malformed
from seriesport.dimse.status import failure, pending, warning

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from seriesport.dimse.association import Association
    from seriesport.dimse.attributes import Answer, Key

ANSWERS_MAXIMUM = 500_000
"""Most answers to one question; where an archive gives more, the question is not precise enough."""

_DATA_SET = 0x0001


def find(
    association: Association,
    keys: Mapping[Key, str],
    model: str = STUDY_ROOT_FIND,
    character_set: str = attributes.UTF_8,
) -> Generator[Answer]:
    """Ask one question and give its answers as they come. Left early, it aborts the association.

    `model` is the Study Root or the Patient Root information model. Text is sent in a
    `character_set`, and read in it where an answer names none of its own. What an archive makes
    of the keys is its own affair: compare the answers with them.

    Raises:
        SeriesportError: context-refused, dimse-failure, dimse-refused, protocol-error for more
            answers than ANSWERS_MAXIMUM, or what the association raises.
    """
    context = association.require(model, "queries (C-FIND)")
    message_id = association.begin_request("C-FIND")
    request = {
        Field.AFFECTED_SOP_CLASS_UID: model,
        Field.COMMAND_FIELD: Kind.C_FIND_RQ,
        Field.MESSAGE_ID: message_id,
        Field.PRIORITY: PRIORITY_MEDIUM,
        Field.DATA_SET_TYPE: _DATA_SET,
    }
    question = attributes.encode(keys, context.transfer_syntax, character_set)
    association.send(context.context_id, encode(request), question)
    done = False
    try:
        for _ in range(ANSWERS_MAXIMUM):
            response = association.receive_response(Kind.C_FIND_RSP, message_id)
            status = response.status
            data = association.receive_identifier(context.context_id) if response.has_data else b""
            if not pending(status):
                done = True
                if status and not warning(status):
                    raise failure("C-FIND", status)
                return
            answer = attributes.decode(data, context.transfer_syntax)
            yield answer if character_set == attributes.UTF_8 else answer.read_in(character_set)
        raise malformed(f"more than {ANSWERS_MAXIMUM} answers to one question")
    finally:
        if not done:
            association.abort()
