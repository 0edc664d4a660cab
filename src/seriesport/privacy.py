"""Keeping identifiers off every screen and out of every log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seriesport.access import file_mode, make_folder, set_mode
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from collections.abc import Generator


def where(error: Exception) -> str:
    """The type and place of a foreign exception, whose text may hold an identifier."""
    cause = f" ({os.strerror(error.errno)})" if isinstance(error, OSError) and error.errno else ""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__}{cause} at {places}"


def printable(value: object) -> str:
    """Return a text for a screen, whose cursor a server's text must not move."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def with_matches(error: SeriesportError, text: str) -> str:
    """Return a text about an error for stderr; on a terminal with the identifiers of matches."""
    return "\n    ".join([text, *(error.matches if sys.stderr.isatty() else ())])


@contextmanager
def reasoned() -> Generator[None]:
    """Raise what nobody foresaw as SeriesportError: internal, without its text."""
    try:
        yield
    except SeriesportError:
        raise
    except Exception as error:  # noqa: BLE001 - a user gets a reason, whatever it is
        raise SeriesportError("internal", where(error)) from None


def quiet_log(path: Path) -> None:
    """Log Seriesport's own lines, which carry no identifier, to a file, and nobody else's."""
    log = logging.getLogger("seriesport")
    make_folder(path.parent)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    set_mode(path, file_mode())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    silence_libraries()


def silence_libraries() -> None:
    """Keep the log lines and warnings of libraries, which quote header values, off every screen."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "PIL", "nibabel", "urllib3", "requests", "xnat"):
        library = logging.getLogger(name)
        library.handlers = [logging.NullHandler()]
        library.propagate = False


def tracked_by_git(path: Path) -> bool:
    """Return True for a file whose content a commit would publish; False where git cannot tell."""
    file = path.resolve()
    command = ("git", "--literal-pathspecs", "ls-files", "--error-unmatch", "--", file.name)
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command, and the user's own file
            command, cwd=file.parent, capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
