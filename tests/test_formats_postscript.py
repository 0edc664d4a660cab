from __future__ import annotations

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

    from seriesport.imaging.image import Image

TWO_PAGES = """%!PS
1 0 0 setrgbcolor 72 72 144 72 rectfill showpage
0 0 1 setrgbcolor 72 72 144 72 rectfill showpage
"""
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 72 36\n0 0 72 36 rectfill showpage\n"
ALLOWED: dict[str, Any] = {"postscript": True, "dpi": 72}


def document(folder: Path, text: str, name: str = "x.ps") -> Path:
    path = folder / name
    path.write_text(text)
    return path


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
    pdf = (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        "2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 50]/Contents 4 0 R>>endobj\n"
        "4 0 obj<</Length 27>>stream\n0 1 0 rg 0 0 100 50 re f    \nendstream endobj\n"
        "trailer<</Root 1 0 R>>\n"
    )
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
