"""What is done before a process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROCESS = """
import sys
from seriesport.shutdown import before_leaving, leave

def goodbye():
    print("goodbye", flush=True)

def failing():
    raise RuntimeError

for _ in range(3):
    before_leaving(goodbye)
    before_leaving(failing)
if sys.argv[1] == "leave":
    leave(3)
sys.exit(3)
"""


@pytest.mark.parametrize("end", ["leave", "exit"])
def test_what_is_asked_for_several_times_is_done_once(end: str):
    command = [sys.executable, "-c", _PROCESS, end]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("goodbye\n", "", 3)
