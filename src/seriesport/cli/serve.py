"""`seriesport serve`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from seriesport.config.config_yaml import environment_name
from seriesport.errors import SeriesportError
from seriesport.serve.archive import Archive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType


def serve(folder: Path, command: Sequence[str], *, aet: str, port: int, name: str) -> int:
    """Serve a folder while a command runs; gives the command's exit code.

    The command finds the archive under the config's server `name`, by the environment variable
    that stands in for its host and port. Without a command, serves until it is stopped.

    Raises:
        SeriesportError: file-unreadable for the folder or the command.
    """
    if not folder.is_dir():
        raise SeriesportError("file-unreadable", f"{folder} is not a folder")
    with Archive(folder, aet, port=port) as archive:
        if not command:
            print(f"{archive.url} serves {folder}; stop with Ctrl-C", flush=True)
            return _until_stopped()
        environment = os.environ | {environment_name(name): f"127.0.0.1:{archive.port}"}
        return _run(command, environment)


def _run(command: Sequence[str], environment: dict[str, str]) -> int:
    try:
        child = subprocess.Popen(command, env=environment)  # noqa: S603 - the user's own command
    except OSError as error:
        what = f"cannot run {command[0]}: {os.strerror(error.errno or 0)}"
        raise SeriesportError("file-unreadable", what) from None

    def pass_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
    status = child.wait()
    return status if status >= 0 else 128 - status


def _until_stopped() -> int:
    stop = threading.Event()

    def end(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    stop.wait()
    sys.stdout.flush()
    return 0
