"""Lists, downloads and uploads with yaxil; prints what it saw as JSON.

It uploads assessors only: a document, and files beside it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import yaxil

url, folder = sys.argv[1], Path(sys.argv[2])
auth = yaxil.auth2(host=url, username="admin", password="admin")
try:
    (experiment,) = yaxil.experiments(auth, label="E", project="P")
    (subject,) = yaxil.subjects(auth, label="S", project="P")
    (same,) = yaxil.experiments(auth, subject=subject)
    assert same.id == experiment.id
    scans = list(yaxil.scans(auth, experiment=experiment))
    rest = f"/data/experiments/{experiment.id}/scans/1/files"
    found = yaxil.get(auth, rest, autobox=True, fmt=yaxil.Format.JSON).content
    seen = {
        "scans": {scan["id"]: scan["type"] for scan in scans},
        "files": [row["Name"] for row in found["ResultSet"]["Result"]],
    }
    yaxil.download(auth, "E", ["1"], project="P", out_dir=str(folder / "down"))
    yaxil.download(auth, "E", ["1"], project="P", out_dir=str(folder / "zip"), out_format="native")
    artifacts = folder / "artifacts"
    (artifacts / "assessor").mkdir(parents=True)
    (artifacts / "assessor" / "assessment.xml").write_text(
        '<xnat:QCManualAssessment xmlns:xnat="http://nrg.wustl.edu/xnat" ID="QC" label="QC">'
        f"<xnat:imageSession_ID>{experiment.id}</xnat:imageSession_ID></xnat:QCManualAssessment>"
    )
    shutil.copytree(folder / "up", artifacts / "resources" / "up")
    yaxil.storerest(auth, str(artifacts), "NEW")
finally:
    yaxil.end_session(auth)
sys.stdout.write(json.dumps(seen) + "\n")
