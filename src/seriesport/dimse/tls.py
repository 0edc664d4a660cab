"""TLS towards an archive: a handshake before the first DICOM byte."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError
from seriesport.tls import context, failure

if TYPE_CHECKING:
    import socket

    from seriesport.settings import DicomServer, Tls


def handshake(sock: socket.socket, server: DicomServer, tls: Tls) -> ssl.SSLSocket:
    """Shake hands within `server.connect_timeout`, before a DICOM byte is sent.

    Raises:
        SeriesportError: tls-untrusted, tls-failed or timeout.
    """
    name = tls.server_name or server.host
    sock.settimeout(server.connect_timeout)
    try:
        return context(tls).wrap_socket(sock, server_hostname=name)
    except TimeoutError as error:
        problem = f"no TLS handshake within {server.connect_timeout:g} s"
        raise SeriesportError("timeout", problem) from error
    except ssl.SSLError as error:
        raise failure(error) from error
    except OSError as error:
        problem = "the server closed the connection during the TLS handshake"
        raise SeriesportError("tls-failed", problem) from error
