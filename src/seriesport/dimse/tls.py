"""TLS towards an archive: a handshake before the first DICOM byte."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from seriesport.config.tls import context, failure
from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    import socket

    from seriesport.config.settings import Tls
    from seriesport.dimse.peer import Peer

_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
)
"""What OpenSSL calls an answer that is no TLS."""
_PLAIN = "if its port speaks plain DICOM, leave tls: out or give the TLS port"


def handshake(sock: socket.socket, server: Peer, tls: Tls) -> ssl.SSLSocket:
    """Shake hands within `server.connect_timeout`, before a DICOM byte is sent.

    Raises:
        SeriesportError: tls-untrusted, or tls-failed, also where the port speaks no TLS.
    """
    name = tls.server_name or server.host
    sock.settimeout(server.connect_timeout)
    try:
        return context(tls).wrap_socket(sock, server_hostname=name)
    except TimeoutError as error:
        problem = f"no TLS answer within {server.connect_timeout:g} s; {_PLAIN}"
        raise SeriesportError("tls-failed", problem) from error
    except ssl.SSLError as error:
        if error.reason in _NO_TLS:
            raise SeriesportError(
                "tls-failed", f"the server answers without TLS; {_PLAIN}"
            ) from error
        raise failure(error) from error
    except OSError as error:
        problem = f"the server closed the connection during the TLS handshake; {_PLAIN}"
        raise SeriesportError("tls-failed", problem) from error
