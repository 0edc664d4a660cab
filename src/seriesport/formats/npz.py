"""NumPy's .npz, readable with `numpy.load(path, allow_pickle=False)`; not compressed.

Members:
    array: Rescaled values; integers where slope and intercept are whole numbers, else floats.
    axes: The names of the array's axes, of (tag, slice, row, column, rgb) those it has. A tag is
        called after what it is: time, temporal, trigger, b, echo, acquisition, instance, frame.
    affine: 4 x 4, from (slice, row, column, 1) to RAS in mm. For a volume,
        `nibabel.Nifti1Image(array, affine)` is right as it is; a tag axis goes last there.
    spacing: Between slices, rows and columns, in mm.
    values: The tag's value along its axis, where there is a tag axis: ms for echo and trigger,
        s/mm² for b, s from the first for time, else a number.

Pictures that lie nowhere in the patient (ultrasound, radiographs) have no affine and spacing.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.formats.source import Source
    from seriesport.image import Array

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def write(source: Source, folder: Path, stem: str) -> None:
    """Make STEM.npz.

    Raises:
        SeriesportError: geometry-irregular, conversion-failed, instance-invalid.
    """
    image = source.image
    members: dict[str, Array] = {"array": image.array, "axes": np.array(image.axes)}
    if image.affine_ras is not None and image.spacing is not None:
        members |= {"affine": image.affine_ras, "spacing": np.array(image.spacing)}
    for values in image.tags.values():
        members["values"] = np.array(values)
    with zipfile.ZipFile(folder / f"{stem}.npz", "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{name}.npy", _TIMESTAMP)
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
