"""What must be done before this process ends, also where it is stopped: leave servers politely."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_callbacks: list[Callable[[], None]] = []


def before_leaving(callback: Callable[[], None]) -> None:
    """Have something called at the end of the process: once, however often it is asked for."""
    if not _callbacks:
        atexit.register(_call)
    if callback not in _callbacks:
        _callbacks.append(callback)


def stop_as_by_ctrl_c() -> None:
    """Let SIGTERM, and the end of a terminal, end this process as Ctrl-C does: politely.

    What is ignored, as by nohup, stays so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def leave(status: int) -> NoReturn:
    """End the process at once, without waiting for threads that listen to a server.

    Another Ctrl-C does not wait for servers either.
    """

    def at_once(_: int, __: FrameType | None) -> None:
        os._exit(status)

    signal.signal(signal.SIGINT, at_once)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    _call()
    os._exit(status)


def _call() -> None:
    while _callbacks:
        callback = _callbacks.pop()
        with suppress(Exception):
            callback()
