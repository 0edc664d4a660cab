"""An XNAT of our own, held to what a real one was seen to do."""

from __future__ import annotations

from peers.xnat.faults import Fault, Faults
from peers.xnat.peer import Xnat
from peers.xnat.server import Logged

__all__ = ["Fault", "Faults", "Logged", "Xnat"]
