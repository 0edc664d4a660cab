"""The version of Seriesport."""

__version__ = "0.1.0"
