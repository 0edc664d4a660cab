"""XNAT over HTTP: one session per process and server, typed listings, files proven one by one.

`session` moves requests within clocks, `paths` writes and reads paths, `catalog` lists what a
server has, `download` fetches files.
"""

from seriesport.config.registration import Registration
from seriesport.transports.xnat.address import parse
from seriesport.transports.xnat.server import XnatServer

TRANSPORT = Registration(parse, "seriesport.transports.xnat.transport:XnatTransport", XnatServer)
