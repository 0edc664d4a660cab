from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from seriesport.errors import SeriesportError
from seriesport.formats import detect, postscript, read, write
from seriesport.formats.sandbox import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from seriesport.images.image import Image

TWO_PAGES = """%!PS
1 0 0 setrgbcolor 72 72 144 72 rectfill showpage
0 0 1 setrgbcolor 72 72 144 72 rectfill showpage
"""
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 72 36\n0 0 72 36 rectfill showpage\n%%EOF\n"
PDF_OBJECTS = (
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 50]/Contents 4 0 R/Resources<<>>>>",
    "<</Length 28>>stream\n0 1 0 rg 0 0 100 50 re f    \nendstream",
)
ALLOWED: dict[str, Any] = {"postscript": True, "dpi": 72}


def document(folder: Path, text: str, name: str = "x.ps") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def whole_pdf() -> str:
    """A PDF of one green page of 100 by 50 points."""
    text, places = "%PDF-1.4\n", []
    for number, content in enumerate(PDF_OBJECTS, 1):
        places.append(len(text))
        text += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(places) + 1
    end = f"xref\n0 {count}\n0000000000 65535 f \n{table}trailer<</Root 1 0 R/Size {count}>>\n"
    return f"{text}{end}startxref\n{len(text)}\n%%EOF\n"


def show(path: Path, **opts: Any) -> Image:
    return read(path, opts={**ALLOWED, **opts})


def refusal(path: Path, **opts: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        show(path, **opts)
    return caught.value


def test_postscript_is_off_until_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = document(tmp_path, TWO_PAGES)
    monkeypatch.delenv(postscript.ALLOW, raising=False)
    for opts in ({}, {"postscript": False}, {"postscript": "no"}):
        with pytest.raises(SeriesportError, match="postscript-off"):
            read(path, opts=opts)
    monkeypatch.setenv(postscript.ALLOW, "1")
    assert read(path, opts={"dpi": 20}).colour


def test_the_page_and_its_resolution_are_chosen(tmp_path: Path) -> None:
    path = document(tmp_path, TWO_PAGES)
    assert detect(path) == "postscript"
    for page, colour in ((1, [255, 0, 0]), (2, [0, 0, 255])):
        found = show(path, page=page)
        assert found.axes == ("row", "column", "rgb")
        height, width = found.array.shape[:2]
        assert found.array[height - 100, 100].tolist() == colour
        assert found.array[height - 40, 100].tolist() == [255, 255, 255]
        assert found.array[height - 100, 250].tolist() == [255, 255, 255]
        assert (height, width) in ((842, 595), (792, 612))
    assert show(path, dpi=36).array.shape[0] == pytest.approx(height / 2, abs=1)
    assert refusal(path, page=3).code == "not-found"
    for wrong in ({"page": 0}, {"dpi": 10**6}, {"page": "1; ls"}):
        assert refusal(path, **wrong).code == "config-invalid"


def test_an_eps_is_cut_to_its_box_and_grey_when_asked(tmp_path: Path) -> None:
    found = show(document(tmp_path, EPS, "x.eps"), grey=True)
    assert found.array.shape == (36, 72)
    assert not found.array.any()


def test_a_pdf_is_read_too(tmp_path: Path) -> None:
    pdf = whole_pdf()
    found = show(document(tmp_path, pdf, "x.pdf"))
    assert found.array.shape == (50, 100, 3)
    assert (found.array == [0, 255, 0]).all()


def test_the_same_document_gives_the_same_picture(tmp_path: Path) -> None:
    path = document(tmp_path, TWO_PAGES)
    np.testing.assert_array_equal(show(path).array, show(path).array)
    (made,) = write(show(path), tmp_path / "x.png")
    np.testing.assert_array_equal(read(made).array, show(path).array)


# Hostile documents


def test_a_document_reads_deletes_writes_and_runs_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    evil = tmp_path / "evil"
    for attempt in (
        f"({secret}) (r) file pop",
        "(/etc/passwd) (r) file pop",
        f"({secret}) deletefile",
        f"({secret}) ({evil}) renamefile",
        f"({evil}) (w) file dup (x) writestring closefile",
        f"(/tmp/{evil.parent.name}-evil) (w) file closefile",
        f"(%pipe%touch {evil}) (w) file closefile",
        f"({secret}) run",
        "<< /OutputFile (/tmp/elsewhere.png) >> setpagedevice",
    ):
        text = f"%!PS\n{attempt}\nshowpage\n"
        assert refusal(document(tmp_path, text)).code in ("image-invalid", "not-found"), attempt
    assert secret.read_text() == "hunter2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret", "x.ps"]


