"""Complete, rerunnable, private transport of imaging series."""

__version__ = "0.1.0"
