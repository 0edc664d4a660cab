"""ZIP files."""
