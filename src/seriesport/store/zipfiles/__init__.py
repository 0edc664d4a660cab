"""ZIP files: their records, checked before they are trusted, read in place and appended to."""
