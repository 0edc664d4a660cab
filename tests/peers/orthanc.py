"""Orthanc over a temporary folder."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

from peers.process import Peer, echo, free_port, program, tls_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from peers.certificates import Certificate


class Orthanc(Peer):
    """An Orthanc as it is shipped, but that it answers everybody and checks the called AE title.

    Args:
        folder: an empty folder for its configuration, index and storage.
        aet: its AE title.
        certificate: makes it speak TLS only, and trust what the same authority signed.
        require_client_certificate: refuse requestors without a certificate.
        options: further configuration keys.
    """

    def __init__(
        self,
        folder: Path,
        aet: str = "ORTHANC",
        *,
        certificate: Certificate | None = None,
        require_client_certificate: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.aet, self.log = folder, aet, folder / "orthanc.log"
        self.http_port = 0
        self._certificate = certificate
        self._options = dict(options or {})
        if certificate is not None:
            self._options |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(certificate.chain),
                "DicomTlsPrivateKey": str(certificate.key),
                "DicomTlsTrustedCertificates": str(certificate.ca),
                "DicomTlsRemoteCertificateRequired": require_client_certificate,
            }
        self._start()

    def store(self, paths: Sequence[Path]) -> None:
        """Load instances through the REST interface, which keeps the data sets as they are."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=60)
        try:
            for path in paths:
                connection.request("POST", "/instances", path.read_bytes())
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, (
                    f"Orthanc refused {path}: {answer.status} {body[:300]!r}"
                )
        finally:
            connection.close()

    def rest(self, method: str, path: str, body: object = None) -> Any:
        """A call of the REST interface: the decoded JSON answer, or the bytes."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, f"{method} {path}: {answer.status} {content[:300]!r}"
            is_json = answer.getheader("Content-Type", "").startswith("application/json")
            return json.loads(content) if is_json else content
        finally:
            connection.close()

    def instances(self) -> list[str]:
        """Orthanc's own names of all instances that it holds."""
        return list(self.rest("GET", "/instances"))

    def clear(self) -> None:
        """Delete everything."""
        for patient in self.rest("GET", "/patients"):
            self.rest("DELETE", f"/patients/{patient}")

    def _command(self) -> list[str]:
        self.http_port = free_port()
        configuration = {
            "Name": self.aet,
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "StrictAetComparison": True,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "UnknownSopClassAccepted": True,
            "ExecuteLuaEnabled": False,
            "SaveJobs": False,
            "SyncStorageArea": False,
            "Plugins": [],
            **self._options,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration, indent=1))
        return [program("Orthanc"), str(path)]

    def _ready(self) -> bool:
        return echo(self.port, self.aet, tls_options(self._certificate))
