"""Complete, rerunnable, private transport of imaging series."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from seriesport.version import __version__

if sys.platform == "win32":
    raise ImportError("Seriesport does not run on Windows; install it in WSL, which is a Linux")

if TYPE_CHECKING:
    from seriesport.errors import SeriesportError as SeriesportError
    from seriesport.series import Series as Series

__all__ = ["Series", "SeriesportError", "__version__"]


def __getattr__(name: str) -> Any:
    # NumPy and pydicom take half a second, which the command line does without.
    if name == "Series":
        from seriesport.series import Series  # noqa: PLC0415 - see above

        return Series
    if name == "SeriesportError":
        from seriesport.errors import SeriesportError  # noqa: PLC0415 - see above

        return SeriesportError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
