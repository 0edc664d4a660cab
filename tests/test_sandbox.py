from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from peers import wait_until
from seriesport.errors import SeriesportError
from seriesport.formats.sandbox import Finished, Limits, run


def script(folder: Path, code: str, limits: Limits | None = None, clock: float = 20) -> Finished:
    """Run Python code as a program."""
    return run([sys.executable, "-S", "-c", code], folder, clock, limits)


def landlock() -> bool:
    """Whether this kernel confines files."""
    lists = Path("/sys/kernel/security/lsm")
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    return "landlock" in lists.read_text() if lists.is_file() else release >= (5, 13)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder of the program's own."""
    folder = tmp_path / "room"
    folder.mkdir()
    return folder


def test_a_program_says_what_it_has_to_say(room: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['TMPDIR'] == os.getcwd()); sys.exit(3)"
    for limits in (None, Limits()):
        assert script(room, code, limits) == Finished(3, f"{room} True\n")


def test_a_program_inherits_no_environment(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert "hunter2" not in script(room, "import os; print(os.environ)", Limits()).console


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(room: Path) -> None:
    code = "import subprocess, time; subprocess.Popen(['/bin/sleep', '77.5']); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(SeriesportError, match="timeout"):
        script(room, code, clock=1)
    assert time.monotonic() - start < 10
    assert not [p for p in psutil.process_iter(["cmdline"]) if "77.5" in (p.info["cmdline"] or [])]


def test_cpu_time_memory_and_file_size_have_limits(room: Path) -> None:
    assert script(room, "while True: pass", Limits(cpu=1)).status < 0
    eat = script(room, "bytes(3 << 30)", Limits(memory=1 << 30))
    assert "MemoryError" in eat.console
    write = "open('big', 'wb').write(bytes(3 << 20))"
    assert script(room, write, Limits(file_size=1 << 20)).status != 0
    assert (room / "big").stat().st_size <= 1 << 20


def test_a_program_sees_its_own_folder_alone(room: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    (room / "link").symlink_to(secret)
    (room / "mine").write_text("mine")
    code = f"""
import os
def attempt(name, call):
    try:
        call()
        print(name, "done")
    except OSError as error:
        print(name, error.errno)
attempt("own", lambda: open("mine").read())
attempt("new", lambda: open("new", "w").write("x"))
attempt("read", lambda: open({str(secret)!r}).read())
attempt("link", lambda: open("link").read())
attempt("list", lambda: os.listdir({str(tmp_path)!r}))
attempt("write", lambda: open({str(tmp_path / "evil")!r}, "w"))
attempt("delete", lambda: os.remove({str(secret)!r}))
attempt("rename", lambda: os.rename({str(secret)!r}, "stolen"))
attempt("passwd", lambda: open("/etc/passwd").read())
attempt("run", lambda: os.execv("/bin/sh", ["sh", "-c", "echo run done"]))
"""
    # The program here is Python, which stands below the folder of its environment.
    lines = dict(line.split() for line in script(room, code, Limits()).console.splitlines())
    assert lines.pop("own") == lines.pop("new") == "done"
    assert set(lines) == {*["read", "link", "list", "write", "delete", "rename", "passwd", "run"]}
    if landlock():  # else the kernel confines nothing
        assert set(lines.values()) <= {"13", "18"}
        assert secret.read_text() == "hunter2"


def test_a_program_has_no_network(room: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5); print('open')"
        assert "open" in script(room, code).console
        assert "open" not in script(room, code, Limits()).console


def test_a_program_that_is_missing_is_named(room: Path) -> None:
    for limits in (None, Limits()):
        with pytest.raises(SeriesportError, match="tool-missing"):
            run(["/usr/bin/nothing-there"], room, 5, limits)


@pytest.mark.skipif(not landlock(), reason="this kernel has no Landlock")
def test_a_program_in_the_home_folder_does_not_see_the_home(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    (home / "bin").mkdir(parents=True)
    (home / "secret").write_text("hunter2")
    (home / "lib").mkdir()
    (home / "lib" / "secret").write_text("hunter2")
    shutil.copy("/bin/cat", home / "bin" / "cat")
    for name in ("secret", "lib/secret"):
        found = run([str(home / "bin" / "cat"), str(home / name)], room, 20, Limits())
        assert "hunter2" not in found.console
        assert found.status != 0
    (room / "mine").write_text("mine")
    assert run([str(home / "bin" / "cat"), "mine"], room, 20, Limits()) == Finished(0, "mine")


def test_a_program_ends_with_the_process_that_started_it(room: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from seriesport.formats import sandbox\n"
        "sandbox.run(['/bin/sleep', '78.5'], Path(sys.argv[1]), 60, sandbox.Limits())"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(room)])
    try:
        wait_until(lambda: bool(sleeping("78.5")), 60, "the program")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not sleeping("78.5"), 20, "its end")


def sleeping(seconds: str) -> list[psutil.Process]:
    """The programs that sleep for so long."""
    every = psutil.process_iter(["cmdline"])
    return [p for p in every if (p.info["cmdline"] or [])[1:] == [seconds]]
