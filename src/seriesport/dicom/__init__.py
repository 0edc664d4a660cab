"""DICOM elements and files (PS3.5, PS3.10): read, checked and written without NumPy."""
