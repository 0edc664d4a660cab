"""The formats: between files and an Image (`read`, `write`), and of a series in the workflow.

A new format is a module with `read` or `write` and a line in `registry.FORMATS`; what the workflow
offers of them is `conversion.CONVERSIONS`.
"""

from seriesport.formats.registry import FORMATS, Format, detect, read, write
from seriesport.workflow.conversion import CONVERSIONS, Conversion, Output, convert

__all__ = [
    "CONVERSIONS",
    "FORMATS",
    "Conversion",
    "Format",
    "Output",
    "convert",
    "detect",
    "read",
    "write",
]
