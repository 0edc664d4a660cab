"""DICOM archives over `dimse`: C-FIND, C-GET and C-STORE, and their proof."""

from seriesport.config.registration import Registration
from seriesport.transports.archive.address import parse
from seriesport.transports.archive.server import DicomServer

TRANSPORT = Registration(
    parse, "seriesport.transports.archive.transport:DicomTransport", DicomServer
)
