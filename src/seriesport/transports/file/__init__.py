"""Files and folders."""

from seriesport.config.registration import Registration
from seriesport.transports.file.address import parse

TRANSPORT = Registration(parse, "seriesport.transports.file.transport:FileTransport")
