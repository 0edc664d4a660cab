"""Put `counted` in the place of the DICOM transport, in every Python with this folder on its path.

    PYTHONPATH=tests/peers/counting COUNTED=/tmp/fetched.txt snakemake …

Python imports a module of this name when it starts, so the workflow's own jobs have it too.
"""

from __future__ import annotations

import sys
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

_REPLACED = "seriesport.transports.archive.transport"


class _Finder:
    """Finds one module, elsewhere."""

    @staticmethod
    def find_spec(
        name: str, _path: Sequence[str] | None = None, _target: object = None
    ) -> ModuleSpec | None:
        if name != _REPLACED:
            return None
        return spec_from_file_location(name, Path(__file__).with_name("counted.py"))


sys.meta_path.insert(0, _Finder())  # pyright: ignore[reportArgumentType] - a class will do
