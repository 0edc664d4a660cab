from __future__ import annotations

import os
from pathlib import Path

import pytest

import data
from peers import Orthanc, PeerMissingError
from peers.process import INSTALL, program


def test_a_missing_server_is_a_failure_with_the_line_to_type() -> None:
    with pytest.raises(PeerMissingError, match=INSTALL):
        program("no-such-server")


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    first = data.mr(tmp_path / "a", data.identity("seed"))
    again = data.mr(tmp_path / "b", data.identity("seed"))
    other = data.mr(tmp_path / "c", data.identity("another seed"))
    assert first.datasets == again.datasets
    assert not set(first.uids) & set(other.uids)


def test_a_server_is_gone_after_it_was_stopped(tmp_path: Path) -> None:
    server = Orthanc(tmp_path / "orthanc", "BRIEF")
    made = data.sr(tmp_path / "made", data.identity("stop"))
    server.store(made.paths)
    assert len(server.instances()) == 1
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        server.instances()


def test_nobody_but_this_machine_can_reach_a_server_of_the_tests(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", "INSIDE") as server:
        assert f":{server.port:04X} " in Path("/proc/net/tcp").read_text()
    lines = Path("/proc/net/dev").read_text().splitlines()
    if os.geteuid() == 0:
        assert [line.split(":")[0].strip() for line in lines if ":" in line] == ["lo"]
