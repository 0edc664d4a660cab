"""The real servers that the tests talk to, each started by the tests and stopped by its own PID."""

from __future__ import annotations

from peers.certificates import Authority, Certificate
from peers.dcmtk import Dcmqrscp, Storescp
from peers.orthanc import Orthanc
from peers.process import Peer, PeerMissingError, free_port, wait_until

__all__ = [
    "Authority",
    "Certificate",
    "Dcmqrscp",
    "Orthanc",
    "Peer",
    "PeerMissingError",
    "Storescp",
    "free_port",
    "wait_until",
]
