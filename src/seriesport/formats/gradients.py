"""The b-values and directions of diffusion images, and FSL's .bval and .bvec files.

An image has them as the tags "b" (s/mm²) and "bvector" (unit vectors in LPS, zero where there is
no direction), a value for each volume.

FSL's vectors are in the image's own axes, "radiological voxel convention": along the rising column,
row and slice index, with the first turned round where the affine into RAS has a positive
determinant (FSL, FDT user guide, "What conventions do the bvecs use?"; dcm2niix does the same).
Between LPS and RAS x and y turn round; the change of axes takes that into account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seriesport.errors import SeriesportError
from seriesport.files import unreadable
from seriesport.formats.guard import damaged
from seriesport.geometry import lps_to_ras

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seriesport.geometry import Affine, Vector
    from seriesport.image import Image

    Vectors = Sequence[tuple[float, float, float]]

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


def to_lps(vectors: Vector, affine: Affine) -> Vectors:
    """FSL's vectors, (3, volumes), as unit vectors in LPS; those that are no direction are zero."""
    turned = (_turn(affine) @ np.nan_to_num(vectors)).T
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    units = np.divide(turned, lengths, out=np.zeros_like(turned), where=lengths > 1e-6)
    return [(float(x), float(y), float(z)) for x, y, z in units + 0.0]


def to_fsl(vectors: Vectors, affine: Affine) -> Vector:
    """Vectors in LPS as FSL's, (3, volumes)."""
    turned: Vector = _turn(affine).T @ np.array(vectors, np.float64).T
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


def tags(
    bval: Path, bvec: Path, affine: Affine | None, volumes: int
) -> dict[str, tuple[object, ...]]:
    """The tags "b" and "bvector" from files, those that are there.

    Raises:
        SeriesportError: image-invalid, where they have not a value for each volume;
            file-unreadable.
    """
    found: dict[str, tuple[object, ...]] = {}
    if bval.is_file():
        found["b"] = tuple(float(v) for v in read_table(bval, 1)[0])
    if bval.is_file() and bvec.is_file() and affine is not None:
        found["bvector"] = tuple(to_lps(read_table(bvec, 3), affine))
    if any(len(values) != volumes for values in found.values()):
        raise damaged(f".bval or .bvec have not {volumes} values, one for each volume")
    if not np.isfinite(np.array(found.get("b", ()), np.float64)).all():
        raise damaged("a b-value is not finite")
    return found


def write_tables(image: Image, folder: Path, stem: str) -> None:
    """Make STEM.bval and STEM.bvec of an image's tags, where it has them.

    Raises:
        SeriesportError: geometry-irregular, where vectors have no axes to refer to.
    """
    values, vectors = image.tags.get("b"), image.tags.get("bvector")
    if values is None:
        return
    (folder / f"{stem}.bval").write_text(_line(values), "ascii")
    if vectors is None:
        return
    if image.affine_lps is None:
        raise SeriesportError("geometry-irregular", "an image with b-vectors has no affine")
    rows = to_fsl(vectors, image.affine_lps)
    (folder / f"{stem}.bvec").write_text("".join(map(_line, rows)), "ascii")


def _line(values: Sequence[float] | Vector) -> str:
    return " ".join(f"{float(v):.10g}" for v in values) + "\n"
