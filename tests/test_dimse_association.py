"""Associations: what an archive may do to one, and that every one of them ends."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transcript
from seriesport.dimse import contexts
from seriesport.dimse.association import Association
from seriesport.dimse.attributes import Key, encode
from seriesport.dimse.echo import echo
from seriesport.dimse.find import find
from seriesport.dimse.get import Spool, get
from seriesport.dimse.message import Kind
from seriesport.dimse.pdu import PduType, control_pdu, data_header
from seriesport.errors import SeriesportError
from seriesport.transports.archive.server import DicomServer
from transcript import archive, associate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ABORT = control_pdu(PduType.ABORT, b"\0\0\2\6")
RELEASE = control_pdu(PduType.RELEASE_RQ)


def failure(content: bytes, idle: float = 2.0) -> SeriesportError:
    """What a transcript ends in when it is asked for an echo."""
    with archive(content) as (ours, _), pytest.raises(SeriesportError) as caught:
        echo(associate(ours, idle))
    return caught.value


def rejection(result: int, source: int, reason: int) -> bytes:
    return control_pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))


def echo_response(status: int = 0, message_id: int = 1) -> bytes:
    return transcript.response(Kind.C_ECHO_RSP, status, context_id=1, message_id=message_id)


def test_an_echo_that_is_answered_well_ends_well() -> None:
    with archive(transcript.acceptance() + echo_response()) as (ours, _):
        echo(associate(ours))


@pytest.mark.parametrize(
    ("answer", "code", "word"),
    [
        (rejection(1, 1, 3), "association-rejected", "calling AE title"),
        (rejection(1, 1, 7), "association-rejected", "called AE title"),
        (rejection(1, 2, 1), "association-rejected", "reason 1"),
        (rejection(2, 1, 1), "association-busy", ""),
        (rejection(1, 3, 1), "association-busy", "congestion"),
        (rejection(1, 3, 2), "association-busy", "too many"),
        (ABORT, "association-denied", "calling AE title 'SERIESPORT'"),
        (RELEASE, "protocol-error", "RELEASE_RQ"),
        (b"", "association-denied", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol-error", "PDU type"),
        (control_pdu(PduType.ASSOCIATE_AC, b"\0"), "protocol-error", "cannot be read"),
    ],
)
def test_a_negotiation_that_fails_says_why(answer: bytes, code: str, word: str) -> None:
    error = failure(answer)
    assert error.code == code
    assert word in error.message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ABORT, "association-denied"),
        (RELEASE, "association-denied"),
        (b"", "association-aborted"),
        (echo_response()[:20], "association-aborted"),
        (echo_response(message_id=2), "protocol-error"),
        (transcript.get_response(), "protocol-error"),
        (echo_response(status=0x0122), "dimse-failure"),
        (echo_response(status=0xA700), "dimse-refused"),
        (control_pdu(PduType.ASSOCIATE_RQ, bytes(100)), "protocol-error"),
        (data_header(1, 3, 0), "protocol-error"),
    ],
)
def test_a_request_that_fails_says_why(answer: bytes, code: str) -> None:
    assert failure(transcript.acceptance() + answer).code == code


def test_a_rejection_names_both_titles() -> None:
    error = failure(rejection(1, 1, 1))
    assert error.message.endswith("called 'ARCHIVE', calling 'SERIESPORT'")


def test_an_abort_at_the_first_request_for_a_service_is_a_denial_and_a_later_one_is_not() -> None:
    def use(ours: socket.socket) -> None:
        association = associate(ours)
        echo(association)
        for _ in range(2):
            list(find(association, {Key.LEVEL: "STUDY"}))

    def after(*answers: bytes) -> tuple[str, str]:
        with (
            archive(b"".join((transcript.acceptance(), *answers, ABORT))) as (ours, _),
            pytest.raises(SeriesportError) as caught,
        ):
            use(ours)
        return caught.value.code, caught.value.message

    found = transcript.response(Kind.C_FIND_RSP, 0, context_id=3, message_id=2)
    code, message = after(echo_response())
    assert code == "association-denied"
    assert message.endswith(
        "at its first C-FIND; the archive may not know the calling AE title 'SERIESPORT'"
        " or not allow C-FIND"
    )
    assert after(echo_response(), found)[0] == "association-aborted"


def test_a_refused_service_is_named() -> None:
    error = failure(transcript.acceptance(refuse=[1]))
    assert error.code == "context-refused"
    assert "C-ECHO" in error.message


def test_a_context_that_was_not_proposed_is_no_acceptance() -> None:
    more = (*transcript.PROPOSALS, *contexts.storage([("1.2.3", "1.2.4")], scp=True))
    asked = transcript.decode_request(transcript.request(more)[6:])
    body = transcript.encode_acceptance(asked, lambda one: one.transfer_syntaxes[0])
    assert failure(control_pdu(PduType.ASSOCIATE_AC, body)).code == "protocol-error"


def test_a_transfer_syntax_that_was_not_proposed_is_no_acceptance() -> None:
    asked = transcript.decode_request(transcript.request()[6:])
    body = transcript.encode_acceptance(asked, lambda _: "1.2.840.10008.1.2.4.50")
    assert failure(control_pdu(PduType.ASSOCIATE_AC, body)).code == "protocol-error"


def test_releasing_ends_even_where_both_release_at_once() -> None:
    content = transcript.acceptance() + RELEASE + control_pdu(PduType.RELEASE_RP)
    with archive(content) as (ours, theirs):
        associate(ours).release()
        said = transcript.said(theirs)
    assert said.endswith(RELEASE + control_pdu(PduType.RELEASE_RP))


def test_an_association_that_the_archive_left_is_not_used_again() -> None:
    with archive(transcript.acceptance() + ABORT) as (ours, _):
        association = associate(ours)
        assert not association.usable
        with pytest.raises(SeriesportError, match="has ended"):
            echo(association)


# Slow and endless peers


@contextmanager
def peer(behave: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Our end of a socket whose other end a thread holds until we are done."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs:
            try:
                behave(theirs)
            except OSError:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with ours:
        yield ours
    thread.join(10)
    assert not thread.is_alive()


def silent(content: bytes) -> Callable[[socket.socket], None]:
    def behave(theirs: socket.socket) -> None:
        theirs.sendall(content)
        while theirs.recv(1 << 16):
            pass

    return behave


def dripping(content: bytes, drops: bytes, pause: float = 0.02) -> Callable[[socket.socket], None]:
    def behave(theirs: socket.socket) -> None:
        theirs.sendall(content)
        for drop in drops:
            theirs.sendall(bytes((drop,)))
            time.sleep(pause)

    return behave


@pytest.mark.parametrize("said", [b"", transcript.acceptance()])
def test_a_silent_archive_is_a_timeout(said: bytes) -> None:
    start = time.monotonic()
    with peer(silent(said)) as ours, pytest.raises(SeriesportError) as caught:
        echo(associate(ours, idle=0.2))
    assert caught.value.code == "timeout"
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("said", [b"", transcript.acceptance()])
def test_an_answer_that_drips_in_is_a_timeout(said: bytes) -> None:
    drops = transcript.acceptance() if not said else echo_response()
    with peer(dripping(said, drops)) as ours, pytest.raises(SeriesportError) as caught:
        echo(associate(ours, idle=0.3))
    assert caught.value.code == "timeout"


def test_an_instance_that_drips_in_meets_the_wall_clock(tmp_path: Path) -> None:
    before = transcript.acceptance() + transcript.store_request()
    drops = transcript.data(transcript.CT_CONTEXT, bytes(10_000))
    with peer(dripping(before, drops)) as ours:
        association = associate(ours, idle=5, wall_clock=0.5)
        start = time.monotonic()
        with pytest.raises(SeriesportError) as caught:
            list(get(association, {Key.LEVEL: "SERIES"}, Spool(tmp_path)))
    assert caught.value.code == "timeout"
    assert "wall clock" in caught.value.message
    assert time.monotonic() - start < 2
    assert list(tmp_path.iterdir()) == []


def test_an_endless_instance_meets_the_wall_clock(tmp_path: Path) -> None:
    def endless(theirs: socket.socket) -> None:
        theirs.sendall(transcript.acceptance() + transcript.store_request())
        piece = data_header(transcript.CT_CONTEXT, 0, 1000) + bytes(1000)
        while True:
            theirs.sendall(piece)

    with peer(endless) as ours:
        association = associate(ours, wall_clock=0.5)
        with pytest.raises(SeriesportError) as caught:
            list(get(association, {Key.LEVEL: "SERIES"}, Spool(tmp_path)))
    assert caught.value.code == "timeout"
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_takes_no_data_is_a_timeout() -> None:
    with archive(transcript.acceptance()) as (ours, _):
        association = associate(ours, idle=0.3)
        with pytest.raises(SeriesportError) as caught:
            association.send_raw(bytes(1 << 26))
    assert caught.value.code == "timeout"


def test_nobody_at_the_port_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SeriesportError) as caught:
        Association.connect(
            DicomServer("x", "127.0.0.1", port),
            "ARCHIVE",
            transcript.PROPOSALS,
            time.monotonic() + 5,
        )
    assert caught.value.code == "archive-unreachable"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 70 + ".invalid"])
def test_a_name_that_nobody_has_is_unreachable(host: str) -> None:
    with pytest.raises(SeriesportError) as caught:
        Association.connect(
            DicomServer("x", host, 104), "A", transcript.PROPOSALS, time.monotonic() + 5
        )
    assert caught.value.code == "archive-unreachable"


@pytest.mark.parametrize("aet", ["", " ", "SEVENTEEN-LETTERS", "UMLÄUT", "BACK\\SLASH", "TAB\t"])
def test_an_impossible_ae_title_is_refused_before_a_connection(aet: str) -> None:
    with pytest.raises(SeriesportError) as caught:
        Association.connect(
            DicomServer("x", "127.0.0.1", 1), aet, transcript.PROPOSALS, time.monotonic() + 5
        )
    assert caught.value.code == "address-invalid"


# Malformed input of every kind

_FIND_ANSWERS = b"".join(
    transcript.response(Kind.C_FIND_RSP, 0xFF00, context_id=3, data_set=1)
    + transcript.data(3, encode({Key.STUDY_INSTANCE_UID: f"1.2.{i}"}, contexts.EXPLICIT_LITTLE))
    for i in range(3)
) + transcript.response(Kind.C_FIND_RSP, 0, context_id=3)
_GET_ANSWERS = (
    b"".join(
        transcript.store_request(f"1.2.3.{i}", message_id=i)
        + transcript.data(transcript.CT_CONTEXT, bytes(3000), maximum=1000)
        for i in range(3)
    )
    + transcript.get_response()
)
_REPLACEMENTS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 4),
        st.one_of(st.binary(max_size=6), st.sampled_from([b"\xff\xff\xff\xff", ABORT, RELEASE])),
    ),
    min_size=1,
    max_size=4,
)


def mangled(content: bytes, replacements: list[tuple[float, int, bytes]]) -> bytes:
    for place, cut, insert in replacements:
        at = int(place * len(content))
        content = content[:at] + insert + content[at + cut :]
    return content


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=2000)
@given(replacements=_REPLACEMENTS)
def test_mangled_negotiations_end_in_an_error_or_an_association(
    replacements: list[tuple[float, int, bytes]],
) -> None:
    with archive(mangled(transcript.acceptance(), replacements)) as (ours, _):
        try:
            associate(ours, idle=0.5).abort()
        except SeriesportError:
            return


@settings(max_examples=150, deadline=2000)
@given(replacements=_REPLACEMENTS)
def test_mangled_answers_end_in_an_error_or_answers(
    replacements: list[tuple[float, int, bytes]],
) -> None:
    content = transcript.acceptance() + mangled(_FIND_ANSWERS, replacements)
    with archive(content) as (ours, _):
        try:
            for answer in find(associate(ours, idle=0.5), {Key.LEVEL: "STUDY"}):
                answer.text(Key.STUDY_INSTANCE_UID)
        except SeriesportError:
            return


@settings(max_examples=150, deadline=2000)
@given(replacements=_REPLACEMENTS)
def test_mangled_retrievals_end_in_an_error_or_whole_instances(
    tmp_path_factory: pytest.TempPathFactory, replacements: list[tuple[float, int, bytes]]
) -> None:
    spool = tmp_path_factory.mktemp("spool")
    content = transcript.acceptance() + mangled(_GET_ANSWERS, replacements)
    given_out: list[Path] = []
    with archive(content) as (ours, _):
        try:
            for received in get(associate(ours, idle=0.5), {Key.LEVEL: "SERIES"}, Spool(spool)):
                given_out.append(received.path)
                assert received.path.stat().st_size == received.offset + received.size
        except SeriesportError:
            pass
    whole = [path for path in spool.iterdir() if path.suffix == ".dcm"]
    assert set(given_out) <= set(whole)
    assert not list(spool.glob("*.part"))
