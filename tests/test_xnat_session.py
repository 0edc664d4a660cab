"""The session with an XNAT: one per process, verified, within clocks, closed at the end."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import data
import xnat as xnatpy
from peers.xnat import Fault, Xnat
from seriesport.config.credentials import Credentials
from seriesport.config.settings import Settings, Tls
from seriesport.errors import SeriesportError
from seriesport.model.instance import FileSlice
from seriesport.series import Series
from seriesport.transports.xnat import session as sessions
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.xnat.session import Session
from seriesport.transports.xnat.sharing import release_session, share_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xnat.session import XNATSession

    from peers import Authority

pytestmark = pytest.mark.usefixtures("xnat_credentials")
ADMIN = Credentials("admin", "admin")
LIST = "/data/projects/SESSION/subjects"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Xnat]:
    with Xnat(tmp_path_factory.mktemp("sessions")) as server:
        yield server


@pytest.fixture
def server(running: Xnat) -> Iterator[Xnat]:
    running.add_subject("SESSION", "S1")
    running.requests.clear()
    yield running
    running.faults.clear()


def describe(xnat: Xnat, **limits: Any) -> XnatServer:
    return XnatServer("xnat", xnat.url, **({"timeout": 1.0, "wall_clock": 10.0} | limits))


@pytest.fixture
def session(server: Xnat) -> Iterator[Session]:
    made = Session(describe(server), ADMIN)
    yield made
    made.close()
    assert not server.open_sessions


def failing(work: Callable[[], object]) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        work()
    assert "SESSION" not in caught.value.message
    return caught.value


def test_every_version_of_a_server_lets_in_and_out(xnat: Xnat):
    xnat.add_subject("SESSION", "S1")
    session = Session(describe(xnat), ADMIN)
    assert session.get_json(LIST)
    assert len(xnat.open_sessions) == 1
    session.close()
    assert not xnat.open_sessions


def test_many_threads_share_one_log_in(server: Xnat):
    first = share_session(describe(server))
    others = [share_session(describe(server)) for _ in range(3)]
    assert all(other is first for other in others)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: first.get_json(LIST), range(24)))
    assert len(server.open_sessions) == 1
    assert server.count("POST", "JSESSION") == 1
    for one in (first, *others):
        assert server.open_sessions
        release_session(one)
    assert not server.open_sessions


def test_a_wrong_password_is_told_and_not_tried_again(server: Xnat):
    wrong = Credentials("admin", "CANARY")
    for _ in range(3):
        error = failing(lambda: Session(describe(server), wrong).get_json(LIST))
        assert error.code == "credentials-refused"
        assert "CANARY" not in str(error)
    assert server.count("POST", "JSESSION") == 1


def test_an_alias_token_is_a_user_and_a_password(server: Xnat, session: Session):
    token = session.get_json("/data/services/tokens/issue")
    assert isinstance(token, dict)
    with_token = Session(describe(server), Credentials(token["alias"], token["secret"]))
    assert with_token.get_json(LIST)
    with_token.close()


def test_the_password_goes_into_the_log_in_alone(server: Xnat, session: Session):
    session.get_json(LIST)
    carried = [x for x in server.requests if "authorization" in {k.lower() for k in x.headers}]
    assert [(x.method, x.path) for x in carried] == [("POST", "/data/JSESSION")]


@pytest.mark.parametrize("kind", ["expire", "login-html"])
def test_an_ended_session_is_renewed_once(server: Xnat, session: Session, kind: str):
    session.get_json(LIST)
    server.faults.add(Fault(kind, LIST))
    assert session.get_json(LIST)
    assert server.count("POST", "JSESSION") == 2
    assert len(server.open_sessions) == 1


def test_threads_that_find_the_session_ended_renew_it_once(server: Xnat, session: Session):
    session.get_json(LIST)
    for name in server.open_sessions:
        server.sessions.end(name)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: session.get_json(LIST), range(8)))
    assert server.count("POST", "JSESSION") == 2


def test_a_session_that_stays_refused_is_an_error(server: Xnat, session: Session):
    server.faults.add(Fault("status", LIST, status=401, times=None))
    assert failing(lambda: session.get_json(LIST)).code == "credentials-refused"
    assert server.count("GET", LIST) == 2


@pytest.mark.parametrize(
    "headers",
    [{"Location": "https://evil.example/"}, {"Location": "//evil.example/x"}],
)
def test_a_redirect_to_another_host_is_refused(
    server: Xnat, session: Session, headers: dict[str, str]
):
    server.faults.add(Fault("redirect", LIST, location=headers["Location"]))
    assert failing(lambda: session.get_json(LIST)).code == "redirect-refused"


def test_credentials_never_follow_a_redirect(server: Xnat, tmp_path: Path):
    with Xnat(tmp_path / "other") as other:
        for path in ("/data/JSESSION", LIST):
            server.faults.add(Fault("redirect", path, location=other.url + path))
            one = Session(describe(server), ADMIN)
            assert failing(lambda one=one: one.get_json(LIST)).code == "redirect-refused"
            one.close()
            server.faults.clear()
        assert not other.requests


def test_a_redirect_on_the_same_server_is_followed_for_a_get(server: Xnat, session: Session):
    target = "/xnat/data/projects/SESSION/subjects?format=json"
    server.faults.add(Fault("redirect", "/data/old", location=target))
    assert session.get_json("/data/old") == session.get_json(LIST)
    server.faults.add(Fault("redirect", "/data/loop", location="/xnat/data/loop", times=None))
    assert failing(lambda: session.get_json("/data/loop")).code == "redirect-refused"
    server.faults.add(Fault("redirect", "/data/put", location=target))
    assert failing(lambda: session.send("PUT", "/data/put", body=b"x")).code == "redirect-refused"


def test_retry_after_is_waited_for_by_all_threads(server: Xnat, session: Session):
    session.get_json(LIST)
    server.faults.add(Fault("status", LIST, status=429, retry_after="1"))
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: session.get_json(LIST), range(2)))
        early = [x for x in server.requests if x.path == LIST]
    assert time.monotonic() - start >= 1
    assert len(early) <= 4
    later = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.faults.add(Fault("status", LIST, status=503, retry_after=later))
    assert session.get_json(LIST)


def test_a_wait_longer_than_the_wall_clock_is_not_begun(server: Xnat, session: Session):
    server.faults.add(Fault("status", LIST, status=503, retry_after="600"))
    start = time.monotonic()
    assert failing(lambda: session.get_json(LIST)).code == "server-busy"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("close"), "connection-lost"),
        (Fault("cut", after=20), "connection-lost"),
        (Fault("reset", after=20), "connection-lost"),
        (Fault("stall", seconds=2.5), "timeout"),
        (Fault("status", status=500), "server-failure"),
        (Fault("status", status=502), "server-failure"),
        (Fault("status", status=503), "server-busy"),
        (Fault("status", status=409), "request-refused"),
        (Fault("status", status=403), "access-denied"),
    ],
)
def test_a_failed_request_is_told_by_its_cause_and_not_repeated(
    server: Xnat, session: Session, fault: Fault, code: str
):
    session.get_json(LIST)
    server.requests.clear()
    struck = Fault(**{**vars(fault), "path": LIST, "seen": 0, "fired": 0})
    server.faults.add(struck)
    assert failing(lambda: session.get_json(LIST)).code == code
    assert server.count("GET", LIST) == 1
    assert session.get_json(LIST)


def dripping(data: bytes) -> tuple[int, threading.Event]:
    """A server on loopback that logs in at once and drips everything else, byte by byte."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve() -> None:
        listener.settimeout(0.2)
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=answer, args=(peer,), daemon=True).start()
        listener.close()

    def answer(peer: socket.socket) -> None:
        with peer:
            if b"JSESSION " in peer.recv(65536):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nABCDEF123")
                if b"GET" not in peer.recv(65536):
                    return
            for byte in data:
                if stop.wait(0.1):
                    return
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], stop


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 " + b"O" * 300,
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b" " * 400,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * 400,
    ],
)
def test_a_server_that_drips_is_given_up_at_the_wall_clock(data: bytes):
    port, stop = dripping(data)
    session = Session(XnatServer("x", f"http://127.0.0.1:{port}", wall_clock=1.0), ADMIN)
    start = time.monotonic()
    assert failing(lambda: session.get_json("/data/x")).code == "timeout"
    assert time.monotonic() - start < 3
    stop.set()
    session.close()


