"""Keys: stable for one secret, unguessable without it, and a secret that nobody else reads."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from seriesport.errors import SeriesportError
from seriesport.store.keys import keyed_hash, load_secret

if TYPE_CHECKING:
    from pathlib import Path


def test_the_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "results" / "secret"
    first = load_secret(path)
    assert load_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["secret"]


def test_of_several_that_make_the_secret_at_once_all_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: load_secret(path), range(32)))
    assert len(secrets) == 1


def test_a_secret_that_others_can_read_is_refused_with_what_to_type(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    path.chmod(0o640)
    with pytest.raises(SeriesportError, match="chmod 0600") as refused:
        load_secret(path)
    assert refused.value.code == "cohort-not-private"


def test_a_damaged_secret_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("")
    path.chmod(0o600)
    with pytest.raises(SeriesportError):
        load_secret(path)
    assert path.read_text() == ""


def test_a_key_depends_on_the_secret_and_on_where_each_part_ends() -> None:
    key = keyed_hash(b"a" * 32, "0012345", "1.2.3")
    assert key == keyed_hash(b"a" * 32, "0012345", "1.2.3")
    assert key != keyed_hash(b"b" * 32, "0012345", "1.2.3")
    assert key != keyed_hash(b"a" * 32, "00123451", ".2.3")
    assert key.isalnum()
    assert len(key) == 16
