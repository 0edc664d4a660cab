"""Sealed files: what is not as it was written is not believed, whatever became of it."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.errors import SeriesportError
from seriesport.store.sealed import parse_json, read_sealed, write_sealed

LINES = [b"one\t1\n", b"two\t2\n", b"three\t3\n"]


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_lines_read_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    for lines in (LINES, []):
        write_sealed(tmp_path / name, lambda lines=lines: lines)
        assert read_sealed(tmp_path / name, "".join) == b"".join(lines).decode()


@given(st.data())
def test_a_file_with_other_bytes_is_refused(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tsv")
        write_sealed(path, lambda: LINES)
        whole = path.read_bytes()
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, len(whole)))
        path.write_bytes(whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:])
        if path.read_bytes() != whole:
            with pytest.raises(SeriesportError) as refused:
                read_sealed(path, "".join)
            assert refused.value.code == "file-damaged"


def test_lines_that_are_lost_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    write_sealed(path, lambda: LINES)
    path.write_bytes(path.read_bytes().removeprefix(LINES[0]))
    with pytest.raises(SeriesportError, match="2 lines instead of 3"):
        read_sealed(path, "".join)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "\0" * 10, '{"a": ', "NaN,"])
def test_hostile_json_is_no_content(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever kind
        parse_json(text)
    path = tmp_path / "a.jsonl"
    write_sealed(path, lambda: [f"{text}\n".encode()])
    with pytest.raises(SeriesportError) as refused:
        read_sealed(path, lambda lines: [json.loads(line) for line in lines])
    assert refused.value.code == "file-damaged"
