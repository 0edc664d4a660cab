"""ZIP files."""

from seriesport.config.registration import Registration
from seriesport.transports.zip.address import parse

TRANSPORT = Registration(parse, "seriesport.transports.zip.transport:ZipTransport")
