"""Instances as files, and what dciodvfy (dicom3tools) says about them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from seriesport.dicom.part10 import encode_file_meta

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from seriesport.model.instance import Instance

DCIODVFY = "/usr/bin/dciodvfy"


def save(instances: Iterable[Instance], folder: Path) -> list[Path]:
    """Write instances as DICOM files, numbered."""
    folder.mkdir(parents=True)
    paths: list[Path] = []
    for i, instance in enumerate(instances, 1):
        path = folder / f"{i:04d}.dcm"
        meta = encode_file_meta(
            instance.header.sop_class_uid, instance.uid, instance.transfer_syntax_uid
        )
        with instance.payload.open() as stream:
            content = stream.read()
        assert len(content) == instance.payload.size
        path.write_bytes(meta + content)
        paths.append(path)
    return paths


def errors(path: Path) -> list[str]:
    """The violations of the standard that dciodvfy finds in a file."""
    done = subprocess.run(
        [DCIODVFY, "-new", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]
