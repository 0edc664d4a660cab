"""DICOM archives over `dimse`: C-FIND, C-GET and C-STORE, and their proof."""
