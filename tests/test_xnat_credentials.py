"""Who the user is to an XNAT, and that nobody else learns it."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriesport.config.credentials import Credentials, find_credentials
from seriesport.errors import SeriesportError
from seriesport.transports.xnat.server import XnatServer

SERVER = XnatServer("my-xnat", "https://h.example:8443/xnat")
ENTRY = "machine {} login {} password CANARY\n"


def netrc(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    file = folder / "secrets"
    file.write_text(text)
    file.chmod(mode)
    return {"NETRC": str(file)}


def refusal(environ: dict[str, str], server: XnatServer = SERVER) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        find_credentials(server, environ)
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in repr(caught.value.__cause__)
    return caught.value


def test_the_environment_comes_before_netrc(tmp_path: Path):
    environ = netrc(tmp_path, ENTRY.format("h.example", "other"))
    environ |= {"SERIESPORT_USER_MY_XNAT": "me", "SERIESPORT_PASSWORD_MY_XNAT": "p"}
    assert find_credentials(SERVER, environ) == Credentials("me", "p")


def test_host_and_port_come_before_the_host_alone(tmp_path: Path):
    text = ENTRY.format("h.example", "host") + ENTRY.format("h.example:8443", "port")
    environ = netrc(tmp_path, text)
    assert find_credentials(SERVER, environ).user == "port"
    other = XnatServer("x", "https://h.example/xnat")
    assert find_credentials(other, environ).user == "host"
    default = netrc(tmp_path, ENTRY.format("h.example:443", "port"))
    assert find_credentials(other, default).user == "port"


def test_without_netrc_variable_it_is_the_one_at_home(tmp_path: Path):
    (tmp_path / ".netrc").write_text(ENTRY.format("h.example", "home"))
    (tmp_path / ".netrc").chmod(0o600)
    assert find_credentials(SERVER, {"HOME": str(tmp_path)}).user == "home"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_netrc_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int):
    environ = netrc(tmp_path, ENTRY.format("h.example", "me"), mode)
    error = refusal(environ)
    assert error.code == "credentials-exposed"
    assert f"chmod 0600 {environ['NETRC']}" in error.message


def test_a_password_is_not_sent_to_a_server_that_nobody_named(tmp_path: Path):
    environ = netrc(tmp_path, "default login me password CANARY\n")
    error = refusal(environ)
    assert error.code == "credentials-missing"
    assert "SERIESPORT_USER_MY_XNAT" in error.message


@pytest.mark.parametrize(
    "text", ["machine h.example login me\n", "nonsense CANARY\n", "machine h.example CANARY x\n"]
)
def test_a_netrc_file_that_says_too_little_is_told_without_its_words(tmp_path: Path, text: str):
    assert refusal(netrc(tmp_path, text)).code == "credentials-missing"


def test_a_netrc_file_in_another_encoding_is_told(tmp_path: Path):
    environ = netrc(tmp_path, "")
    Path(environ["NETRC"]).write_bytes(b"machine h.example login me password \xff\xe9\n")
    error = refusal(environ)
    assert error.code == "credentials-missing"
    assert "UTF-8" in error.message


def test_a_host_in_netrc_may_be_in_capitals(tmp_path: Path):
    environ = netrc(tmp_path, "machine H.Example login me password p\n")
    assert find_credentials(SERVER, environ) == Credentials("me", "p")


def test_half_of_a_pair_in_the_environment_is_told():
    error = refusal({"SERIESPORT_PASSWORD_MY_XNAT": "CANARY", "HOME": "/nonexistent"})
    assert error.message.endswith("SERIESPORT_PASSWORD_MY_XNAT without SERIESPORT_USER_MY_XNAT")


def test_nothing_at_all_is_told():
    assert refusal({"HOME": "/nonexistent"}).code == "credentials-missing"


def test_a_password_is_in_no_representation():
    assert "CANARY" not in repr(Credentials("me", "CANARY"))
