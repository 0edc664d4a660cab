"""The worker process of `decoders`: runs decoders of others within limits on time and memory."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.images.frames import quiet
from seriesport.privacy import silence_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = struct.Struct("<LQ")
"""What stands before an answer: the lengths of its JSON and of the bytes of its array."""
_MEMORY = 1 << 30
_COPIES = 16
"""Times a picture's size that its decoder may take on top of that."""
_MAX_CONSOLE = 1 << 20


def main() -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    # What libraries print goes to the console, and never between the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    silence_libraries()
    for name, most in (("CORE", 0), ("FSIZE", _MAX_CONSOLE)):  # a core dump would hold pixels
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            function, seconds, *arguments = json.loads(line)
            _answer(answers, _pieces(_found(function), arguments), seconds)


def limit_memory(picture: int = 0) -> None:
    """Limit the memory of the process to what decoding a picture of so many bytes may take.

    macOS has no such limit; there the limits on the picture's size and on time hold alone.
    """
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MEMORY + _COPIES * picture
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _found(function: str) -> Callable[..., Iterator[Any]]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _pieces(function: Callable[..., Iterator[Any]], arguments: list[Any]) -> Iterator[Any]:
    with quiet():
        yield from function(*arguments)


def _answer(answers: BinaryIO, pieces: Iterator[Any], seconds: int) -> None:
    limit_memory()
    while True:
        # The kernel ends a decoder that does not return, even where the parent is gone.
        signal.alarm(seconds)
        try:
            piece = next(pieces)
        except StopIteration:
            said: dict[str, Any] = {}
        except SeriesportError as error:
            said = {"code": error.code, "problem": error.message}
        except BaseException as error:  # noqa: BLE001 - extensions raise what is no Exception
            said = {"problem": type(error).__name__}
        else:
            signal.alarm(0)
            if isinstance(piece, np.ndarray):
                array: np.ndarray[Any, np.dtype[Any]] = np.ascontiguousarray(piece)  # pyright: ignore[reportUnknownArgumentType] any
                said = {"array": array.shape, "dtype": array.dtype.str}
                _send(answers, said, array.reshape(-1).view(np.uint8).data)
            else:
                _send(answers, {"value": piece})
            continue
        signal.alarm(0)
        _send(answers, said)
        return


def _send(answers: BinaryIO, said: dict[str, Any], data: bytes | memoryview = b"") -> None:
    text = json.dumps(said).encode()
    for part in (HEAD.pack(len(text), len(data)) + text, data):
        view = memoryview(part)
        while view:
            view = view[answers.write(view) :]
