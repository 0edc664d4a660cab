"""What a user writes, for type checkers: `test_api.py` runs one over it in strict mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np

from seriesport import (
    Series,
    SeriesportError,
    Settings,
    copy,
    fetch,
    find,
    open_transport,
    verify,
)
from seriesport.model.series import Expected, SeriesReference
from seriesport.transports.registry import parse


def images(address: str, folder: Path) -> None:
    """Read, calculate, compare, write."""
    si = Series(address, "time", settings=Settings())
    assert_type(si < 5, Series)
    assert_type(si == 5, Series)
    assert_type(si != np.float64(5), Series)
    assert_type(1 - si, Series)
    assert_type(-si, Series)
    assert_type(si**2 / 3.5, Series)
    assert_type(si + si, Series | np.ndarray[Any, np.dtype[Any]])
    si += 1
    assert_type(si, Series)
    assert_type((si > 5).write(folder / "mask.nii.gz").complete, bool)
    assert_type(si.shape, tuple[int, ...])
    assert_type(si.spacing, tuple[float, float, float] | None)
    assert_type(si.patientName, str)
    assert_type(si.seriesNumber, int | None)
    assert_type(Series(np.zeros((3, 4, 5)), template=si, geometry=si).axes, tuple[str, ...])
    assert_type(Series([folder / "1.dcm", folder / "2.dcm"]).modality, str)


def transfers(address: str, folder: Path) -> None:
    """Find, fetch, copy, verify."""
    found = find(address)
    assert_type(found, list[SeriesReference])
    assert_type(found[0].series_instance_uid, str)
    assert_type(fetch(found[0], folder), list[Path])
    assert_type(Series(found[0]).ndim, int)
    for one in copy(address, "all.zip"):
        assert_type(one.receipt.complete, bool)
    for row in verify("all.zip", against=address):
        assert_type(row.whole, bool)
    with open_transport(parse(address), Settings()) as transport:
        assert_type(transport.expect(found[0]), dict[str, Expected])
    try:
        copy(found[0], folder / "out")
    except SeriesportError as error:
        assert_type(error.code, str)
