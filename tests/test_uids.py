from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seriesport.images.uids import derived, valid


@given(st.lists(st.text(max_size=5), max_size=4))
def test_derived_uids_are_valid_and_depend_on_every_part(parts: list[str]) -> None:
    uid = derived(*parts)
    assert valid(uid)
    assert len(uid) <= 64
    assert uid == derived(*parts)
    assert uid != derived(*parts, "")


def test_parts_of_a_uid_are_kept_apart() -> None:
    assert derived("ab", "c") != derived("a", "bc")


def test_uids_with_letters_or_leading_zeros_are_not_valid() -> None:
    assert valid("1.2.840.0")
    for wrong in ("", "1.02", "1..2", "2.25.ab", "1." + "2" * 63, ".1"):
        assert not valid(wrong)
