"""The server as a process: `python -m peers.xnat FOLDER` prints its URL and runs until killed."""

from __future__ import annotations

import argparse
import signal
import ssl
from pathlib import Path

from peers.xnat.peer import DIGESTS, PROFILES, Xnat


def main() -> None:
    parser = argparse.ArgumentParser(prog="peers.xnat", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--profile", choices=PROFILES, default="1.8")
    parser.add_argument("--digests", choices=DIGESTS)
    parser.add_argument("--context", default="/xnat")
    parser.add_argument("--session-limit", type=int)
    parser.add_argument("--faults", type=Path, help="a JSON list of faults")
    parser.add_argument("--project", action="append", default=[], help="one to have from the start")
    parser.add_argument("--user", action="append", default=[], help="LOGIN:PASSWORD:PROJECT=ROLE,…")
    parser.add_argument("--certificate", type=Path, help="PEM, with the key")
    given = parser.parse_args()
    tls = None
    if given.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.certificate)
    words = {"context": given.context, "session_limit": given.session_limit, "port": given.port}
    with Xnat(given.folder, given.profile, given.digests, tls=tls, **words) as server:
        for project in given.project:
            server.add_project(project)
        for user in given.user:
            login, password, roles = (user + "::").split(":")[:3]
            pairs = [pair.partition("=") for pair in roles.split(",") if pair]
            server.add_user(login, password, **{project: role for project, _, role in pairs})
        if given.faults:
            server.faults.load(given.faults)
        print(server.url, flush=True)  # noqa: T201
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
main()
