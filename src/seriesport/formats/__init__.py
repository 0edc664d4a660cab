"""The formats: between files and an Image. Knows no network, no credentials and no workflow.

A new format is a module with `read` or `write` and a line in `registry.FORMATS`.
"""

from seriesport.formats.registry import FORMATS, Format, detect, read, write

__all__ = ["FORMATS", "Format", "detect", "read", "write"]
