"""The XNAT that the tests talk to behaves as the real one did, losses included."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from data import identity, mr
from peers import wait_until
from peers.xnat import Fault, Xnat
from peers.xnat.replay import Digests, Player, differences
from peers.xnat.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers import Authority

SESSION = "/data/projects/P/subjects/S/experiments/E"
SCAN = f"{SESSION}/scans/1"
FILES = f"{SCAN}/resources/DICOM/files"
CONTENT = {"a.dcm": b"a" * 1000, "b.dcm": b"b" * 3000}
GONE = (OSError, http.client.HTTPException)


@pytest.fixture
def xnat(tmp_path: Path) -> Iterator[Xnat]:
    """A server with one scan of two files."""
    with filled(tmp_path) as server:
        yield server


@pytest.fixture
def talk(xnat: Xnat) -> Iterator[Talk]:
    with Talk(xnat.url) as client:
        yield client


@contextmanager
def filled(folder: Path, **options: Any) -> Iterator[Xnat]:
    with Xnat(folder / "xnat", **options) as server:
        server.add_scan("P", "S", "E", "1", CONTENT, type="T1w", series_description="t1 mprage")
        server.add_user("max", "max", P="member")
        server.add_user("col", "col", P="collaborator")
        server.add_user("nobody", "nobody")
        yield server


# Against the recordings


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.6.4", "1.6.5"])
def test_the_answers_are_those_of_a_real_server(tmp_path: Path, version: str) -> None:
    wrong: list[str] = []
    count = 0
    with Xnat(tmp_path, version) as server:
        for scan in "12345":
            server.add_scan("P1", "S", "E", scan, {"x": b"x"} if scan == "1" else None)
        server.state.items["project:P1"].fields["name"] = "Project One"
        server.add_user("viewer", "viewer")
        server.state.users["viewer"] |= {
            "firstname": "V", "lastname": "W", "email": "v@example.invalid",
        }  # fmt: skip
        digests = Digests()
        player = Player(server.url, partial(dict.update, server.state.counters))
        for file in ("exchanges.jsonl", "permissions.jsonl", "exchanges_165.jsonl"):
            if "165" in file:
                server.add_project("PR1", member="member")
                server.add_user("member", "member")
                server.add_user("noaccess", "noaccess")
            for exchange, answer in player.play(file):
                count += 1
                found = differences(exchange, answer, digests)
                wrong += [f"{exchange['label']}: {each}" for each in found]
    assert not wrong, "\n".join(wrong)
    assert count == 183 + 25 + 190


# What is lost behind a 200, by the numbers of the list in docs


def test_1_a_put_without_the_right_to_edit_is_answered_200_and_not_stored(xnat: Xnat) -> None:
    with Talk(xnat.url, "col") as collaborator:
        assert collaborator("PUT", f"{FILES}/c.dcm", b"new") == (200, b"")
        assert collaborator("PUT", f"{FILES}/a.dcm?overwrite=true", b"new") == (200, b"")
    assert xnat.stored("P", "E", "1") == CONTENT
    assert not xnat.orphans("P", "E", "1")


def test_2_a_put_onto_a_file_is_answered_200_and_names_it_as_a_duplicate(
    xnat: Xnat, talk: Talk
) -> None:
    status, body = talk("PUT", f"{FILES}/a.dcm", b"new")
    assert (status, json.loads(body)) == (200, {"duplicates": ["a.dcm"]})
    assert xnat.stored("P", "E", "1") == CONTENT
    assert talk("PUT", f"{FILES}/a.dcm?overwrite=true", b"new") == (200, b"")
    assert xnat.stored("P", "E", "1")["a.dcm"] == b"new"


def test_3_a_client_that_drops_a_put_leaves_an_orphan_that_overwriting_heals(
    xnat: Xnat, talk: Talk
) -> None:
    where = urlsplit(xnat.url)
    talk("GET", "/data/projects")
    head = f"PUT {where.path}{FILES}/c.dcm HTTP/1.1\r\nHost: x\r\nCookie: {talk.cookie}\r\n"
    with socket.create_connection(("127.0.0.1", xnat.port)) as client:
        client.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n" + b"c" * 400)
    wait_until(lambda: bool(xnat.orphans("P", "E", "1")), 5, "an orphan")
    assert xnat.orphans("P", "E", "1") == {"c.dcm": b"c" * 400}
    status, body = talk("PUT", f"{FILES}/c.dcm", b"c" * 1000)
    assert (status, json.loads(body)) == (200, {"duplicates": ["c.dcm"]})
    assert "c.dcm" not in talk.names(FILES)
    assert talk("PUT", f"{FILES}/c.dcm?overwrite=true", b"c" * 1000)[0] == 200
    assert xnat.stored("P", "E", "1")["c.dcm"] == b"c" * 1000


def upload(url: str, numbers: list[int], path: str, done: dict[int, int]) -> None:
    with Talk(url) as client:
        for number in numbers:
            body = os.urandom(60000)
            done[number] = client("PUT", path.format(number), body)[0]


def in_threads(url: str, path: str, files: int = 40, threads: int = 8) -> dict[int, int]:
    done: dict[int, int] = {}
    running = [
        threading.Thread(target=upload, args=(url, list(range(k, files, threads)), path, done))
        for k in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    assert len(done) == files
    return done


def test_4_of_puts_at_the_same_time_into_one_resource_some_fail_and_some_are_lost(
    xnat: Xnat,
) -> None:
    done = in_threads(xnat.url, f"{SCAN}/resources/MANY/files/{{}}.bin")
    answered = {f"{number}.bin" for number, status in done.items() if status == 200}
    listed = set(xnat.stored("P", "E", "1", "MANY"))
    assert set(done.values()) == {200, 500}
    assert listed < answered
    assert set(xnat.orphans("P", "E", "1", "MANY")) == answered - listed
    assert xnat.busiest_puts[f"{SCAN}/resources/MANY"] > 1


def test_puts_into_resources_of_their_own_are_all_stored(xnat: Xnat) -> None:
    done = in_threads(xnat.url, f"{SCAN}/resources/R{{}}/files/x.bin")
    assert set(done.values()) == {200}
    assert len(xnat.resources("P", "E", "1")) == 41
    assert xnat.busiest > 1


def test_puts_one_after_the_other_are_all_stored(xnat: Xnat) -> None:
    done = in_threads(xnat.url, f"{SCAN}/resources/MANY/files/{{}}.bin", threads=1)
    assert set(done.values()) == {200}
    assert len(xnat.stored("P", "E", "1", "MANY")) == 40


def test_5_an_experiment_of_another_subject_is_moved(xnat: Xnat, talk: Talk) -> None:
    path = "/data/projects/P/subjects/OTHER/experiments/E?xsiType=xnat:mrSessionData"
    assert talk("PUT", path)[0] == 200
    moved, other = xnat.experiment("P", "E"), xnat.subject("P", "OTHER")
    assert moved is not None
    assert other is not None
    assert moved.parent == other.id


def test_6_one_unknown_field_drops_all_of_them(xnat: Xnat, talk: Talk) -> None:
    query = "xsiType=xnat:mrScanData&xnat:mrScanData/type=T2w&xnat:mrScanData/nosuch=1"
    assert talk("PUT", f"{SESSION}/scans/2?{query}")[0] == 200
    scan = xnat.scan("P", "E", "2")
    assert scan is not None
    assert scan.fields == {}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def images(folder: Path, slices: int = 4) -> bytes:
    paths = mr(folder, identity("xnat"), times=1, slices=slices).paths
    return zipped({path.name: path.read_bytes() for path in paths})


def test_7_a_truncated_zip_is_imported_with_200(xnat: Xnat, talk: Talk, tmp_path: Path) -> None:
    path = "/data/services/import?inbody=true&dest=/archive/projects/P/subjects/T/experiments/{}"
    whole = images(tmp_path / "images")
    assert talk("POST", path.format("WHOLE"), whole)[0] == 200
    status, body = talk("POST", path.format("HALF"), whole[: len(whole) // 2])
    assert status == 200
    assert body.strip().endswith(b"/experiments/HALF")
    counts = {
        label: sum(len(xnat.stored("P", label, scan)) for scan in xnat.scans("P", label))
        for label in ("WHOLE", "HALF")
    }
    assert counts["WHOLE"] == 4
    assert 0 < counts["HALF"] < 4


def test_8_a_zip_leaves_out_what_is_missing_on_the_servers_disk(xnat: Xnat, talk: Talk) -> None:
    xnat.lose("P", "E", "1", "a.dcm")
    status, body = talk("GET", f"{FILES}?format=zip")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert [name.rpartition("/")[2] for name in archive.namelist()] == ["b.dcm"]
    assert talk.names(FILES) == ["a.dcm", "b.dcm"]
    assert talk("GET", f"{FILES}/a.dcm")[0] == 404


def test_9_the_files_of_what_does_not_exist_are_an_empty_list(talk: Talk) -> None:
    assert talk.rows(f"{SESSION}/scans/99/files") == []
    assert talk.rows(f"{SCAN}/resources/NOPE/files") == []


def test_10_import_with_overwrite_delete_replaces_without_a_look(
    xnat: Xnat, talk: Talk, tmp_path: Path
) -> None:
    dest = "dest=/archive/projects/P/subjects/T/experiments/I"
    path = f"/data/services/import?inbody=true&{dest}"
    assert talk("POST", path, images(tmp_path / "four"))[0] == 200
    (scan,) = xnat.scans("P", "I")
    one = images(tmp_path / "one", 1)
    assert talk("POST", path, one)[0] == 409
    assert talk("POST", f"{path}&overwrite=append", one)[0] == 409
    assert len(xnat.stored("P", "I", scan)) == 4
    assert talk("POST", f"{path}&overwrite=delete", one)[0] == 200
    assert len(xnat.stored("P", "I", scan)) == 1


# Logins and sessions


def test_a_login_of_1_8_answers_a_session_that_ends_when_told(xnat: Xnat) -> None:
    with Talk(xnat.url, "") as client:
        assert client("GET", "/data/projects")[0] == 401
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        auth = "/data/services/auth"
        assert client("PUT", auth, b"username=max&password=wrong", **form)[0] == 401
        status, name = client("PUT", auth, b"username=max&password=max", **form)
        assert (status, client.cookie) == (200, f"JSESSIONID={name.decode()}")
        assert client("GET", "/data/projects")[0] == 200
        assert xnat.open_sessions == {name.decode(): "max"}
        assert client("DELETE", "/data/JSESSION")[0] == 200
        assert client("GET", "/data/projects")[0] == 401
    assert xnat.open_sessions == {}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_basic_authentication_opens_one_session(xnat: Xnat, method: str) -> None:
    with Talk(xnat.url, "max") as client:
        status, name = client(method, "/data/JSESSION")
        assert status == 200
        client("GET", "/data/projects")
        assert xnat.open_sessions == {name.decode(): "max"}


def test_an_alias_token_logs_in_until_it_is_withdrawn(xnat: Xnat, talk: Talk) -> None:
    token = json.loads(talk("GET", "/data/services/tokens/issue")[1])
    alias, secret = token["alias"], token["secret"]
    with Talk(xnat.url, alias, secret) as client:
        assert client("GET", "/data/JSESSION")[0] == 200
    assert set(xnat.open_sessions.values()) == {"admin"}
    assert talk("GET", f"/data/services/tokens/invalidate/{alias}/{secret}")[0] == 200
    with Talk(xnat.url, alias, secret) as client:
        assert client("GET", "/data/JSESSION")[0] == 401


def test_one_session_too_many_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path, session_limit=2) as server, ExitStack() as stack:
        clients = [stack.enter_context(Talk(server.url)) for _ in range(3)]
        assert [client("GET", "/data/projects")[0] for client in clients] == [200, 200, 401]


def test_a_user_without_a_role_sees_nothing(xnat: Xnat) -> None:
    with Talk(xnat.url, "nobody") as client:
        assert client.rows("/data/projects") == []
        assert client("GET", "/data/projects/P")[0] == 404
        assert client("GET", f"{FILES}/a.dcm")[0] == 404
        assert client("PUT", f"{FILES}/c.dcm", b"x")[0] == 404


# Files, types and digests


def test_a_range_of_a_file_is_answered_206(talk: Talk) -> None:
    assert talk("GET", f"{FILES}/a.dcm", Range="bytes=990-") == (206, b"a" * 10)
    assert talk.headers["Content-Range"] == "bytes 990-999/1000"
    assert talk("GET", f"{FILES}/a.dcm", Range="bytes=-5") == (206, b"a" * 5)
    assert talk("GET", f"{FILES}/a.dcm", Range="bytes=1000-") == (206, b"")
    assert talk.headers["Content-Range"] == "bytes 1000-999/1000"


def test_an_answer_to_a_range_behind_the_end_never_ends(tmp_path: Path) -> None:
    with filled(tmp_path, idle_seconds=0.5) as server, Talk(server.url) as client:
        with pytest.raises(http.client.IncompleteRead) as broken:
            client("GET", f"{FILES}/a.dcm", Range="bytes=0-65535")
        assert broken.value.partial == CONTENT["a.dcm"]
        assert client.headers["Content-Length"] == "65536"
        assert client.headers["Content-Range"] == "bytes 0-65535/1000"
        assert "Connection" not in client.headers


def test_a_range_comes_whatever_the_condition(talk: Talk) -> None:
    for condition in ('"another"', "Mon, 01 Jan 2001 00:00:00 GMT"):
        asked = {"Range": "bytes=0-9", "If_Range": condition}
        assert talk("GET", f"{FILES}/a.dcm", **asked) == (206, b"a" * 10)


def test_a_name_that_lists_give_to_another_file_is_stored_and_never_listed(
    xnat: Xnat, talk: Talk
) -> None:
    assert talk("PUT", f"{FILES}/c%20d.dcm", b"first") == (200, b"")
    assert talk("PUT", f"{FILES}/c%2520d.dcm", b"second") == (200, b"")
    assert talk.names(FILES) == ["a.dcm", "b.dcm", "c%20d.dcm"]
    assert xnat.orphans("P", "E", "1") == {"c%20d.dcm": b"second"}
    assert talk("GET", f"{FILES}/c%20d.dcm") == (200, b"first")


def test_a_document_gives_the_fields_of_a_session_with_what_is_below_them(
    xnat: Xnat, talk: Talk
) -> None:
    body = (
        '<xnat:CTSession xmlns:xnat="http://nrg.wustl.edu/xnat" label="OTHER">'
        "<xnat:note>&lt;b&gt; &amp; \u00fc</xnat:note>"
        '<xnat:scanner manufacturer="M">S</xnat:scanner></xnat:CTSession>'
    )
    sent = {"Content_Type": "text/xml"}
    assert talk("PUT", f"{SESSION}2?inbody=true", body.encode(), **sent)[0] == 201
    made = xnat.experiment("P", "E2")
    assert made is not None
    assert made.xsi == "xnat:ctSessionData"
    assert made.fields == {"note": "<b> & \u00fc", "scanner": "S", "scanner/manufacturer": "M"}
    assert talk("PUT", f"{SESSION}3?inbody=true", b"<nosuch", **sent)[0] == 422
    assert xnat.experiment("P", "E3") is None


def test_1_8_refuses_another_type_for_a_scan(xnat: Xnat, talk: Talk) -> None:
    assert talk("PUT", f"{SCAN}?xsiType=xnat:ctScanData")[0] == 409
    scan = xnat.scan("P", "E", "1")
    assert scan is not None
    assert scan.xsi == "xnat:mrScanData"


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("on", True, True),
        ("on-refresh", False, True),
        ("off", False, False),
        ("absent", None, None),
    ],
)
def test_digests_come_as_the_mode_says(
    tmp_path: Path, mode: str, before: bool | None, after: bool | None
) -> None:
    digest = hashlib.md5(CONTENT["a.dcm"]).hexdigest()
    wanted = {True: digest, False: "", None: None}
    with filled(tmp_path, digests=mode) as server, Talk(server.url) as client:
        assert client.rows(FILES)[0].get("digest") == wanted[before]
        item = server.experiment("P", "E")
        assert item is not None
        where = f"resource=/archive/experiments/{item.id}/scans/1&options=checksum"
        assert client("POST", f"/data/services/refresh/catalog?{where}")[0] == 200
        assert client.rows(FILES)[0].get("digest") == wanted[after]


def test_a_refresh_lists_orphans_and_drops_what_is_gone(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("lossy", f"{FILES}/*", "PUT"))
    talk("PUT", f"{FILES}/c.dcm", b"c")
    xnat.lose("P", "E", "1", "a.dcm")
    where = f"resource=/archive{SCAN.removeprefix('/data')}&options=append,delete"
    talk("POST", f"/data/services/refresh/catalog?{where}")
    assert talk.names(FILES) == ["b.dcm", "c.dcm"]


# What stays


def test_all_is_there_again_after_a_restart(tmp_path: Path) -> None:
    with filled(tmp_path) as server, Talk(server.url) as client:
        client("PUT", f"{FILES}/c.dcm", b"c")
        before = {path: client.rows(path) for path in (FILES, f"{SESSION}/scans")}
    with Xnat(tmp_path / "xnat") as server, Talk(server.url) as client:
        assert {path: client.rows(path) for path in before} == before
        assert server.stored("P", "E", "1") == {**CONTENT, "c.dcm": b"c"}
        assert client("PUT", f"{SESSION}2?xsiType=xnat:mrSessionData")[1] == b"XNAT_E00002"


@contextmanager
def process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "peers.xnat", str(folder), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def test_what_a_killed_server_answered_is_there_again(tmp_path: Path) -> None:
    with process(tmp_path / "x", "--project", "P", "--user", "max:pw:P=member") as (child, url):
        with Talk(url, "max", "pw") as client:
            client("PUT", f"{SESSION}?xsiType=xnat:mrSessionData")
            client("PUT", f"{SCAN}?xsiType=xnat:mrScanData")
            assert client("PUT", f"{FILES}/a.dcm", b"a") == (200, b"")
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    with Xnat(tmp_path / "x") as server:
        assert server.stored("P", "E", "1") == {"a.dcm": b"a"}


def test_a_process_takes_its_faults_from_a_file(tmp_path: Path) -> None:
    table = tmp_path / "faults.json"
    table.write_text(json.dumps([{"kind": "status", "status": 503, "retry_after": "7"}]))
    with process(tmp_path / "x", "--faults", str(table)) as (child, url), Talk(url) as client:
        assert client("GET", "/data/projects")[0] == 503
        assert client.headers["Retry-After"] == "7"
        assert client("GET", "/data/projects")[0] == 200
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0


def test_it_speaks_tls(tmp_path: Path, authority: Authority) -> None:
    own = authority.certificate("xnat", hosts=("127.0.0.1",))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(own.chain, own.key)
    trust = ssl.create_default_context(cafile=str(own.ca))
    with filled(tmp_path, tls=server_side) as server, Talk(server.url, tls=trust) as client:
        assert server.url.startswith("https://")
        assert client("GET", f"{FILES}/b.dcm") == (200, CONTENT["b.dcm"])


def test_administrators_at_the_same_time_lose_nothing(xnat: Xnat) -> None:
    def create(number: int) -> None:
        with Talk(xnat.url) as client:
            for each in range(5):
                session = f"/data/projects/P/subjects/S{number}/experiments/E{number}-{each}"
                assert client("PUT", f"{session}?xsiType=xnat:mrSessionData")[0] == 201

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with Talk(xnat.url) as client:
        rows = client.rows("/data/projects/P/experiments")
    assert len({row["ID"] for row in rows}) == 31


def test_a_put_without_a_length_or_a_body_is_refused(xnat: Xnat, talk: Talk) -> None:
    where = urlsplit(xnat.url)
    connection = http.client.HTTPConnection("127.0.0.1", xnat.port, timeout=10)
    talk("GET", "/data/projects")
    cookie = {"Cookie": talk.cookie}
    connection.request("PUT", f"{where.path}{FILES}/c.dcm", iter([b"c", b"d"]), cookie)
    assert connection.getresponse().status == 500
    connection.close()
    assert talk("PUT", f"{FILES}/c.dcm", b"")[0] == 500
    assert not xnat.orphans("P", "E", "1")
    assert xnat.stored("P", "E", "1") == CONTENT


# Faults


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 500, 502, 503])
def test_a_status_is_answered_as_often_as_told(xnat: Xnat, talk: Talk, status: int) -> None:
    fault = Fault("status", "*/files/a.dcm", "GET", skip=1, times=2, status=status)
    xnat.faults.add(fault)
    answers = [talk("GET", f"{FILES}/a.dcm")[0] for _ in range(5)]
    assert answers == [200, status, status, 200, 200]
    assert (fault.seen, fault.fired) == (5, 2)
    assert xnat.faults.listed()[0]["fired"] == 2


def test_the_login_page_comes_with_200(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("login-html"))
    status, body = talk("GET", f"{FILES}/a.dcm")
    assert status == 200
    assert b"<html" in body.lower()


def test_a_session_ends_before_its_time(xnat: Xnat, talk: Talk) -> None:
    assert talk("GET", f"{FILES}/a.dcm")[0] == 200
    xnat.faults.add(Fault("expire"))
    assert talk("GET", f"{FILES}/a.dcm")[0] == 401


@pytest.mark.parametrize(
    "fault",
    [
        Fault("close"),
        Fault("cut", after=400),
        Fault("reset", after=400),
        Fault("cut", after=0),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.after}",
)
def test_a_download_breaks_off(xnat: Xnat, talk: Talk, fault: Fault) -> None:
    xnat.faults.add(fault)
    with pytest.raises(GONE):
        talk("GET", f"{FILES}/a.dcm")
    assert fault.fired == 1
    assert xnat.requests[-1].sent == (fault.after or 0)
    assert talk("GET", f"{FILES}/a.dcm") == (200, CONTENT["a.dcm"])


def test_one_bit_is_wrong(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("flip", after=7))
    body = talk("GET", f"{FILES}/a.dcm")[1]
    assert [at for at, byte in enumerate(body) if byte != CONTENT["a.dcm"][at]] == [7]
    assert len(body) == 1000


def test_a_zip_is_truncated_or_lacks_files(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("zip-truncated"))
    status, body = talk("GET", f"{FILES}?format=zip")
    assert status == 200
    assert not zipfile.is_zipfile(io.BytesIO(body))
    xnat.faults.add(Fault("zip-missing", count=1))
    with zipfile.ZipFile(io.BytesIO(talk("GET", f"{FILES}?format=zip")[1])) as archive:
        assert len(archive.namelist()) == 1
    with zipfile.ZipFile(io.BytesIO(talk("GET", f"{FILES}?format=zip")[1])) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 2


def test_a_list_says_something_else(xnat: Xnat, talk: Talk) -> None:
    whole = talk.rows(FILES)
    for kind in ("digest-wrong", "digest-empty", "digest-missing", "size-wrong"):
        xnat.faults.add(Fault(kind, f"{FILES}", name="a.dcm"))
        first, second = talk.rows(FILES)
        assert first != whole[0]
        assert (second == whole[1]) == (kind != "digest-missing")
        xnat.faults.clear()
    assert talk.rows(FILES) == whole


def test_an_answer_comes_late_or_slowly(xnat: Xnat, talk: Talk) -> None:
    talk("GET", "/data/projects")
    xnat.faults.add(Fault("stall", seconds=0.3))
    began = time.monotonic()
    assert talk("GET", f"{FILES}/a.dcm")[0] == 200
    assert time.monotonic() - began >= 0.3
    xnat.faults.add(Fault("trickle", rate=5000))
    began = time.monotonic()
    assert talk("GET", f"{FILES}/a.dcm") == (200, CONTENT["a.dcm"])
    assert time.monotonic() - began >= 0.15


def test_a_put_is_accepted_and_not_stored_or_never_listed(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("not-stored", method="PUT"))
    assert talk("PUT", f"{FILES}/c.dcm", b"c") == (200, b"")
    assert not xnat.orphans("P", "E", "1")
    xnat.faults.add(Fault("lossy", method="PUT"))
    assert talk("PUT", f"{FILES}/c.dcm", b"c") == (200, b"")
    assert xnat.orphans("P", "E", "1") == {"c.dcm": b"c"}


def test_a_put_breaks_off_and_leaves_an_orphan(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("orphan", method="PUT", after=10))
    with pytest.raises(GONE):
        talk("PUT", f"{FILES}/c.dcm", b"c" * 100)
    assert xnat.orphans("P", "E", "1") == {"c.dcm": b"c" * 10}


def test_a_change_is_made_and_the_reply_is_lost(xnat: Xnat, talk: Talk) -> None:
    talk("GET", "/data/projects")
    xnat.faults.add(Fault("reply-lost", method="PUT", times=2))
    for path, body in ((f"{SESSION}2?xsiType=xnat:mrSessionData", b""), (f"{FILES}/c.dcm", b"c")):
        with pytest.raises(GONE):
            talk("PUT", path, body)
    assert xnat.experiment("P", "E2")
    assert xnat.stored("P", "E", "1")["c.dcm"] == b"c"


def test_a_request_is_sent_elsewhere(xnat: Xnat, talk: Talk) -> None:
    xnat.faults.add(Fault("redirect", location="http://other.invalid/x"))
    assert talk("GET", f"{FILES}/a.dcm")[0] == 302
    assert talk.headers["Location"] == "http://other.invalid/x"


def test_requests_are_logged_with_what_was_sent(xnat: Xnat, talk: Talk) -> None:
    talk("GET", f"{FILES}/b.dcm")
    talk("PUT", f"{FILES}/c%20d.dcm?overwrite=true", b"12345")
    got, put = xnat.requests
    assert (got.method, got.path, got.status, got.sent) == ("GET", f"{FILES}/b.dcm", 200, 3000)
    assert (put.path, put.query, put.received) == (f"{FILES}/c d.dcm", "overwrite=true", 5)
    assert (put.user, f"JSESSIONID={put.session}") == ("admin", talk.cookie)
    assert got.connection == put.connection
