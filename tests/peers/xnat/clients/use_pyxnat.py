"""Lists, downloads and uploads with pyxnat; prints what it saw as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyxnat

url, folder = sys.argv[1], Path(sys.argv[2])
(folder / "down").mkdir()
(folder / "zip").mkdir()
interface = pyxnat.Interface(server=url, user="admin", password="admin")
try:
    experiment = interface.select.project("P").subject("S").experiment("E")
    scan = experiment.scan("1")
    scans = experiment.scans().get()
    resource = scan.resource("DICOM")
    seen = {
        "scans": {name: experiment.scan(name).attrs.get("type") for name in scans},
        "files": resource.files().get(),
    }
    for name in resource.files().get():
        resource.file(name).get(str(folder / "down" / name))
    resource.get(str(folder / "zip"), extract=True)
    subject = interface.select.project("P").subject("S2")
    subject.create()
    made = subject.experiment("E2").create(experiments="xnat:mrSessionData")
    target = made.scan("9").create(scans="xnat:mrScanData", **{"xnat:mrScanData/type": "T2w"})
    for path in sorted((folder / "up").iterdir()):
        target.resource("NEW").file(path.name).put(str(path), format="DICOM", content="RAW")
    target.resource("BULK").put_dir(str(folder / "up"), extract=True)
finally:
    interface.disconnect()
sys.stdout.write(json.dumps(seen) + "\n")
