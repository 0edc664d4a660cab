"""The hours in which a server may be asked."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriesport.config.config_yaml import Config, load_config
from seriesport.config.hours import Hours, wait_until_open
from seriesport.errors import SeriesportError

NIGHT = Hours.parse("19:00-06:00")


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 10, hour, minute)  # noqa: DTZ001 - local time is what is asked


@pytest.mark.parametrize(
    ("hour", "hours"), [(19, 0), (23, 0), (0, 0), (5, 0), (6, 13), (12, 7), (18, 1)]
)
def test_a_window_over_midnight_is_closed_by_day(hour: int, hours: int) -> None:
    assert NIGHT.seconds_until_open(at(hour)) == hours * 3600


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_window_is_open_once_the_wait_is_over(opens: int, closes: int, minute: int) -> None:
    if opens == closes:
        return
    window = Hours(opens, closes)
    now = at(minute // 60, minute % 60)
    waited = now + timedelta(seconds=window.seconds_until_open(now))
    assert window.seconds_until_open(waited) == 0
    assert str(Hours.parse(str(window))) == str(window)


def test_nothing_waits_without_a_window_or_within_it() -> None:
    wait_until_open(None, say=pytest.fail)
    wait_until_open(NIGHT, say=pytest.fail, now=lambda: at(20))


def test_a_fetch_waits_for_the_window_and_says_so() -> None:
    said: list[str] = []
    begun = time.monotonic()
    clock = [at(18, 59) + timedelta(seconds=59.8)]

    def now() -> datetime:
        clock[0] += timedelta(seconds=time.monotonic() - begun)
        return clock[0]

    wait_until_open(NIGHT, say=said.append, now=now, environ={})
    assert said == ["waiting for the window 19:00-06:00, 0.0 hours"]


def test_a_job_that_the_cluster_ends_before_the_window_gives_up_at_once() -> None:
    environ = {"SLURM_JOB_END_TIME": str(time.time() + 3600)}
    with pytest.raises(SeriesportError) as caught:
        wait_until_open(NIGHT, say=pytest.fail, now=lambda: at(12), environ=environ)
    assert caught.value.code == "window-closed"


def test_slurm_is_asked_when_the_job_ends_where_it_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(
        '#!/bin/sh\n[ "$2" = --jobs=77 ] && date -d "now + 1 hour" +%Y-%m-%dT%H:%M:%S\n'
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SeriesportError) as caught:
        wait_until_open(NIGHT, say=pytest.fail, now=lambda: at(12), environ={"SLURM_JOB_ID": "77"})
    assert caught.value.code == "window-closed"


def test_a_window_stands_in_the_config(tmp_path: Path) -> None:
    server = {"host": "pacs", "port": 104, "window": "19:00-06:00"}
    config = Config.from_mapping({"servers": {"pacs": server}}, {})
    assert config.settings.servers["pacs"].window == NIGHT
    for wrong in ("19:00-19:00", "25:00-06:00", "19-6"):
        path = tmp_path / "config.yaml"
        path.write_text(
            f'servers:\n  pacs:\n    host: pacs\n    port: 104\n    window: "{wrong}"\n'
        )
        with pytest.raises(SeriesportError, match=r"line 5: servers\.pacs\.window") as caught:
            load_config(path, {})
        assert caught.value.code == "config-invalid"
