"""Damaged DICOM files, at every public entry: whatever a reader meets, a user gets a reason.

A corpus of small series of every encoding and vendor's layout is damaged element by element, the
same way for the same seed: other VRs, values that none may have, bytes that changed.
"""

from __future__ import annotations

import random
import shutil
import struct
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import pydicom
import pytest

import data
import test_vendors
from seriesport import Series
from seriesport.cli import cp as copying
from seriesport.cli import ls as listing
from seriesport.cli import verify as verifying
from seriesport.config.settings import Settings
from seriesport.dicom.elements import Syntax
from seriesport.dicom.reading import elements_of
from seriesport.errors import SeriesportError
from seriesport.images.headers import quick_header
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = b"AE AS AT CS DA DS DT FD FL IS LO PN SS TM UI UL US".split()
LONG = b"OB OF OW SQ UC UN UT".split()
VALUES = (
    b"",
    b"nan ",
    b"inf ",
    b"1e400 ",
    b"-1",
    b"abc ",
    b"\\\\\\\\",
    b"\0\0",
    b"\xff" * 8,
    b"9" * 20,
    b"1\\2\\3\\4\\5\\6\\7 ",
    b"0 ",
    b"\x1b$B\x1b",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"ISO 2022 IR 87",
    b"\x80" + bytes(7),
)
IDENTITY = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
"""Without these a file is no instance, which other tests are about."""
TELLING = (0x0018, 0x0020, 0x0028)
"""The groups that most of the reading depends on."""
ATTRIBUTES = (
    "patientName",
    "seriesNumber",
    "imageType",
    "timeline",
    "bvalues",
    "seriesDescription",
    "spacing",
)


def modality_lut(instance: pydicom.Dataset) -> None:
    """A Modality LUT in place of slope and intercept."""
    table = test_vendors.item(ModalityLUTType="US")
    table.add_new(0x00283002, "US", [4, 0, 16])
    table.add_new(0x00283006, "OW", struct.pack("<4H", 0, 1, 2, 3))
    instance.ModalityLUTSequence = [table]
    instance.PixelRepresentation = 0
    del instance.RescaleSlope
    del instance.RescaleIntercept


def palette(instance: pydicom.Dataset) -> None:
    instance.PhotometricInterpretation, instance.PixelRepresentation = "PALETTE COLOR", 0
    for group, colour in enumerate(("Red", "Green", "Blue"), 0x1101):
        instance.add_new(0x00280000 + group, "US", [4, 0, 16])
        name = f"{colour}PaletteColorLookupTableData"
        setattr(instance, name, struct.pack("<4H", 0, 1, 2, 3))


def corpus(folder: Path) -> list[list[Path]]:
    """Series of two files each, or one, that are all read while they are whole."""
    found: list[list[Path]] = []
    for syntax in ("explicit", "implicit", "big-endian", "deflated", "rle", "jpeg2000"):
        size = 64 if syntax == "jpeg2000" else 16
        who = data.identity(syntax)
        found.append(data.ct(folder / syntax, who, slices=2, size=size, syntax=syntax).paths)
    for layout in (*test_vendors.LAYOUTS, modality_lut, palette):
        for syntax in ("explicit", "implicit"):
            place = folder / f"{layout.__name__}-{syntax}"
            found.append(test_vendors.made(place, layout, syntax, slices=2))
    for name in ("UNKNOWN", "WRITTEN", "FRAGMENTS"):
        paths = data.ct(folder / name, data.identity(name), slices=2, size=16).paths
        for path in paths:
            test_vendors.odd(path, getattr(test_vendors, name))
        found.append(paths)
    found.append(data.enhanced(folder / "enhanced", data.identity("e"), frames=3, size=16).paths)
    return found


@cache
def places(path: Path) -> tuple[bool, list[tuple[int, int, int, int]]] | None:
    """Whether VRs are written, and tag, beginning, value's beginning and end of each element."""
    quick = quick_header(path)
    if quick is None:
        return None
    at = quick.start
    found: list[tuple[int, int, int, int]] = []
    for tag, _, _, start, end in elements_of(quick.top.encoded, Syntax(explicit=quick.explicit)):
        found.append((tag, at, quick.start + start, quick.start + end))
        at = quick.start + end
    return quick.explicit, found


