"""The b-values and directions of diffusion images, and FSL's .bval and .bvec files.

FSL's vectors are in the image's own axes, "radiological voxel convention": along the rising column,
row and slice index, with the first turned round where the affine into RAS has a positive
determinant (FSL, FDT user guide, "What conventions do the bvecs use?"; dcm2niix does the same).
Between LPS and RAS x and y turn round; the change of axes takes that into account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seriesport.errors import SeriesportError, unreadable
from seriesport.formats.guard import damaged
from seriesport.images.geometry import lps_to_ras

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.images.geometry import Affine, Vector

_MAX_BYTES = 4 << 20


def _turn(affine: Affine) -> Vector:
    """From FSL's axes to LPS: the matrix that a vector is multiplied with."""
    ras = lps_to_ras(affine)[:3, [2, 1, 0]]
    axes = lps_to_ras(affine)[:3, [2, 1, 0]] / np.linalg.norm(ras, axis=0)
    # The nearest rotation: the axes of a sheared stack are not perpendicular.
    u, _, v = np.linalg.svd(axes)
    turn = np.diag([-1.0, -1.0, 1.0]) @ (u @ v)
    if np.linalg.det(ras) > 0:
        turn[:, 0] *= -1
    return turn


def to_lps(vectors: Vector, affine: Affine) -> Vector:
    """FSL's vectors, (3, volumes), as unit vectors in LPS or zeros, (volumes, 3)."""
    turned = (_turn(affine) @ np.nan_to_num(vectors)).T
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    units: Vector = np.divide(turned, lengths, out=np.zeros_like(turned), where=lengths > 1e-6)
    return units + 0.0


def to_fsl(vectors: Vector, affine: Affine) -> Vector:
    """Vectors in LPS, (volumes, 3), as FSL's, (3, volumes)."""
    turned: Vector = _turn(affine).T @ vectors.T
    return turned + 0.0


def read_table(path: Path, rows: int) -> Vector:
    """A .bval or .bvec file, (rows, volumes); one that lies on its side is turned.

    Raises:
        SeriesportError: image-invalid, file-unreadable.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        lines = [line.split() for line in text.decode("ascii").splitlines() if line.strip()]
        table = np.array([[float(v) for v in line] for line in lines], np.float64)
    except OSError as error:
        raise unreadable(error) from error
    except ValueError:
        raise damaged(f"a {path.suffix} file is no table of numbers") from None
    if len(text) > _MAX_BYTES or table.ndim != 2 or rows not in table.shape:
        raise damaged(f"a {path.suffix} file has not {rows} rows of numbers")
    return table if table.shape[0] == rows else table.T


def read(
    bval: Path, bvec: Path, affine: Affine | None, volumes: int
) -> tuple[Vector | None, Vector | None]:
    """b-values, (volumes), and directions in LPS, (volumes, 3), from those files that are there.

    Raises:
        SeriesportError: image-invalid, where they have not a value for each volume;
            file-unreadable.
    """
    if not bval.is_file():
        return None, None
    values = read_table(bval, 1)[0]
    if len(values) != volumes or not np.isfinite(values).all():
        raise damaged(f"a .bval file has not {volumes} numbers, one for each volume")
    if not bvec.is_file() or affine is None:
        return values, None
    vectors = read_table(bvec, 3)
    if vectors.shape[1] != volumes:
        raise damaged(f"a .bvec file has not {volumes} directions, one for each volume")
    return values, to_lps(vectors, affine)


def write(
    bvalues: Vector | None, bvectors: Vector | None, affine: Affine | None, folder: Path, stem: str
) -> None:
    """Make STEM.bval and STEM.bvec of values, (volumes), and directions in LPS, (volumes, 3).

    Raises:
        SeriesportError: geometry-irregular, where directions have no axes to refer to.
    """
    if bvalues is None:
        return
    (folder / f"{stem}.bval").write_text(_line(bvalues), "ascii")
    if bvectors is None:
        return
    if affine is None:
        raise SeriesportError("geometry-irregular", "an image with directions has no affine")
    rows = to_fsl(bvectors, affine)
    (folder / f"{stem}.bvec").write_text("".join(map(_line, rows)), "ascii")


def _line(values: Vector) -> str:
    return " ".join(f"{float(v):.10g}" for v in values) + "\n"