def test_a_listing_without_an_end_is_not_read_for_ever(
    server: Xnat, session: Session, monkeypatch: pytest.MonkeyPatch
):
    assert session.get_json(LIST)
    monkeypatch.setattr(sessions, "MOST_JSON", 50)
    assert failing(lambda: session.get_json(LIST)).code == "answer-invalid"
    assert server.requests


@contextmanager
def answering(answer: Callable[[str, dict[str, str]], bytes]) -> Iterator[str]:
    """The URL of a server that answers to a path and headers with these bytes, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            listener.settimeout(0.2)
            while not stop.is_set():
                with suppress(OSError), listener.accept()[0] as peer:
                    peer.settimeout(5)
                    lines = peer.recv(65536).decode("latin-1").split("\r\n")
                    headers = dict(
                        line.lower().split(": ", 1) for line in lines[1:] if ": " in line
                    )
                    peer.sendall(answer(lines[0].split(" ")[1], headers))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        thread.join()


def replied(body: bytes, status: str = "200 OK", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize("where", ["listing", "file"])
def test_a_compressed_answer_is_not_unpacked(where: str):
    bomb = gzip.compress(bytes(1 << 20))

    def answer(path: str, _: dict[str, str]) -> bytes:
        if "JSESSION" in path:
            return replied(b"ABCDEF123")
        return replied(bomb, "200 OK", "Content-Encoding: gzip")

    with answering(answer) as url, closing(Session(XnatServer("x", url), ADMIN)) as session:
        if where == "listing":
            assert failing(lambda: session.get_json("/data/x")).code == "answer-invalid"
        else:
            # A file that is stored so is given as it is stored.
            with session.open("/data/x.nii.gz") as reply:
                reply.require_plain(len(bomb))
                assert b"".join(reply.chunks()) == bomb
                assert failing(reply.require_plain).code == "answer-invalid"


def test_a_listing_that_would_fill_the_memory_is_not_parsed():
    listing = b'{"ResultSet":{"Result":[' + b"[]," * 6_000_000 + b"[]]}}"

    def answer(path: str, _: dict[str, str]) -> bytes:
        return replied(b"ABCDEF123" if "JSESSION" in path else listing)

    with answering(answer) as url, closing(Session(XnatServer("x", url), ADMIN)) as session:
        error = failing(lambda: session.get_json("/data/x"))
    assert error.code == "answer-invalid"
    assert "memory" in error.message


def test_a_public_project_is_read_without_an_account(monkeypatch: pytest.MonkeyPatch):
    listing = b'{"ResultSet":{"Result":[]}}'
    seen: list[dict[str, str]] = []

    def answer(path: str, headers: dict[str, str]) -> bytes:
        seen.append(headers)
        if "PUBLIC" in path:
            return replied(listing, "200 OK", "Set-Cookie: JSESSIONID=ABCDEF123; Path=/")
        return replied(b"<html>", "401 Unauthorized", "Set-Cookie: JSESSIONID=ABCDEF123; Path=/")

    monkeypatch.delenv("SERIESPORT_USER_XNAT", raising=False)
    monkeypatch.delenv("SERIESPORT_PASSWORD_XNAT", raising=False)
    monkeypatch.setenv("NETRC", "/nonexistent")
    with answering(answer) as url, closing(Session(XnatServer("xnat", url))) as session:
        for _ in range(2):
            assert session.get_json("/data/projects/PUBLIC/subjects")
        assert [headers.get("cookie") for headers in seen] == [None, "jsessionid=abcdef123"]
        assert not any("authorization" in headers for headers in seen)
        error = failing(lambda: session.get_json("/data/projects/OTHER/subjects"))
        assert error.code == "credentials-missing"
        assert "SERIESPORT_USER_XNAT" in error.message
        count = len(seen)
        writing = failing(lambda: session.send("PUT", "/data/projects/PUBLIC/subjects/S"))
        assert writing.code == "credentials-missing"
        assert len(seen) == count


def test_a_change_has_the_reason_that_the_server_demands(server: Xnat):
    session = Session(describe(server, event_reason="import of study 1"), ADMIN)
    session.send("PUT", f"{LIST}/S2")
    session.get_json(LIST)
    session.close()
    asked = {(r.method, "event_reason=import+of+study+1" in r.query) for r in server.requests}
    assert {("PUT", True), ("GET", False)} <= asked
    assert {r.headers["user-agent"].partition("/")[0] for r in server.requests} == {"seriesport"}


def test_silence_in_the_middle_of_an_answer_is_told_as_that():
    part = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + bytes(9014)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            for answer in (replied(b"ABCDEF123"), part):
                held.append(listener.accept()[0])
                held[-1].recv(65536)
                held[-1].sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        session = Session(XnatServer("x", url, timeout=0.5, wall_clock=20.0), ADMIN)
        with session.open("/file") as reply:
            error = failing(lambda: list(reply.chunks()))
        assert error.code == "timeout"
        assert "stopped sending after 9014 bytes" in error.message
        for peer in held:
            peer.close()
    session.close()


@pytest.mark.parametrize("answer", [b"no json", b"[" * 100_000, b""])
def test_what_is_no_listing_is_told(server: Xnat, session: Session, answer: bytes):
    server.add_scan("SESSION", "S1", "SESSION_E1", "1", {"a.txt": answer or b" "})
    path = "/data/projects/SESSION/subjects/S1/experiments/SESSION_E1/scans/1/resources/DICOM/files"
    assert failing(lambda: session.get_json(f"{path}/a.txt")).code == "answer-invalid"
    server.add_scan("SESSION", "S1", "SESSION_E1", "1", {"a.txt": b" "})


def test_nothing_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    session = Session(XnatServer("x", f"http://127.0.0.1:{port}"), ADMIN)
    assert failing(lambda: session.get_json(LIST)).code == "server-unreachable"


@pytest.mark.parametrize("host", ["x" * 64, "höst." + "ä" * 63])
def test_a_host_that_no_name_can_be_is_told(host: str):
    error = failing(lambda: Session(XnatServer("x", f"https://{host}"), ADMIN).get_json(LIST))
    assert error.code == "server-unreachable"


def test_no_more_requests_are_under_way_than_connections(server: Xnat, tmp_path: Path):
    with Xnat(tmp_path) as own:
        own.add_project("SESSION")
        session = Session(describe(own, connections=2), ADMIN)
        own.faults.add(Fault("stall", seconds=0.1, times=6))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: session.get_json(LIST), range(16)))
        assert own.busiest == 2
        session.close()
    assert server


def test_an_upload_has_a_length_and_is_sent_again_after_a_new_log_in(
    server: Xnat, session: Session, tmp_path: Path
):
    server.add_scan("SESSION", "S1", "SESSION_E1", "2", {})
    content = tmp_path / "big"
    content.write_bytes(bytes(range(256)) * 5000)
    path = "/data/projects/SESSION/subjects/S1/experiments/SESSION_E1/scans/2/resources/R/files/"
    session.get_json(LIST)
    server.faults.add(Fault("expire", "*/files/*", "PUT"))
    body = FileSlice(content, 0, content.stat().st_size)
    session.send("PUT", path + "big", params={"inbody": "true"}, body=body)
    assert server.stored("SESSION", "SESSION_E1", "2", "R") == {"big": content.read_bytes()}
    sent = [x for x in server.requests if x.method == "PUT"][-1]
    names = {name.lower(): value for name, value in sent.headers.items()}
    assert names["content-length"] == str(body.size)
    assert "transfer-encoding" not in names


# TLS


@pytest.fixture
def secure(authority: Authority, tmp_path: Path) -> Iterator[Callable[..., Xnat]]:
    started: list[Xnat] = []

    def start(**how: Any) -> Xnat:
        certificate = authority.certificate(f"xnat-{len(started)}-{time.monotonic_ns()}", **how)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        started.append(Xnat(tmp_path / str(len(started)), tls=context))
        started[-1].add_project("SESSION")
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_a_server_of_a_known_authority_is_trusted(
    secure: Callable[..., Xnat], authority: Authority
):
    server = secure(hosts=("127.0.0.1",))
    session = Session(describe(server, tls=Tls(authority.ca)), ADMIN)
    assert session.get_json(LIST)
    session.close()
    assert not server.open_sessions


def test_a_server_of_an_unknown_authority_is_not(secure: Callable[..., Xnat]):
    server = secure(hosts=("127.0.0.1",))
    error = failing(lambda: Session(describe(server), ADMIN).get_json(LIST))
    assert error.code == "tls-untrusted"
    assert "not trusted" in error.message
    assert not server.requests


def test_a_certificate_for_another_host_is_not_trusted(
    secure: Callable[..., Xnat], authority: Authority
):
    server = secure(hosts=("other.example",))
    session = Session(describe(server, tls=Tls(authority.ca)), ADMIN)
    assert "another host name" in failing(lambda: session.get_json(LIST)).message
    named = Session(describe(server, tls=Tls(authority.ca, server_name="other.example")), ADMIN)
    assert named.get_json(LIST)
    named.close()


def test_an_expired_certificate_is_told(secure: Callable[..., Xnat], authority: Authority):
    server = secure(hosts=("127.0.0.1",), expired=True)
    session = Session(describe(server, tls=Tls(authority.ca)), ADMIN)
    error = failing(lambda: session.get_json(LIST))
    assert (error.code, error.message) == ("tls-untrusted", "the server's certificate has expired")


def test_a_server_without_tls_is_told(server: Xnat):
    secure_url = server.url.replace("http://", "https://")
    session = Session(XnatServer("x", secure_url, connect_timeout=1.0, timeout=1.0), ADMIN)
    assert failing(lambda: session.get_json(LIST)).code in ("tls-failed", "timeout")


# A session of xnatpy


@pytest.fixture
def theirs(xnat: Xnat) -> Iterator[XNATSession]:
    xnat.add_subject("SESSION", "S1")
    connected = xnatpy.connect(
        xnat.url, user="admin", password="admin", no_parse_model=True, loglevel="ERROR"
    )
    yield connected
    connected.disconnect()
    assert not xnat.open_sessions


def test_a_connected_session_of_xnatpy_is_used_and_stays_open(
    xnat: Xnat, theirs: XNATSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SERIESPORT_USER_XNAT")
    monkeypatch.setenv("NETRC", "/nonexistent")
    before = list(xnat.open_sessions)
    xnat.requests.clear()
    session = share_session(describe(xnat, session=theirs))
    assert session.get_json(LIST)
    session.send("PUT", f"{LIST}/S2")
    session.log_in()
    release_session(session)
    assert list(xnat.open_sessions) == before
    asked = {(request.method, request.path) for request in xnat.requests}
    assert asked == {("GET", LIST), ("PUT", f"{LIST}/S2")}
    assert theirs.get(LIST).ok


def test_a_session_of_xnatpy_that_has_ended_is_told(xnat: Xnat, theirs: XNATSession):
    with closing(Session(describe(xnat, session=theirs))) as session:
        xnat.faults.add(Fault("status", LIST, status=401))
        error = failing(lambda: session.get_json(LIST))
    assert error.code == "credentials-refused"
    assert "connect again" in error.message


def test_a_session_of_xnatpy_gives_its_cookies_to_its_own_server_alone(
    xnat: Xnat, theirs: XNATSession
):
    elsewhere = XnatServer("xnat", "https://evil.example", session=theirs)
    assert failing(lambda: Session(elsewhere)).code == "config-invalid"
    other = xnatpy.connect(
        xnat.url, user="admin", password="admin", no_parse_model=True, loglevel="ERROR"
    )
    other.disconnect()
    gone = describe(xnat, session=other)
    assert failing(lambda: Session(gone)).code == "credentials-missing"


def test_copies_go_by_a_session_of_xnatpy(xnat: Xnat, theirs: XNATSession, tmp_path: Path):
    made = data.ct(tmp_path / "made", data.identity("given"), slices=2)
    xnat.add_scan("SESSION", "S1", "SESSION_E9", "1", {path.name: path for path in made.paths})
    settings = Settings({"lab": describe(xnat, session=theirs)})
    assert Series("xnat://lab/SESSION/S1/SESSION_E9/1", settings=settings).shape[0] == 2


def test_xnatpy_writes_no_line_and_has_no_thread(
    session: Session, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(1)
    threads = {thread.name for thread in threading.enumerate()}
    session.get_json(LIST)
    session.close()
    began = {thread.name for thread in threading.enumerate()} - threads
    assert {name for name in began if "_attend" not in name} <= {"watchdog"}  # but the server's
    assert not [record for record in caplog.records if not record.name.startswith("urllib3")]


def test_the_environment_says_nothing_about_the_way(
    server: Xnat, session: Session, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    assert session.get_json(LIST)
    session.close()
    assert not server.open_sessions


def test_xnatpy_is_imported_when_a_session_is_opened():
    code = (
        "import sys; from seriesport.series import Series;"
        "from seriesport.transports.registry import open_transport, parse;"
        "parse('xnat://lab/P/S/E/1');"
        "assert 'xnat' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The end


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_copy_that_is_stopped_leaves_no_session_behind(
    server: Xnat, tmp_path: Path, number: signal.Signals
):
    made = data.ct(tmp_path / "made", data.identity("stopped"), slices=2)
    files = {path.name: path for path in made.paths}
    server.add_scan("SESSION", "S1", "SESSION_E2", "1", files)
    server.faults.add(Fault("trickle", "*/resources/*/files/*", rate=100, times=None))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(f"servers: {{xnat: {{url: '{server.url}'}}}}")
    words = ["cp", "xnat://xnat/SESSION/S1/SESSION_E2/1", "out"]
    them = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    child = subprocess.Popen(
        [sys.executable, "-c", "from seriesport.cli.main import main; main()", *words],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=them | {"SERIESPORT_USER_XNAT": "admin", "SERIESPORT_PASSWORD_XNAT": "admin"},
    )
    try:
        until = time.monotonic() + 20
        while not server.count("GET", "/resources/") and time.monotonic() < until:
            time.sleep(0.02)
        assert server.open_sessions
        child.send_signal(number)
        assert "interrupted" in child.communicate(timeout=20)[1]
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    assert not server.open_sessions


@pytest.mark.parametrize(
    "end", ["job", *(pytest.param(end, marks=pytest.mark.slow) for end in ("exit", "interrupt"))]
)
def test_a_process_leaves_no_session_behind(server: Xnat, tmp_path: Path, end: str):
    code = f"""
import json, sys, time
from seriesport.transports.xnat.server import XnatServer
from seriesport.transports.xnat.sharing import share_session
from seriesport.workflow.job import job
def work():
    session = share_session(XnatServer("xnat", {server.url!r}))
    session.get_json({LIST!r})
    print("ready", flush=True)
if {end!r} == "job":
    with job("log/x.log", {{}}):
        work()
        time.sleep(60)
work()
if {end!r} == "interrupt":
    time.sleep(60)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n", child.stderr and child.stderr.read()
        assert server.open_sessions or end == "exit"
        if end != "exit":
            child.send_signal(signal.SIGINT)
        child.wait(20)
    finally:
        child.kill()
        child.communicate()
    assert not server.open_sessions
    assert json.dumps(server.open_sessions) == "{}"
