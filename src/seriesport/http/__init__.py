"""What web transports share: connections within clocks, bounded answers. No address, no DICOM."""
