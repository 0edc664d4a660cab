"""Records of a shard: a kill costs a line at most, and the end is the same with and without one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from seriesport.errors import SeriesportError
from seriesport.workflow.records import Records, read_records

if TYPE_CHECKING:
    from pathlib import Path


def test_a_record_is_there_for_the_next_job_as_soon_as_it_is_put(tmp_path: Path) -> None:
    Records(tmp_path / "r").put("a", {"made": ("x", "y")})
    assert Records(tmp_path / "r").get("a") == {"made": ["x", "y"]}
    assert Records(tmp_path / "r").get("b") == {}


def test_a_line_that_a_kill_cut_short_loses_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for key in "abc":
        Records(path).put(key, {"n": key})
    journal = path.with_suffix(".journal")
    whole = journal.read_bytes()
    for size in range(len(whole)):
        journal.write_bytes(whole[:size])
        kept = read_records(path)
        Records(path).put("d", {"n": "d"})
        assert read_records(path) == {**kept, "d": {"n": "d"}}
        assert len(kept) >= whole[:size].count(b"}\n")


def test_a_job_that_was_killed_and_one_that_was_not_end_with_the_same_file(tmp_path: Path) -> None:
    once, twice = Records(tmp_path / "once"), Records(tmp_path / "twice")
    for key in "ba":
        once.put(key, {"n": 1})
    twice.put("a", {"n": 0})
    again = Records(tmp_path / "twice")
    for key in "ab":
        again.put(key, {"n": 1})
    once.write("ab")
    again.write("ab")
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
    assert (tmp_path / "once").read_text().count('"key"') == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["once", "twice"]


def test_a_series_that_was_taken_out_keeps_its_record(tmp_path: Path) -> None:
    records = Records(tmp_path / "r")
    records.put("a", {"n": 1})
    records.put("b", {"n": 2})
    records.write(["b"])
    assert list(read_records(tmp_path / "r")) == ["b", "a"]


def test_a_step_without_records_leaves_no_file(tmp_path: Path) -> None:
    Records(tmp_path / "r").write(["a"])
    assert not (tmp_path / "r").exists()


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    records = Records(tmp_path / "r")
    with ThreadPoolExecutor(8) as pool:
        for key in map(str, range(200)):
            pool.submit(records.put, key, {"n": key * 500})
    assert len(read_records(tmp_path / "r")) == 200


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    Records(tmp_path / "r").put("a", {"n": 2})
    journal = tmp_path / "r.journal"
    journal.write_bytes(b'\xff\n[1]\n{"n": 1}\n7\n' + journal.read_bytes() + b"[" * 100_000)
    assert read_records(tmp_path / "r") == {"a": {"n": 2}}


def test_a_file_that_lost_a_line_is_not_believed_at_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "r.jsonl"
    records = Records(path)
    for key in "abc":
        records.put(key, {"n": key})
    records.write("abc")
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rest))
    with pytest.raises(SeriesportError, match="2 lines instead of 3"):
        read_records(path)
    assert Records(path).get("b") == {}
    assert "[file-damaged]: it is not believed" in caplog.text
    path.write_bytes(first + b"".join(rest))
    assert Records(path).get("b") == {"n": "b"}
