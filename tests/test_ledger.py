"""Ledgers: whatever a line says, it reads back the same; whatever is no ledger is said so."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.errors import SeriesportError
from seriesport.workflow.ledger import Outcome, Status, read_ledger, write_ledger

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))
lines = st.builds(
    Outcome,
    key=st.from_regex("[a-z2-7]{16}", fullmatch=True),
    status=st.sampled_from(Status),
    code=texts,
    detail=texts,
    expected=st.integers(0),
    done=st.integers(0),
    size=st.integers(0),
    files=texts,
    sha256=texts,
)


@given(st.lists(lines, unique_by=lambda line: line.key))
def test_a_ledger_reads_back_as_it_was_written(written: list[Outcome]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "ledger.tsv")
        write_ledger(path, written)
        assert list(read_ledger(path).values()) == written


@pytest.mark.parametrize("text", ["key\tstatus\nx\tgood\n", "something else\nentirely\n"])
def test_what_is_no_ledger_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ledger.tsv"
    path.write_text(text)
    with pytest.raises(SeriesportError) as refused:
        read_ledger(path)
    assert refused.value.code == "file-damaged"


def test_a_missing_ledger_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SeriesportError, match="No such file") as refused:
        read_ledger(tmp_path / "ledger.tsv")
    assert refused.value.code == "file-unreadable"
