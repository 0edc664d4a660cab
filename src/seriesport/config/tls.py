"""TLS contexts for every kind of server: always verified, with failures that say what is wrong."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from seriesport.errors import SeriesportError

if TYPE_CHECKING:
    from seriesport.config.settings import Tls

_EXPIRED = 10
_SELF_SIGNED = (18, 19)
_UNKNOWN_ISSUER = (2, 20, 21)
_WRONG_HOST = (62, 64)
"""Verification results of OpenSSL (X509_V_ERR_*)."""


def context(tls: Tls) -> ssl.SSLContext:
    """The TLS context of a server: TLS 1.2 or later (PS3.15 annex B.12), host name checked.

    Raises:
        SeriesportError: tls-failed, where the authorities, the certificate or its key cannot be
            read.
    """
    try:
        made = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            key = str(tls.key) if tls.key else None
            made.load_cert_chain(str(tls.certificate), key, password=_no_password)
    except (OSError, ValueError) as error:
        problem = "tls.ca, tls.certificate or tls.key cannot be read, or they do not fit together"
        raise SeriesportError("tls-failed", problem) from error
    return made


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def failure(error: ssl.SSLError) -> SeriesportError:
    """The error for a handshake that failed: tls-untrusted or tls-failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return SeriesportError("tls-untrusted", _untrusted(error))
    reason = (error.reason or "no TLS answer").replace("_", " ").lower()
    return SeriesportError("tls-failed", f"the TLS handshake failed: {reason}")


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "the server's certificate has expired"
    if error.verify_code in _SELF_SIGNED:
        return "the server's certificate is signed by itself or by an authority that is not trusted"
    if error.verify_code in _UNKNOWN_ISSUER:
        return "the server's certificate is from an authority that is not trusted"
    if error.verify_code in _WRONG_HOST:
        return "the server's certificate is for another host name (tls.server_name)"
    return f"the server's certificate was refused: {error.verify_message}"
