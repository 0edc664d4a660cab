"""Complete, rerunnable, private transport of imaging series.

    from seriesport import Series, copy, fetch, find, verify

`find`, `fetch`, `copy` and `verify` move series between folders, ZIPs, archives and XNATs. `Series`
reads one as an array and writes it. `Settings` holds servers and limits, and `open_transport`
opens a source or destination for code of your own. What goes wrong is a `SeriesportError` with a
reason code.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from seriesport.version import __version__

if sys.platform == "win32":
    raise ImportError("Seriesport does not run on Windows; install it in WSL, which is a Linux")

if TYPE_CHECKING:
    from seriesport.config.settings import Settings
    from seriesport.errors import SeriesportError
    from seriesport.series import Series
    from seriesport.transfer.copy import copy
    from seriesport.transfer.fetch import fetch
    from seriesport.transfer.find import find
    from seriesport.transfer.verify import verify
    from seriesport.transports.registry import open_transport

__all__ = [
    "Series",
    "SeriesportError",
    "Settings",
    "__version__",
    "copy",
    "fetch",
    "find",
    "open_transport",
    "verify",
]

if not TYPE_CHECKING:  # hidden from type checkers, which would take any name for one of ours
    # NumPy and pydicom take half a second, which a command does without.
    _MODULES = {
        "Series": "series",
        "SeriesportError": "errors",
        "Settings": "config.settings",
        "copy": "transfer.copy",
        "fetch": "transfer.fetch",
        "find": "transfer.find",
        "open_transport": "transports.registry",
        "verify": "transfer.verify",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"seriesport.{_MODULES[name]}"), name)

    def __dir__():
        return __all__