def test_a_document_sees_no_names_of_others_files(tmp_path: Path) -> None:
    (tmp_path / "patient-name").touch()
    count = f"({tmp_path}/*) {{ pop 1 0 0 setrgbcolor 0 0 600 800 rectfill }} 99 string"
    found = show(document(tmp_path, f"%!PS\n{count} filenameforall showpage\n"))
    assert (found.array == 255).all()


@pytest.mark.parametrize(
    "body",
    [
        "{} loop",
        "1 1 100000000 { pop showpage } for",
        "<< /PageSize [100000 100000] >> setpagedevice 9 9 9 9 rectfill showpage",
        "1 1 100000000 { pop 65000 string } for showpage",
        "/f { f f } def f",
    ],
    ids=["loop", "pages", "huge page", "memory", "recursion"],
)
def test_a_document_without_end_is_stopped(
    tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(cpu=2, memory=512 << 20, file_size=32 << 20)
    monkeypatch.setattr(postscript, "LIMITS", limits)
    before = psutil.virtual_memory().available
    start = time.monotonic()
    error = refusal(document(tmp_path, f"%!PS\n{body}\n"), timeout=8)
    assert error.code in ("timeout", "image-too-large", "image-invalid", "not-found")
    assert time.monotonic() - start < 20
    assert before - psutil.virtual_memory().available < 2 << 30
    assert not [c for c in psutil.Process().children() if c.name() == "gs"]


@pytest.mark.slow
def test_a_page_of_too_many_pixels_is_refused(tmp_path: Path) -> None:
    page = "%!PS\n<< /PageSize [9000 9000] >> setpagedevice showpage\n"
    assert refusal(document(tmp_path, page), dpi=100).code == "image-too-large"


def test_what_ghostscript_says_of_a_document_stays_out_of_messages(tmp_path: Path) -> None:
    error = refusal(document(tmp_path, "%!PS\n(CANARY) print CANARYNAME\n"))
    assert "CANARY" not in str(error)


def test_a_document_without_ghostscript_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(document(tmp_path, TWO_PAGES)).code == "tool-missing"


def test_a_document_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    figure = EPS.replace("0 0 72 36 rectfill", "0 0 72 18 rectfill\n0 18 72 18 rectfill")
    for name, text in (("x.eps", figure), ("x.pdf", whole_pdf())):
        for size in range(30, len(text) - 6, 5):
            error = refusal(document(tmp_path, text[:size], name))
            assert error.code == "image-invalid", size
    show(document(tmp_path, figure, "x.eps"))


def test_an_eps_with_a_preview_is_read_and_refused_where_it_is_cut(tmp_path: Path) -> None:
    preview = struct.pack("<4sLLLLLLH", b"\xc5\xd0\xd3\xc6", 32, len(EPS), 0, 0, 0, 0, 0xFFFF)
    path = tmp_path / "x.eps"
    path.write_bytes(preview.ljust(32, b"\0") + EPS.encode() + b"preview")
    assert show(path).array.shape[:2] == (36, 72)
    path.write_bytes(path.read_bytes()[:-20])
    assert "cut short" in refusal(path).message


def test_an_eps_without_a_bounding_box_is_refused(tmp_path: Path) -> None:
    text = EPS.replace("%%BoundingBox: 0 0 72 36\n", "")
    assert "bounding box" in refusal(document(tmp_path, text, "x.eps")).message


def test_a_small_figure_is_no_whole_page(tmp_path: Path) -> None:
    figure = (
        "%!PS-Adobe-3.0\n%%BoundingBox: (atend)\n"
        "1 0 0 setrgbcolor 100 200 30 20 rectfill 0 0 1 setrgbcolor 130 200 30 20 rectfill\n"
        "showpage\n%%Trailer\n%%BoundingBox: 100 200 160 220\n%%EOF\n"
    )
    found = show(document(tmp_path, figure))
    assert found.array.shape == (20, 60, 3)
    assert found.array[10, 15].tolist() == [255, 0, 0]
    assert found.array[10, 45].tolist() == [0, 0, 255]
    large = figure.replace("100 200 160 220", "-100 -200 1900 800")
    assert show(document(tmp_path, large)).array.shape == (1000, 2000, 3)
