"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seriesport.errors import SeriesportError
from seriesport.store.files import (
    copy_range,
    locked,
    write_bytes,
    write_if_changed,
    write_text,
    writing,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.txt"
    write_text(path, "one")
    write_text(path, "two é")
    assert path.read_text("utf-8") == "two é"
    assert names(path.parent) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail() -> None:
        with writing(path) as stream:
            stream.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_private_file_is_readable_by_its_owner_alone_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    old = os.umask(0)
    try:
        with writing(path, private=True) as stream:
            assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o600
            stream.write(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_that_is_taken_is_not_replaced_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def overwrite() -> None:
        with writing(path, replace=False) as stream:
            stream.write(b"new")

    with pytest.raises(SeriesportError) as caught:
        overwrite()
    assert caught.value.code == "destination-conflict"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_written_is_a_reason_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SeriesportError) as caught:
        write_text(tmp_path / "file" / "CANARY", "x")
    assert caught.value.code == "file-unwritable"
    assert "CANARY" not in str(caught.value)


def test_an_equal_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_if_changed(path, b"same")
    before = path.stat()
    write_if_changed(path, b"same")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_if_changed(path, b"other")
    assert path.read_bytes() == b"other"


KILLED = """
import sys, time
from pathlib import Path
from seriesport.store.files import writing
with writing(Path(sys.argv[1])) as stream:
    stream.write(b"half of it" * 1000)
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_used_up_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not path.exists()
        process.send_signal(signal.SIGKILL)
    assert len(names(tmp_path)) == 1
    assert not path.exists()
    write_bytes(path, b"whole")
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() == b"whole"


def test_two_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def write(byte: bytes) -> None:
        for _ in range(10):
            with writing(path) as stream:
                for _ in range(20):
                    stream.write(byte * 100)

    threads = [threading.Thread(target=write, args=(b,)) for b in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(path.read_bytes())) == 1
    assert len(path.read_bytes()) == 2000
    assert names(tmp_path) == ["a"]


def test_a_lock_excludes_others_and_leaves_no_file(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(5):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert names(tmp_path) == []


def test_a_lock_that_is_held_for_too_long_is_a_timeout(tmp_path: Path) -> None:
    def wait() -> None:
        with locked(tmp_path / "lock", timeout=0.1):
            pass

    with locked(tmp_path / "lock"), pytest.raises(SeriesportError) as caught:
        wait()
    assert caught.value.code == "timeout"


@pytest.mark.parametrize("kernel", [True, False])
def test_a_range_is_copied_between_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    if not kernel:

        def refuse(*_: int) -> int:
            raise OSError(18, "cross-device")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as target:
        copy_range(source.fileno(), 100, target.fileno(), 7, 2_500_000)
        with pytest.raises(EOFError):
            copy_range(source.fileno(), 2_999_000, target.fileno(), 0, 2000)
    assert (tmp_path / "b").read_bytes()[7 + 2000 : 2_500_007] == content[2100:2_500_100]
