"""The demo's XNAT leg: runs a command while a test XNAT is up, beside a config that names it.

    python tests/demo_xnat.py FOLDER -- snakemake --quiet all --directory FOLDER

FOLDER becomes a working directory with config/config.yaml and config/cohort.yaml. One entry goes
from the demo's archive to XNAT, with the NIfTI and the preview that are made of it; one comes from
XNAT and goes to a folder. The server's state stays in FOLDER/server, so that a second run finds
what the first one left.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from peers.xnat import Xnat

PROJECT = "DEMO"
CONFIG = """\
cohort: config/cohort.yaml
formats: [nifti, preview]
servers:
  demo: {host: 127.0.0.1, port: 11112}    # SERIESPORT_SERVER_DEMO and …_XNAT stand in for these
  xnat: {url: "http://127.0.0.1:8080/xnat"}
"""
COHORT = """\
demo: true
cohort:
  - label: to-xnat
    source: dicom://demo/ARCHIVE
    patient: "98890234"
    study: "1.3.6.1.4.1.5962.1.1.0.0.0.1194734704.16302.0.1"
    modality: [CT]
    min_instances: 3
    destinations: ["xnat://xnat/DEMO/heart/heart_CT"]
    upload: [dicom, nifti, preview]
  - label: from-xnat
    source: xnat://xnat/DEMO/thorax/thorax_CT/1
    destinations: [delivered]
"""


def main() -> int:
    folder, mark, *command = sys.argv[1:]
    if mark != "--" or not command:
        sys.exit(__doc__)
    home = Path(folder)
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "config.yaml").write_text(CONFIG)
    (home / "config" / "cohort.yaml").write_text(COHORT)
    image = files("pydicom") / "data" / "test_files" / "CT_small.dcm"
    password = secrets.token_urlsafe(12)
    with Xnat(home / "server") as server:
        server.add_user("researcher", password)
        server.add_project(PROJECT, researcher="member")
        server.add_scan(
            PROJECT,
            "thorax",
            "thorax_CT",
            "1",
            {"CT_small.dcm": image.read_bytes()},
            xsi="xnat:ctScanData",
            session_xsi="xnat:ctSessionData",
            type="thorax",
        )
        environment = os.environ | {
            "SERIESPORT_SERVER_XNAT": server.url,
            "SERIESPORT_USER_XNAT": "researcher",
            "SERIESPORT_PASSWORD_XNAT": password,
        }
        ended = subprocess.run(command, env=environment, check=False).returncode
        if ended == 0:
            for scan in server.scans(PROJECT, "heart_CT"):
                for resource in server.resources(PROJECT, "heart_CT", scan):
                    count = len(server.stored(PROJECT, "heart_CT", scan, resource))
                    print(f"XNAT has {PROJECT}/heart/heart_CT/{scan}/{resource}: {count} files")  # noqa: T201
        return ended


if __name__ == "__main__":
    sys.exit(main())
