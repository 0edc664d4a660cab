"""Decoders of others, in a process of their own, where nothing that they do can end the job.

The worker is started when the first compressed pixels are met and is kept for those that follow. It
is asked by a line of JSON (the name of a generator function and its arguments), and answers with
what that gives: arrays as their bytes, everything else as JSON. What it raises, of whatever kind,
comes back as a name; where it crashes or does not answer in time, it is ended, and the next request
starts another. What decoders write to their console goes to Seriesport's log.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from seriesport.errors import REASONS, SeriesportError
from seriesport.images.decoding import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 120
"""Longest time that one picture may take to decode."""
_GRACE = 30
"""Seconds beyond that in which the worker may start, and is expected to end itself."""
_MAX_TEXT = 1 << 20
_MAX_LINES, _MAX_LINE = 20, 200
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    "from seriesport.images.decoding import main; main()"
)
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
"""Of the worker: one thread in each library, and one line for each panic."""

_log = logging.getLogger("seriesport")
_lock = threading.Lock()
_idle: list[_Worker] = []


class DecoderError(Exception):
    """A decoder raised something, crashed, or took too long; the text says which."""


def decode(function: str, *arguments: Any) -> Iterator[Any]:
    """What a generator function yields that runs in the worker: arrays, and values of JSON.

    Args:
        function: MODULE:NAME.
        arguments: Of the function; values that JSON can hold.

    Raises:
        SeriesportError: As the function does.
        DecoderError: For everything else that goes wrong.
    """
    worker = _take()
    try:
        yield from worker.ask(function, arguments)
    finally:
        worker.tell_console()
        if worker.ready:
            with _lock:
                _idle.append(worker)
        else:
            worker.end()


def _take() -> _Worker:
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.lives:
                return worker
            worker.end()
    try:
        return _Worker()
    except OSError as error:
        problem = f"the decoder cannot be started: {os.strerror(error.errno or 0)}"
        raise DecoderError(problem) from None


def _forget() -> None:
    """Leave the workers to the parent, in a process that was forked from it."""
    _idle.clear()


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()


os.register_at_fork(after_in_child=_forget)


class _Worker:
    """A running worker process, for one request at a time."""

    def __init__(self) -> None:
        self.ready = True
        """True between requests."""
        self._told = 0
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, by a fixed command
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._console,
            bufsize=0,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self._write(sys.path)

    @property
    def lives(self) -> bool:
        """True while the process has not ended."""
        return self._process.poll() is None

    def ask(self, function: str, arguments: tuple[Any, ...]) -> Iterator[Any]:
        """See `decode`."""
        self.ready = False
        self._write([function, SECONDS, *arguments])
        while True:
            deadline = time.monotonic() + SECONDS + _GRACE
            text, size = HEAD.unpack(self._bytes(HEAD.size, deadline))
            if text > _MAX_TEXT:
                raise DecoderError("the decoder's answer is none")
            said = json.loads(self._bytes(text, deadline))
            if "array" in said:
                array = np.empty(said["array"], np.dtype(str(said["dtype"])))
                if array.nbytes != size or array.dtype.kind not in "biuf":
                    raise DecoderError("the decoder's answer is none")
                self._read(memoryview(array.reshape(-1).view(np.uint8).data), deadline)
                yield array
            elif "value" in said:
                yield said["value"]
            else:
                self.ready = True
                _raise(said)
                return

    def _write(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
        except BrokenPipeError:
            raise DecoderError(self._ending()) from None

    def _bytes(self, count: int, deadline: float) -> bytes:
        data = bytearray(count)
        self._read(memoryview(data), deadline)
        return bytes(data)

    def _read(self, view: memoryview, deadline: float) -> None:
        """Fill a buffer with what the worker says."""
        assert self._process.stdout is not None
        pipe, done = self._process.stdout.fileno(), 0
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while done < len(view):
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                raise DecoderError(f"the decoder took longer than {SECONDS} s")
            count = os.readv(pipe, [view[done:]])
            if not count:
                raise DecoderError(self._ending())
            done += count

    def _ending(self) -> str:
        """Why the worker is gone."""
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "the decoder closed its pipe"
        if status == -signal.SIGALRM:
            return f"the decoder took longer than {SECONDS} s"
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"the decoder crashed: {how}"

    def tell_console(self) -> None:
        """Bring to the log what decoders wrote to their console, as far as it is readable."""
        size = os.fstat(self._console.fileno()).st_size
        fresh = os.pread(self._console.fileno(), _MAX_LINES * _MAX_LINE, self._told)
        self._told = size
        for line in fresh.decode("ascii", "replace").splitlines()[:_MAX_LINES]:
            plain = "".join(c for c in line[:_MAX_LINE] if c.isprintable()).strip()
            if plain:
                _log.info("decoder: %s", plain)

    def end(self) -> None:
        """Kill the process, whatever it is at."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._console):
            assert stream is not None
            stream.close()


def _raise(said: dict[str, Any]) -> None:
    code, problem = said.get("code"), str(said.get("problem", ""))
    if code in REASONS:
        raise SeriesportError(str(code), problem)
    if problem:
        raise DecoderError(problem)