def damage(path: Path, original: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    known = places(original)
    if known is None or chance.random() < 0.1:
        for _ in range(3):
            content[chance.randrange(300, len(content))] = chance.randrange(256)
    else:
        explicit, elements = known
        elements = [e for e in elements if e[0] not in IDENTITY]
        telling = [e for e in elements if e[0] >> 16 in TELLING]
        _, at, start, end = chance.choice(telling if chance.random() < 0.5 else elements)
        kind = chance.random()
        if explicit and kind < 0.3:
            content[at + 4 : at + 6] = chance.choice(SHORT if start - at == 8 else LONG)
        elif kind < 0.6 and end > start:
            content[chance.randrange(start, end)] = chance.randrange(256)
        else:
            value = chance.choice(VALUES)
            form, offset = ("<L", 8) if start - at == 12 else ("<H", 6) if explicit else ("<L", 4)
            struct.pack_into(form, content, at + offset, len(value))
            content[start:end] = value
    path.write_bytes(content)


def entries(series: Path, out: Path) -> dict[str, Callable[[], Any]]:
    """What a user may do with a folder."""
    text, settings = str(series), Settings()
    (out / "scratch").mkdir(parents=True)

    def read() -> None:
        made = Series(series)
        for name in ATTRIBUTES:
            with suppress(SeriesportError):
                getattr(made, name)
        made.write(out / "made.nii.gz")
        made.write(out / "made")

    return {
        "Series": read,
        "Series in order": lambda: Series(series, input_order="none"),
        "convert": lambda: convert(
            sorted(series.iterdir()), "KEY", out / "converted", ["npz", "preview"], out / "scratch"
        ),
        "ls": lambda: listing.ls(text, settings, as_json=True),
        "cp": lambda: copying.cp(text, str(out / "copy"), settings, as_json=True),
        "verify": lambda: verifying.verify(text, None, settings, as_json=True),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    return corpus(tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_entry_answers_damage_with_a_reason(
    tmp_path: Path, whole: list[list[Path]], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    codes: set[str] = set()
    unforeseen: list[tuple[int, str, str]] = []
    for turn in range(30):
        original = chance.choice(whole)
        series, out = tmp_path / f"{turn}" / "series", tmp_path / f"{turn}" / "out"
        series.mkdir(parents=True)
        for path in original:
            shutil.copy(path, series / path.name)
        damage(series / original[0].name, original[0], chance)
        for name, act in entries(series, out).items():
            try:
                act()
            except SeriesportError as error:
                codes.add(error.code)
                unforeseen += [(turn, name, error.message)] if error.code == "internal" else []
    capsys.readouterr()
    assert not unforeseen
    assert {"instance-invalid", "instance-truncated"} <= codes


def test_the_whole_corpus_is_read(whole: list[list[Path]]) -> None:
    for paths in whole:
        assert Series(paths).shape[-2:] in ((16, 16), (64, 64), (16, 3)), paths[0].parent.name


def test_text_in_a_modality_lut_is_a_reason(tmp_path: Path) -> None:
    (path,) = test_vendors.made(tmp_path, modality_lut, "explicit", slices=1)
    content = bytearray(path.read_bytes())
    at = content.index(b"\x28\x00\x06\x30OW")
    content[at + 4 : at + 12] = b"UT\0\0" + struct.pack("<L", 8)
    content[at + 12 : at + 20] = b"no table"
    path.write_bytes(content)
    with pytest.raises(SeriesportError) as caught:
        Series(tmp_path)
    assert caught.value.code == "conversion-failed"


def test_what_nobody_foresaw_is_a_reason_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddError(Exception):
        pass

    def odd(*_: Any, **__: Any) -> Any:
        raise OddError("PATIENT^NAME")

    data.ct(tmp_path, data.identity("unforeseen"), slices=2, size=16)
    monkeypatch.setattr("seriesport.series.loading.arrange", odd)
    with pytest.raises(SeriesportError) as caught:
        Series(tmp_path)
    assert caught.value.code == "internal"
    assert "OddError at test_hostile_dicom.py" in caught.value.message
    assert "PATIENT" not in str(caught.value)
    assert caught.value.__suppress_context__
