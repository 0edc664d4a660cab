"""Decoders of others: whatever they do costs one series, and never the process that asks them."""

from __future__ import annotations

import logging
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.encaps import encapsulate

import data
from seriesport import Series
from seriesport.errors import SeriesportError
from seriesport.formats import read
from seriesport.images import decoders, decoding
from seriesport.images.decoders import DecoderError, decode
from seriesport.workflow.conversion import convert

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = f"{__name__}:"


def overlong(path: Path) -> None:
    """Make an RLE segment of an instance decode to more bytes than rows times columns."""
    instance = pydicom.dcmread(path)
    run = bytes([129, 0]) * (instance.Rows * instance.Columns // 128 * 3)
    header = struct.pack("<16L", 2, 64, 64 + len(run), *[0] * 13)
    instance.PixelData = encapsulate([header + run + run])
    instance.save_as(path)


def refusal(act: Any) -> SeriesportError:
    with pytest.raises(SeriesportError) as caught:
        act()
    return caught.value


def workers() -> list[int]:
    """The process ids of this process's workers that wait for another request."""
    return [worker._process.pid for worker in decoders._idle]


# What misbehaving decoders do, in the worker


def well(count: int) -> Iterator[Any]:
    yield os.getpid()
    for i in range(count):
        yield np.full((2, 3), i, np.int16)


def crash(_: str, __: list[int]) -> Iterator[Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    yield 0


def leave(_: str, __: list[int]) -> Iterator[Any]:
    os._exit(3)
    yield 0


def hang(_: str, __: list[int]) -> Iterator[Any]:
    while True:
        time.sleep(1)
    yield 0


def devour(_: str, __: list[int]) -> Iterator[Any]:
    yield len(bytearray(2 * decoding._MEMORY))


def chatter() -> Iterator[Any]:
    os.write(1, b"on stdout\n")
    os.write(2, b"TIFFReadDirectory: \x1b[31mwarning\n" * 50)
    yield 7


# What a user sees


def test_an_rle_segment_that_decodes_too_long_is_a_reason(tmp_path: Path) -> None:
    made = data.mr(tmp_path, data.identity("overlong"), times=1, slices=3, syntax="rle")
    overlong(made.paths[1])
    error = refusal(lambda: Series(tmp_path))
    assert error.code == "conversion-failed"
    assert error.message == "the pixels of instance 2 cannot be decoded (PanicException)"


def test_a_damaged_series_keeps_no_other_from_being_converted(tmp_path: Path) -> None:
    bad = data.mr(tmp_path / "bad", data.identity("bad"), times=1, slices=2, syntax="rle")
    overlong(bad.paths[0])
    good = data.mr(tmp_path / "good", data.identity("good"), times=1, slices=2, syntax="rle")
    (tmp_path / "scratch").mkdir()

    def made(paths: list[Path], key: str) -> list[str]:
        done = convert(paths, key, tmp_path / "out", ["npz", "preview"], tmp_path / "scratch")
        return [output.name for output in done.outputs]

    assert refusal(lambda: made(bad.paths, "BAD")).code == "conversion-failed"
    assert made(good.paths, "GOOD") == ["GOOD.npz", "GOOD.png"]


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (crash, "the decoder crashed: SIGSEGV"),
        (leave, "the decoder crashed: exit code 3"),
        (hang, "the decoder took longer than 3 s"),
        (devour, "MemoryError"),
    ],
)
def test_a_decoder_that_crashes_or_hangs_costs_one_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any, problem: str
) -> None:
    data.mr(tmp_path, data.identity("bad decoder"), times=1, slices=2, syntax="rle")
    with monkeypatch.context() as patch:
        patch.setattr("seriesport.images.pixels._DECODE", HERE + how.__name__)
        if how is hang:
            patch.setattr(decoders, "SECONDS", 3)
        error = refusal(lambda: Series(tmp_path))
    assert error.code == "conversion-failed"
    assert error.message == f"the pixels of instance 1 cannot be decoded ({problem})"
    assert Series(tmp_path).shape == (2, 64, 64)  # the next one has a decoder again


def test_a_stopped_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pid, _ = decode(HERE + "well", 1)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(decoders, "SECONDS", 1)
    monkeypatch.setattr(decoders, "_GRACE", 1)
    with pytest.raises(DecoderError, match="longer than 1 s"):
        list(decode(HERE + "well", 1))
    assert pid not in workers()


def test_one_worker_serves_all_series_and_another_replaces_it_when_it_is_killed() -> None:
    first, _ = decode(HERE + "well", 1)
    assert list(decode(HERE + "well", 0)) == [first]
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    pid, *arrays = decode(HERE + "well", 3)
    assert pid != first
    assert [int(array.sum()) for array in arrays] == [0, 6, 12]


def test_an_answer_that_nobody_reads_to_its_end_is_not_taken_for_the_next() -> None:
    asked = decode(HERE + "well", 1000)
    pid = next(asked)
    next(asked)
    asked.close()
    assert pid not in workers()
    _, array = decode(HERE + "well", 1)
    assert array.tolist() == [[0, 0, 0]] * 2


def test_native_pixels_need_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("seriesport.images.pixels.decode", refuse)
    for syntax in ("implicit", "explicit", "big-endian", "deflated"):
        data.ct(tmp_path / syntax, data.identity(syntax), slices=2, size=16, syntax=syntax)
        assert Series(tmp_path / syntax).shape == (2, 16, 16)


def test_what_decoders_print_goes_to_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "seriesport")
    assert list(decode(HERE + "chatter")) == [7]
    assert caplog.messages[:2] == ["decoder: on stdout", "decoder: TIFFReadDirectory: [31mwarning"]
    assert len(caplog.messages) == 20
    assert capfd.readouterr() == ("", "")


def test_a_tiff_with_unknown_tags_leaves_the_screen_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "seriesport")
    path = tmp_path / "x.tif"
    Pillow.fromarray(np.zeros((64, 64), np.uint8)).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    with Pillow.open(path) as picture:
        strip = picture.tag_v2[273][0]
    content[strip + 4 : strip + 40] = b"\xff" * 36
    path.write_bytes(content)
    assert refusal(lambda: read(path)).code == "image-invalid"
    assert capfd.readouterr() == ("", "")
    assert any(line.startswith("decoder: ") for line in caplog.messages)


def test_a_picture_that_its_file_does_not_justify_is_refused_unseen(tmp_path: Path) -> None:
    made = data.ct(tmp_path, data.identity("bomb"), slices=1, size=16, syntax="rle")
    instance = pydicom.dcmread(made.paths[0])
    instance.Rows = instance.Columns = 40_000
    instance.save_as(made.paths[0])
    assert refusal(lambda: Series(tmp_path)).code == "image-too-large"


def test_the_worker_ends_with_the_process_that_started_it() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "from seriesport.images.decoders import decode; import os;"
        "print(next(decode('test_decoders:well', 1)), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=120, check=False
    )
    pid, deadline = int(done.stdout), time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
