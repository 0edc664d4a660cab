"""Lists, downloads and uploads with xnatpy; prints what it saw as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import xnat

url, folder, model = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
options = {
    "full": {},
    "core": {"extension_types": False},
    "none": {"no_parse_model": True},
}[model]
E = "/data/projects/P/subjects/S/experiments/E"
(folder / "down").mkdir()

with xnat.connect(url, user="admin", password="admin", verify=False, **options) as session:
    if model == "none":
        rows = session.get_json(f"{E}/scans")["ResultSet"]["Result"]
        names = session.get_json(f"{E}/scans/1/files")["ResultSet"]["Result"]
        seen = {
            "scans": {row["ID"]: row["type"] for row in rows},
            "files": [row["Name"] for row in names],
        }
        for row in names:
            session.download(row["URI"], folder / "down" / row["Name"])
        session.put(f"{E}/scans/9?xsiType=xnat:mrScanData&type=T2w", accepted_status=(200, 201))
        session.put(f"{E}/scans/9/resources/NEW")
        for path in sorted((folder / "up").iterdir()):
            session.upload_file(f"{E}/scans/9/resources/NEW/files/{path.name}", path)
    else:
        experiment = session.projects["P"].subjects["S"].experiments["E"]
        scan = experiment.scans["1"]
        seen = {
            "scans": {each.id: each.type for each in experiment.scans.values()},
            "files": [each.name for each in scan.resources["DICOM"].files.values()],
        }
        scan.download_dir(str(folder / "zip"))
        for each in scan.resources["DICOM"].files.values():
            each.download(str(folder / "down" / each.name))
        made = session.classes.MrScanData(parent=experiment, id="9", type="9")
        resource = made.create_resource("NEW")
        for path in sorted((folder / "up").iterdir()):
            resource.upload(str(path), path.name)
        bulk = made.create_resource("BULK")
        bulk.upload_dir(str(folder / "up"), method="tar_memory")
sys.stdout.write(json.dumps(seen) + "\n")
